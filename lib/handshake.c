// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The handshake of one iSCSI session. All of it runs in the caller's thread,
 * before anything else uses the session, or beside that; only `exchanged` is
 * called by the session's thread.
 */
#include "handshake.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <time.h>

#include <openssl/crypto.h>

#include "clock.h"
#include "key.h"
#include "suite.h"

#define SENSE_UNIT_ATTENTION 0x06 /* SPC-4 4.5.6 */
#define ATTENTIONS_MAX 4
#define EXCHANGE_US 10000000 /* a target that lives has answered by then, or TCP has given it up */

struct exchange { /* commands that leave back to back */
    pthread_mutex_t lock;
    pthread_cond_t ended;
    unsigned pending;
};

static int fail(char *message, const char *format, ...) __attribute__((format(printf, 2, 3)));
static int fail(char *message, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(message, ENCSAN_MESSAGE_BYTES, format, args);
    va_end(args);
    return -1;
}

static void exchanged(struct slot *slot)
{
    struct exchange *x = slot->owner;

    pthread_mutex_lock(&x->lock);
    if (--x->pending == 0)
        pthread_cond_signal(&x->ended);
    pthread_mutex_unlock(&x->lock);
}

/* `second` may be NULL; patience_us 0: EXCHANGE_US. */
static void exchange(struct session *session, struct slot *first, struct slot *second,
                     uint64_t patience_us)
{
    uint64_t until_us = now_us() + (patience_us ? patience_us : EXCHANGE_US);
    struct exchange x = {.lock = PTHREAD_MUTEX_INITIALIZER, .pending = second ? 2 : 1};

    cond_init(&x.ended);
    first->owner = &x;
    first->urgent = true;
    first->complete = exchanged;
    session_submit(session, first);
    if (second) {
        second->owner = &x;
        second->urgent = true;
        second->complete = exchanged;
        session_submit(session, second);
    }
    pthread_mutex_lock(&x.lock);
    while (x.pending && now_us() < until_us)
        cond_wait_until(&x.ended, &x.lock, until_us);
    if (x.pending)
        session_abandon(session);
    while (x.pending)
        pthread_cond_wait(&x.ended, &x.lock);
    pthread_mutex_unlock(&x.lock);
    pthread_cond_destroy(&x.ended);
}

/* SPC-4 6.29, 6.30 */
static void security_protocol(struct slot *slot, uint8_t opcode, uint16_t specific, uint32_t bytes)
{
    memset(slot->cdb, 0, sizeof slot->cdb);
    slot->cdb[0] = opcode;
    slot->cdb[1] = WIRE_SECURITY_PROTOCOL;
    wire_put16(slot->cdb + 2, specific);
    wire_put32(slot->cdb + 6, bytes);
    slot->cdb_bytes = 12;
    slot->out = opcode == WIRE_SECURITY_PROTOCOL_OUT;
    slot->bytes = bytes;
}

static size_t make_prologue(const struct session *session, uint8_t out[512])
{
    static const char label[] = "encsan 1";
    const char *target = session_target(session);
    size_t target_len = strlen(target);

    memcpy(out, label, sizeof label);
    memcpy(out + sizeof label, target, target_len + 1);
    wire_put64(out + sizeof label + target_len + 1, session_lun(session));
    return sizeof label + target_len + 1 + 8;
}

static struct noise *make_noise(const struct session *session, const struct handshake_request *request)
{
    uint8_t prologue[512];
    struct noise_config config = {.cipher = NOISE_AESGCM, .initiator = true, .prologue = prologue};
    struct noise *noise;

    config.prologue_len = make_prologue(session, prologue);
    memcpy(config.static_private, request->key, NOISE_KEY_BYTES);
    memcpy(config.remote_static, request->target_key, NOISE_KEY_BYTES);
    noise = noise_new(&config);
    OPENSSL_cleanse(&config, sizeof config);
    return noise;
}

static int offered_suites(const struct handshake_request *request, uint8_t out[2], char *message)
{
    unsigned bits = WIRE_SUITE_BIT(WIRE_SUITE_AES_256_GCM) |
                    WIRE_SUITE_BIT(WIRE_SUITE_CHACHA20_POLY1305);

    if (request->suite) {
        enum wire_suite suite = suite_by_name(request->suite);

        if (!suite)
            return fail(message, "suite=%s: unknown; aes-256-gcm, chacha20-poly1305, 3des, null",
                        request->suite);
        bits = WIRE_SUITE_BIT(suite);
    }
    wire_put16(out, (uint16_t)bits);
    return 0;
}

/* Text of the target's, for a line of ours: no byte that could draw there. */
static void printable(const uint8_t *text, size_t bytes, char *out)
{
    size_t n = 0;

    for (; n < bytes && text[n]; n++)
        out[n] = text[n] >= ' ' && text[n] <= '~' ? (char)text[n] : '?';
    out[n] = 0;
}

static int refused(const struct wire_welcome *welcome, const struct handshake_request *request,
                   char *message)
{
    uint8_t public_key[KEY_BYTES];
    char own[KEY_TEXT_BYTES] = "", holder[KEY_TEXT_BYTES], since[64] = "?";
    char address[sizeof welcome->holder_address + 1];
    time_t when = (time_t)wire_get64(welcome->holder_since);
    struct tm tm;

    if (key_public(request->key, public_key) == 0)
        key_to_text(public_key, own);
    key_to_text(welcome->holder_key, holder);
    printable(welcome->holder_address, sizeof welcome->holder_address, address);
    if (localtime_r(&when, &tm))
        strftime(since, sizeof since, "%F %T", &tm);
    switch (welcome->refusal) {
    case WIRE_REFUSED_VERSION:
        return fail(message, "%s: the target speaks version %u of the protocol, we speak %d",
                    request->url, welcome->version, WIRE_VERSION);
    case WIRE_REFUSED_INITIATOR:
        return fail(message, "%s: the target does not know this initiator; allow it there with --allow %s",
                    request->url, own);
    case WIRE_REFUSED_SUITE:
        return fail(message, "%s: the target allows none of the offered suites; see suite=, and --suite there",
                    request->url);
    case WIRE_REFUSED_HELD:
        return fail(message, "%s: in use by %s from %s since %s (-o steal takes it over)",
                    request->url, holder, address, since);
    case WIRE_REFUSED_GENERATION:
        return fail(message, "%s: another mount has taken the LUN over: %s from %s since %s",
                    request->url, holder, address, since);
    case WIRE_REFUSED_READ_ONLY:
        return fail(message, "%s: the LUN is read-only; mount it with -o ro", request->url);
    case WIRE_REFUSED_BUSY:
        return fail(message, "%s: the target has no room for another session; try again later",
                    request->url);
    default:
        return fail(message, "%s: refused for a reason that we don't know (%u)", request->url,
                    welcome->refusal);
    }
}

static int check_statuses(const struct slot *out, const struct slot *in,
                          const struct handshake_request *request, char *message)
{
    if (out->status == SLOT_LOST || in->status == SLOT_LOST)
        return fail(message, "%s: the connection was lost during the handshake", request->url);
    if (out->status == SLOT_CHECK && out->sense_key == 0x07)
        return fail(message, "%s: the target holds another key than target_key=, or someone on the path changed the handshake",
                    request->url);
    if (out->status == SLOT_CHECK && out->sense_key == WIRE_SENSE_NOT_READY)
        return fail(message, "%s: the target waits for its own disk; try again later", request->url);
    if (out->status != SLOT_GOOD)
        return fail(message, "%s: no sealed LUN of an encsan-target", request->url);
    if (in->status != SLOT_GOOD)
        return fail(message, "%s: the target did not answer the handshake", request->url);
    return 0;
}

static int accept_welcome(const struct wire_welcome *welcome, const struct handshake_request *request,
                          unsigned offered, struct handshake *result, char *message)
{
    result->refusal = welcome->refusal;
    result->generation = wire_get64(welcome->generation);
    memcpy(result->volume_id, welcome->volume_id, WIRE_ID_BYTES);
    if (welcome->refusal != WIRE_ACCEPTED)
        return refused(welcome, request, message);
    if (wire_get32(welcome->block_bytes) != WIRE_BLOCK_BYTES ||
        wire_get64(welcome->blocks) > WIRE_LBA_MAX || wire_get64(welcome->blocks) == 0 ||
        wire_get32(welcome->data_blocks_max) < WIRE_DATA_BLOCKS_MAX)
        return fail(message, "%s: the LUN has a size or block size that we can't use", request->url);
    if (welcome->suite > WIRE_SUITE_NULL || !(offered & WIRE_SUITE_BIT(welcome->suite)))
        return fail(message, "%s: the target chose a suite that was not offered", request->url);
    result->suite = welcome->suite;
    result->blocks = wire_get64(welcome->blocks);
    result->boot_id = welcome->boot_id;
    result->ordinal_window = wire_get32(welcome->ordinal_window);
    return 0;
}

static bool is_attention(const struct slot *slot)
{
    return slot->status == SLOT_CHECK && slot->sense_key == SENSE_UNIT_ATTENTION;
}

static int exchange_messages(struct session *session, struct slots *slots, struct noise *noise,
                             const struct handshake_request *request, struct handshake *result,
                             char *message)
{
    struct slot *out = slots_get(slots, 0), *in = slots_get(slots, 1);
    struct wire_hello hello = {.version = WIRE_VERSION};
    struct wire_welcome welcome;

    hello.intent = (uint8_t)request->intent;
    memcpy(hello.mount_id, request->mount_id, WIRE_ID_BYTES);
    memcpy(hello.previous_mount_id, request->previous_mount_id, WIRE_ID_BYTES);
    wire_put64(hello.generation, request->generation);
    wire_put64(hello.base, request->base);
    if (offered_suites(request, hello.suites, message) != 0)
        return -1;
    security_protocol(out, WIRE_SECURITY_PROTOCOL_OUT, WIRE_SPS_MESSAGE_1,
                      sizeof hello + WIRE_NOISE_1_OVERHEAD);
    security_protocol(in, WIRE_SECURITY_PROTOCOL_IN, WIRE_SPS_MESSAGE_2,
                      sizeof welcome + WIRE_NOISE_2_OVERHEAD);
    if (noise_write(noise, (const uint8_t *)&hello, sizeof hello, out->data) < 0)
        return fail(message, "the handshake cannot be made: target_key= is no usable X25519 key");
    exchange(session, out, in, request->patience_us);
    /* A UNIT ATTENTION, which a new session may find, keeps one command from being executed. */
    for (int i = 0; i < ATTENTIONS_MAX && (is_attention(out) || is_attention(in)); i++)
        exchange(session, out, in, request->patience_us);
    if (check_statuses(out, in, request, message) != 0)
        return -1;
    if (noise_read(noise, in->data, in->bytes, (uint8_t *)&welcome) < 0)
        return fail(message, "%s: the target's answer does not authenticate: someone on the path changed it",
                    request->url);
    if (accept_welcome(&welcome, request, wire_get16(hello.suites), result, message) != 0)
        return -1;
    result->sa = sa_new(noise, true, result->suite, welcome.sa_index);
    if (!result->sa)
        return fail(message, "OpenSSL cannot make the keys");
    return 0;
}

/* A write of nothing: ordinal 0. */
static int make_none(struct sa *sa, uint8_t flags, struct slot *slot)
{
    const struct wire_write header = {.operation = WIRE_OP_NONE, .flags = flags};
    const struct iovec in = {(void *)&header, sizeof header};

    slot->cdb_bytes = WIRE_CDB_BYTES;
    slot->out = true;
    slot->bytes = WIRE_WRITE_BYTES(0);
    if (sa_cdb_make(sa, WIRE_SEALED_WRITE, 0, slot->cdb) != 0)
        return -1;
    return sa_seal_write(sa, slot->cdb, &in, 1, slot->data);
}

/* The empty write takes the lease; the receipt says, sealed, that it did. */
static int confirm(struct session *session, struct slots *slots,
                   const struct handshake_request *request, struct handshake *result, char *message)
{
    const uint8_t wanted = request->intent == WIRE_INTENT_RO ? WIRE_LEASE_SHARED : WIRE_LEASE_HELD;
    struct slot *none = slots_get(slots, 0), *sync = slots_get(slots, 1);
    struct wire_receipt receipt;
    const struct iovec out = {&receipt, sizeof receipt};

    sync->cdb_bytes = WIRE_CDB_BYTES;
    sync->out = false;
    sync->bytes = WIRE_SYNC_BYTES;
    if (make_none(result->sa, 0, none) != 0 ||
        sa_cdb_make(result->sa, WIRE_SEALED_SYNC, 0, sync->cdb) != 0)
        return fail(message, "OpenSSL cannot seal");
    exchange(session, none, sync, request->patience_us);
    if (sync->status != SLOT_GOOD)
        return fail(message, "%s: the connection was lost or disturbed during the handshake",
                    request->url);
    if (sa_open_answer(result->sa, sync->cdb, sync->data, sync->bytes, &out, 1) != 0)
        return fail(message, "%s: the target's first receipt does not authenticate: someone on the path changed it",
                    request->url);
    result->overtaken = receipt.lease_state != wanted;
    if (result->overtaken)
        return fail(message, "%s: the target did not grant the LUN after all: another was faster, or it cannot record it (see its log)", request->url);
    result->generation = wire_get64(receipt.generation);
    result->boot_id = receipt.boot_id;
    return 0;
}

int handshake_run(struct session *session, const struct handshake_request *request,
                  struct handshake *result, char message[ENCSAN_MESSAGE_BYTES])
{
    struct noise *noise = make_noise(session, request);
    struct slots *slots = slots_new(2);
    int error;

    memset(result, 0, sizeof *result);
    if (!noise || !slots)
        error = fail(message, "the handshake cannot be made: OpenSSL failed, or out of memory");
    else
        error = exchange_messages(session, slots, noise, request, result, message);
    if (error == 0 && request->agrees && !request->agrees(request->opaque, result, message))
        error = -1;
    if (error == 0)
        error = confirm(session, slots, request, result, message);
    if (error != 0 && result->sa) {
        sa_free(result->sa);
        result->sa = NULL;
    }
    if (noise)
        noise_free(noise);
    if (slots)
        slots_free(slots);
    return error;
}

void handshake_release(struct session *session, struct sa *sa)
{
    struct slots *slots = slots_new(1);

    if (slots && make_none(sa, WIRE_FLAG_RELEASE, slots_get(slots, 0)) == 0)
        exchange(session, slots_get(slots, 0), NULL, 0);
    if (slots)
        slots_free(slots);
}
