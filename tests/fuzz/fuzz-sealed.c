// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Sealed commands as the target gets them. An input is what is intended and
 * then records: a kind, and what that takes. Commands are sealed with the right
 * keys, around whatever the input has, and then perhaps damaged or sent twice.
 * Each but SYNC, which may wait, is answered before the next one leaves; what
 * is answered with data has to open.
 */
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"
#include "house.h"
#include "noise.h"
#include "sa.h"

#define LUN 1
#define COMMANDS_MAX 64
#define HANDSHAKE_CDB_BYTES 12

struct sealer {
    struct peer peer;
    struct sa *sa, *older;      /* NULL: none */
    const struct sa *confirmed; /* the one of them under which a WRITE was answered GOOD */
    struct peer_command last;   /* no bytes: none that was seen for certain */
};

static uint8_t data_out[HOUSE_DATA_MAX], data_in[WIRE_PDU_DATA_MAX];

static void need(bool ok)
{
    if (!ok)
        abort();
}

/* Its status. */
static int run(struct sealer *i, const struct peer_command *command)
{
    uint32_t itt = peer_command(&i->peer, command);
    int status = itt ? peer_finish(&i->peer, itt, data_in, sizeof data_in) : -1;

    need(status >= 0);
    return status;
}

/* ---- handshake ---- */

static struct noise *make_noise(void)
{
    static const char label[] = "encsan 1";
    uint8_t prologue[128];
    struct noise_config config = {.cipher = NOISE_AESGCM, .initiator = true, .prologue = prologue};
    const uint8_t target_key[KEY_BYTES] = {1, 2, 3};
    struct noise *noise;

    memcpy(prologue, label, sizeof label);
    memcpy(prologue + sizeof label, HOUSE_NAME, sizeof HOUSE_NAME);
    wire_put64(prologue + sizeof label + sizeof HOUSE_NAME, LUN);
    config.prologue_len = sizeof label + sizeof HOUSE_NAME + 8;
    memcpy(config.static_private, house_initiator_key, KEY_BYTES);
    need(key_public(target_key, config.remote_static) == 0);
    noise = noise_new(&config);
    need(noise);
    return noise;
}

static struct peer_command security_protocol(uint8_t opcode, uint8_t message, uint32_t bytes)
{
    struct peer_command command = {.lun = LUN, .bytes = bytes};

    command.cdb[0] = opcode;
    command.cdb[1] = WIRE_SECURITY_PROTOCOL;
    command.cdb[3] = message;
    wire_put32(command.cdb + 6, bytes);
    return command;
}

static void handshake(struct sealer *i, const struct wire_hello *hello)
{
    struct noise *noise = make_noise();
    struct peer_command out = security_protocol(WIRE_SECURITY_PROTOCOL_OUT, WIRE_SPS_MESSAGE_1,
                                                sizeof *hello + WIRE_NOISE_1_OVERHEAD);
    struct peer_command in = security_protocol(WIRE_SECURITY_PROTOCOL_IN, WIRE_SPS_MESSAGE_2,
                                               sizeof(struct wire_welcome) + WIRE_NOISE_2_OVERHEAD);
    struct wire_welcome welcome;

    need(noise_write(noise, (const uint8_t *)hello, sizeof *hello, data_out) == (int)out.bytes);
    out.out = data_out;
    need(run(i, &out) == 0 && run(i, &in) == 0);
    need(noise_read(noise, data_in, in.bytes, (uint8_t *)&welcome) == sizeof welcome);
    if (welcome.refusal == WIRE_ACCEPTED) {
        i->confirmed = NULL;
        sa_free(i->older);
        i->older = i->sa;
        i->sa = sa_new(noise, true, welcome.suite, welcome.sa_index);
        need(i->sa);
    }
    noise_free(noise);
}

/* ---- sealed commands ---- */

static struct sa *choose(struct sealer *i, uint8_t kind)
{
    return kind & 0x80 && i->older ? i->older : i->sa;
}

static struct peer_command seal_write(struct sa *sa, const struct wire_write *header, uint32_t blocks)
{
    static const uint8_t block[WIRE_BLOCK_BYTES] = {'d', 'a', 't', 'a'};
    struct peer_command command = {.lun = LUN, .out = data_out, .bytes = (uint32_t)WIRE_WRITE_BYTES(blocks)};
    struct iovec pieces[1 + 15] = {{(void *)header, sizeof *header}};

    for (uint32_t n = 1; n <= blocks; n++)
        pieces[n] = (struct iovec){(void *)block, sizeof block};
    need(sa_cdb_make(sa, WIRE_SEALED_WRITE, 0, command.cdb) == 0);
    need(sa_seal_write(sa, command.cdb, pieces, 1 + (int)blocks, data_out) == 0);
    return command;
}

static void sealed_write(struct sealer *i, struct sa *sa, struct input *in)
{
    struct wire_write header;
    uint32_t blocks = take_byte(in) % 16;

    take(in, &header, sizeof header);
    i->last = seal_write(sa, &header, blocks);
    if (run(i, &i->last) == 0)
        i->confirmed = sa;
}

/* Before its first WRITE an SA is pending: other commands are refused, and may come again. */
static void remember(struct sealer *i, const struct sa *sa, const struct peer_command *command)
{
    i->last = *command;
    if (sa != i->confirmed)
        i->last.bytes = 0;
}

static void open_read(struct sa *sa, const struct peer_command *command)
{
    static uint8_t plain[WIRE_PDU_DATA_MAX];
    const struct iovec out = {plain, command->bytes - WIRE_COUNTER_BYTES - WIRE_TAG_BYTES};

    need(sa_open_answer(sa, command->cdb, data_in, command->bytes, &out, 1) == 0);
}

static void sealed_read(struct sealer *i, struct sa *sa, struct input *in)
{
    uint8_t field[6];
    struct peer_command command = {.lun = LUN};

    take(in, field, sizeof field);
    command.bytes = (uint32_t)WIRE_READ_BYTES((wire_get48(field) & 0x3FF) + 1);
    need(sa_cdb_make(sa, WIRE_SEALED_READ, wire_get48(field), command.cdb) == 0);
    remember(i, sa, &command);
    if (run(i, &command) == 0)
        open_read(sa, &command);
}

static void sealed_sync(struct sealer *i, struct sa *sa, struct input *in)
{
    uint8_t field[6];
    struct peer_command command = {.lun = LUN, .bytes = WIRE_SYNC_BYTES};

    take(in, field, sizeof field);
    need(sa_cdb_make(sa, WIRE_SEALED_SYNC, wire_get48(field), command.cdb) == 0);
    remember(i, sa, &command);
    need(peer_command(&i->peer, &command));
}

static void damaged(struct sealer *i, struct sa *sa, struct input *in)
{
    const struct wire_write header = {.operation = WIRE_OP_WRITE, .ordinal = {[7] = 1}};
    struct peer_command command = seal_write(sa, &header, 0);
    uint8_t at = take_byte(in), change = take_byte(in);
    bool good;

    if (at < sizeof command.cdb)
        command.cdb[at] ^= change;
    else
        data_out[(at - sizeof command.cdb) % command.bytes] ^= change;
    good = run(i, &command) == 0;
    need(!good || change == 0);
    if (good)
        i->confirmed = sa;
}

/* The same bytes once more: it must not be executed again. */
static void repeated(struct sealer *i)
{
    if (i->last.bytes > 0)
        need(run(i, &i->last) != 0);
}

static void plain(struct sealer *i, struct input *in)
{
    struct peer_command command = {.lun = take_byte(in)};

    take(in, command.cdb, sizeof command.cdb);
    command.out = take_byte(in) & 1 ? data_out : NULL;
    command.bytes = take_16(in);
    run(i, &command);
}

static void record(struct sealer *i, struct input *in)
{
    enum { WRITE, READ, SYNC, DAMAGED, REPEATED, PLAIN, HANDSHAKE, KINDS };
    uint8_t kind = take_byte(in);
    struct sa *sa = choose(i, kind);
    struct wire_hello hello;

    switch ((kind & 0x7F) % KINDS) {
    case WRITE:
        sealed_write(i, sa, in);
        break;
    case READ:
        sealed_read(i, sa, in);
        break;
    case SYNC:
        sealed_sync(i, sa, in);
        break;
    case DAMAGED:
        damaged(i, sa, in);
        break;
    case REPEATED:
        repeated(i);
        break;
    case PLAIN:
        plain(i, in);
        break;
    default:
        take(in, &hello, sizeof hello);
        handshake(i, &hello);
        i->last.bytes = 0;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct house_lun luns[] = {{.plain = false}};
    static bool built;
    struct wire_hello hello = {.version = WIRE_VERSION, .mount_id = "the first one"};
    struct sealer sealer = {0};
    struct input in = {data, size};

    if (!built)
        house_build(luns, 1);
    built = true;
    hello.intent = take_byte(&in) & 1 ? WIRE_INTENT_RO : WIRE_INTENT_ACQUIRE;
    wire_put16(hello.suites, WIRE_SUITE_BIT(WIRE_SUITE_AES_256_GCM));
    house_open();
    peer_open(&sealer.peer);
    need(peer_login(&sealer.peer, "iqn.2026-11.org.encsan:fuzzer", NULL));
    handshake(&sealer, &hello);
    need(sealer.sa);
    for (int n = 0; in.size > 0 && n < COMMANDS_MAX; n++)
        record(&sealer, &in);
    peer_close(&sealer.peer);
    sa_free(sealer.sa);
    sa_free(sealer.older);
    house_close();
    return 0;
}
