// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * What the initiator hears: statuses, message 2, receipts, answers to reads. A
 * session stands here for session.c's and is the target itself. Its answers
 * are what an honest one would say, with the input's bytes laid over them (so
 * an input that has ended is an honest target), sealed with the right keys, and
 * then perhaps damaged. Nothing that was damaged may be believed.
 */
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"
#include "handshake.h"
#include "key.h"
#include "noise.h"
#include "sa.h"
#include "session.h"

#define TARGET "iqn.2026-11.org.encsan:fuzz"
#define LUN 1
#define BLOCKS 2 /* of a read */

static const uint8_t target_key[KEY_BYTES] = {1, 2, 3}, initiator_key[KEY_BYTES] = {4, 5, 6};

struct session {
    struct input in;
    struct noise *noise;
    struct sa *sa;
    bool damaged; /* one of the answers that count */
    bool abandoned;
};

struct slots {
    unsigned count;
    struct slot slot[2];
    uint8_t data[2][WIRE_PDU_DATA_MAX];
};

/* ---- session.h ---- */

struct slots *slots_new(unsigned count)
{
    struct slots *slots = calloc(1, sizeof *slots);

    if (!slots || count > 2)
        abort();
    slots->count = count;
    for (unsigned i = 0; i < count; i++)
        slots->slot[i].data = slots->data[i];
    return slots;
}

void slots_free(struct slots *slots)
{
    free(slots);
}

struct slot *slots_get(struct slots *slots, unsigned index)
{
    return &slots->slot[index];
}

const char *session_target(const struct session *session)
{
    return TARGET;
}

unsigned session_lun(const struct session *session)
{
    return LUN;
}

void session_abandon(struct session *session)
{
    session->abandoned = true;
}

/* ---- the target ---- */

static struct noise *make_noise(void)
{
    static const char label[] = "encsan 1";
    uint8_t prologue[128];
    struct noise_config config = {.cipher = NOISE_AESGCM, .prologue = prologue};

    memcpy(prologue, label, sizeof label);
    memcpy(prologue + sizeof label, TARGET, sizeof TARGET);
    wire_put64(prologue + sizeof label + sizeof TARGET, LUN);
    config.prologue_len = sizeof label + sizeof TARGET + 8;
    memcpy(config.static_private, target_key, KEY_BYTES);
    return noise_new(&config);
}

/* The input's bytes over what stands there. */
static void overlay(struct input *in, void *out, size_t bytes)
{
    uint8_t change[sizeof(struct wire_receipt)];
    uint8_t first = take_byte(in);

    if (first == 0) /* all of it as it is */
        return;
    take(in, change, bytes);
    for (size_t i = 0; i < bytes; i++)
        ((uint8_t *)out)[i] ^= change[i];
}

static void damage(struct session *s, uint8_t *data, size_t bytes)
{
    uint8_t change = take_byte(&s->in);
    size_t at = take_16(&s->in) % bytes;

    data[at] ^= change;
    s->damaged |= change != 0;
}

static void message_1(struct session *s, const struct slot *slot)
{
    uint8_t payload[sizeof(struct wire_hello)];

    noise_free(s->noise);
    s->noise = make_noise();
    s->damaged = false; /* after an attention all of it is said again */
    if (!s->noise || noise_read(s->noise, slot->data, slot->bytes, payload) != sizeof payload)
        abort();
}

static void message_2(struct session *s, const struct slot *slot)
{
    struct wire_welcome welcome = {.version = WIRE_VERSION, .suite = WIRE_SUITE_AES_256_GCM, .sa_index = 1};

    wire_put32(welcome.block_bytes, WIRE_BLOCK_BYTES);
    wire_put64(welcome.blocks, 256);
    wire_put32(welcome.ordinal_window, WIRE_ORDINAL_WINDOW);
    wire_put32(welcome.waiting_max, WIRE_WAITING_MAX);
    wire_put32(welcome.data_blocks_max, WIRE_DATA_BLOCKS_MAX);
    overlay(&s->in, &welcome, sizeof welcome);
    if (!s->noise || noise_write(s->noise, (const uint8_t *)&welcome, sizeof welcome, slot->data) < 0)
        return; /* once more: there is no second one of it */
    sa_free(s->sa);
    s->sa = sa_new(s->noise, false, WIRE_SUITE_AES_256_GCM, welcome.sa_index);
    if (!s->sa)
        abort();
    damage(s, slot->data, slot->bytes);
}

static void receipt(struct session *s, const struct slot *slot)
{
    struct wire_receipt receipt = {.lease_state = WIRE_LEASE_HELD};
    const struct iovec in = {&receipt, sizeof receipt};

    overlay(&s->in, &receipt, sizeof receipt);
    if (sa_seal_answer(s->sa, slot->cdb, &in, 1, slot->data) != 0)
        abort();
    damage(s, slot->data, slot->bytes);
}

static void answer(struct session *s, const struct slot *slot)
{
    switch (slot->cdb[0]) {
    case WIRE_SECURITY_PROTOCOL_OUT:
        message_1(s, slot);
        break;
    case WIRE_SECURITY_PROTOCOL_IN:
        message_2(s, slot);
        break;
    case WIRE_SEALED_SYNC:
        receipt(s, slot);
    }
}

void session_submit(struct session *s, struct slot *slot)
{
    slot->status = take_byte(&s->in) % (SLOT_LOST + 1);
    slot->sense_key = slot->status == SLOT_CHECK ? take_byte(&s->in) : 0;
    answer(s, slot);
    slot->complete(slot);
}

/* ---- a read ---- */

static void read_blocks(struct session *s, struct sa *sa)
{
    static uint8_t data[WIRE_READ_BYTES(BLOCKS)], plain[2][BLOCKS * WIRE_BLOCK_BYTES];
    struct wire_read header[2] = {{0}};
    const struct iovec in[2] = {{&header[0], sizeof header[0]}, {plain[0], sizeof plain[0]}};
    const struct iovec out[2] = {{&header[1], sizeof header[1]}, {plain[1], sizeof plain[1]}};
    uint8_t cdb[WIRE_CDB_BYTES];
    int error;

    s->damaged = false;
    overlay(&s->in, &header[0], sizeof header[0]);
    take(&s->in, plain[0], sizeof plain[0]);
    if (sa_cdb_make(sa, WIRE_SEALED_READ, wire_read_field(0, BLOCKS), cdb) != 0 ||
        sa_seal_answer(s->sa, cdb, in, 2, data) != 0)
        abort();
    damage(s, data, sizeof data);
    damage(s, cdb, sizeof cdb);
    error = sa_open_answer(sa, cdb, data, sizeof data, out, 2);
    if (error ? !s->damaged
              : memcmp(&header[0], &header[1], sizeof header[0]) != 0 ||
                    memcmp(plain[0], plain[1], sizeof plain[0]) != 0)
        abort();
}

/* ---- */

static bool is_line(const char *message)
{
    return message[0] && !strchr(message, '\n');
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint8_t mount_id[WIRE_ID_BYTES] = "this mount", previous[WIRE_ID_BYTES] = "";
    struct session session = {.in = {data, size}};
    char message[ENCSAN_MESSAGE_BYTES] = "";
    uint8_t target_public[KEY_BYTES];
    struct handshake result;
    const struct handshake_request request = {
        .url = "iscsi://fuzz/" TARGET "/1",
        .key = initiator_key,
        .target_key = target_public,
        .intent = WIRE_INTENT_ACQUIRE,
        .mount_id = mount_id,
        .previous_mount_id = previous,
    };
    int error;

    if (key_public(target_key, target_public) != 0)
        abort();
    error = handshake_run(&session, &request, &result, message);
    if (error ? !is_line(message) : session.damaged || session.abandoned || !result.sa)
        abort();
    if (!error)
        read_blocks(&session, result.sa);
    sa_free(result.sa);
    sa_free(session.sa);
    noise_free(session.noise);
    return 0;
}
