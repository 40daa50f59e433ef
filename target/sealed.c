// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Sealed commands: PROTOCOL, sections 1 and 2.
 *
 * An association is an SA with its claim to the lease. A session has at most
 * three for a LUN: pending (its first SEALED WRITE has not opened), current,
 * previous. The list belongs to the connection's reader; workers hold
 * references. The reader checks a command's tag and number; sealing, opening
 * and the disk are a worker's, except for the first write of a pending SA,
 * which the reader opens itself: with it the lease is taken, and that may wait.
 *
 * A worker opens into scratch memory of its own and seals from it.
 */
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "conn.h"
#include "noise.h"
#include "sa.h"
#include "suite.h"

enum place { PENDING, CURRENT, PREVIOUS, GONE };

struct association {
    struct association *next;
    struct lun *lun;
    struct sa *sa;
    struct claim claim;
    enum place place;
    uint64_t pending_until_us;
    uint8_t message_2[WIRE_NOISE_2_OVERHEAD + sizeof(struct wire_welcome)];
    bool fetched; /* message 2 */
    atomic_uint references;
};

static void release(struct association *a)
{
    if (atomic_fetch_sub(&a->references, 1) > 1)
        return;
    lease_leave(a->lun->lease, &a->claim);
    if (a->sa)
        sa_free(a->sa);
    free(a);
}

static struct association *find_place(struct conn *conn, const struct lun *lun, enum place place)
{
    struct association *a = conn->associations;

    while (a && (a->lun != lun || a->place != place))
        a = a->next;
    return a;
}

static void drop(struct conn *conn, struct association *a)
{
    struct association **at = &conn->associations;

    if (!a)
        return;
    while (*at != a)
        at = &(*at)->next;
    *at = a->next;
    a->place = GONE;
    release(a);
}

void sealed_end(struct conn *conn)
{
    while (conn->associations) {
        lease_forget(conn->associations->lun->lease, conn);
        drop(conn, conn->associations);
    }
}

/* ---- handshake ---- */

static struct noise *responder(const struct conn *conn, const struct lun *lun)
{
    uint8_t prologue[512] = "encsan 1";
    size_t len = sizeof "encsan 1", name_len = strlen(conn->target->name) + 1;
    struct noise_config config = {.cipher = NOISE_AESGCM, .prologue = prologue};

    memcpy(prologue + len, conn->target->name, name_len);
    wire_put64(prologue + len + name_len, lun->number);
    config.prologue_len = len + name_len + 8;
    memcpy(config.static_private, conn->target->key, sizeof config.static_private);
    return noise_new(&config);
}

static bool is_allowed(const struct target *target, const uint8_t *key)
{
    for (unsigned i = 0; i < target->allowed_count; i++)
        if (memcmp(target->allowed[i], key, WIRE_KEY_BYTES) == 0)
            return true;
    return false;
}

/* An index that no SA of this session and LUN has. */
static uint8_t free_index(const struct conn *conn, const struct lun *lun)
{
    uint8_t index = 0;
    bool taken = true;

    while (taken) {
        index++;
        taken = false;
        for (const struct association *a = conn->associations; a; a = a->next)
            taken |= a->lun == lun && a->sa && sa_index(a->sa) == index;
    }
    return index;
}

static void take_hello(struct conn *conn, struct association *a, const struct wire_hello *hello,
                       const uint8_t *initiator)
{
    a->claim.intent = hello->intent;
    a->claim.generation = wire_get64(hello->generation);
    a->claim.base = wire_get64(hello->base);
    memcpy(a->claim.initiator, initiator, WIRE_KEY_BYTES);
    memcpy(a->claim.mount_id, hello->mount_id, WIRE_ID_BYTES);
    memcpy(a->claim.address, conn->address, sizeof a->claim.address);
}

static void refuse(struct conn *conn, struct wire_welcome *w, enum wire_refusal why)
{
    static const char *const reasons[] = {
        [WIRE_REFUSED_VERSION] = "another version of the protocol",
        [WIRE_REFUSED_INITIATOR] = "a key that is not allowed",
        [WIRE_REFUSED_SUITE] = "no suite that is allowed",
        [WIRE_REFUSED_HELD] = "the LUN is in use",
        [WIRE_REFUSED_GENERATION] = "a lease that is over",
    };

    w->refusal = (uint8_t)why;
    conn_log(conn, "handshake refused: %s", reasons[why]);
}

static void make_welcome(struct conn *conn, struct association *a, const struct wire_hello *hello,
                         struct wire_welcome *w)
{
    w->version = WIRE_VERSION;
    wire_put32(w->block_bytes, WIRE_BLOCK_BYTES);
    wire_put64(w->blocks, a->lun->blocks);
    wire_put32(w->ordinal_window, WIRE_ORDINAL_WINDOW);
    wire_put32(w->waiting_max, WIRE_WAITING_MAX);
    wire_put32(w->data_blocks_max, WIRE_DATA_BLOCKS_MAX);
    if (hello->version != WIRE_VERSION) {
        refuse(conn, w, WIRE_REFUSED_VERSION);
        return;
    }
    if (!is_allowed(conn->target, a->claim.initiator)) {
        refuse(conn, w, WIRE_REFUSED_INITIATOR);
        return;
    }
    w->suite = (uint8_t)suite_choose(wire_get16(hello->suites), conn->target->suites);
    if (!w->suite) {
        refuse(conn, w, WIRE_REFUSED_SUITE);
        return;
    }
    lease_describe(a->lun->lease, &a->claim, w);
    if (w->refusal != WIRE_ACCEPTED)
        refuse(conn, w, w->refusal);
    a->claim.generation = wire_get64(w->generation);
    w->sa_index = free_index(conn, a->lun);
}

/* Message 1 arrived. -1: it does not open, or we have no memory. */
static int respond(struct conn *conn, struct association *a, struct noise *noise,
                   const uint8_t *message, uint32_t len)
{
    struct wire_hello hello;
    struct wire_welcome welcome = {0};

    if (len != sizeof hello + WIRE_NOISE_1_OVERHEAD ||
        noise_read(noise, message, len, (uint8_t *)&hello) < 0) {
        conn_log(conn, "security: a handshake for LUN %u that does not open: another target's key, or changed on the path",
                 a->lun->number);
        return -1;
    }
    take_hello(conn, a, &hello, noise_remote_static(noise));
    make_welcome(conn, a, &hello, &welcome);
    if (noise_write(noise, (const uint8_t *)&welcome, sizeof welcome, a->message_2) < 0)
        return -1;
    if (welcome.refusal != WIRE_ACCEPTED)
        return 0;
    a->sa = sa_new(noise, false, welcome.suite, welcome.sa_index);
    return a->sa ? 0 : -1;
}

static void handshake_out(struct task *t)
{
    struct conn *conn = t->conn;
    struct association *a = calloc(1, sizeof *a);
    struct noise *noise = responder(conn, t->lun);
    int error = -1;

    if (a && noise) {
        a->lun = t->lun;
        atomic_init(&a->references, 1);
        error = respond(conn, a, noise, t->data, t->received);
    }
    if (noise)
        noise_free(noise);
    if (error) {
        if (a && a->sa)
            sa_free(a->sa);
        free(a);
        task_sense(t, SENSE_ACCESS_DENIED);
        return;
    }
    drop(conn, find_place(conn, t->lun, PENDING));
    a->pending_until_us = (uint64_t)g_get_monotonic_time() + WIRE_PENDING_SA_US;
    a->next = conn->associations;
    conn->associations = a;
    task_status(t, GOOD);
}

static void handshake_in(struct task *t)
{
    struct association *a = find_place(t->conn, t->lun, PENDING);

    if (!a || a->fetched || task_reserve(t, sizeof a->message_2) != 0) {
        task_sense(t, SENSE_COMMAND_SEQUENCE);
        return;
    }
    a->fetched = true;
    memcpy(t->data, a->message_2, sizeof a->message_2);
    task_data_in(t, sizeof a->message_2);
}

void sealed_handshake(struct task *t)
{
    const uint8_t *cdb = task_cdb(t);
    bool out = cdb[0] == WIRE_SECURITY_PROTOCOL_OUT;

    if (cdb[1] != WIRE_SECURITY_PROTOCOL ||
        wire_get16(cdb + 2) != (out ? WIRE_SPS_MESSAGE_1 : WIRE_SPS_MESSAGE_2) ||
        wire_get32(cdb + 6) != t->expected)
        task_sense(t, SENSE_INVALID_FIELD);
    else if (out)
        handshake_out(t);
    else
        handshake_in(t);
}

/* ---- executing ---- */

static uint8_t *scratch(void)
{
    static GPrivate key = G_PRIVATE_INIT(g_free);
    uint8_t *memory = g_private_get(&key);

    if (!memory) {
        memory = g_malloc(DATA_SEGMENT_MAX);
        g_private_set(&key, memory);
    }
    return memory;
}

static void end(struct task *t)
{
    struct association *a = t->association;

    t->association = NULL;
    release(a);
}

static void end_with_status(struct task *t, uint8_t status)
{
    end(t);
    task_status(t, status);
}

static void end_with_sense(struct task *t, uint32_t sense)
{
    end(t);
    task_sense(t, sense);
}

static int perform(const struct lun *lun, const struct wire_write *w, const uint8_t *data)
{
    struct backend *backend = lun->backend;
    uint64_t offset = wire_get64(w->lba) * WIRE_BLOCK_BYTES;
    uint64_t bytes = (uint64_t)wire_get32(w->blocks) * WIRE_BLOCK_BYTES;
    int error = 0;

    switch (w->operation) {
    case WIRE_OP_WRITE:
        error = backend->ops->write(backend, data, bytes, offset);
        break;
    case WIRE_OP_ZEROES:
        error = backend->ops->zero(backend, bytes, offset);
        break;
    case WIRE_OP_UNMAP:
        error = backend->ops->unmap(backend, bytes, offset);
        break;
    default:
        break;
    }
    if (!error && w->flags & WIRE_FLAG_FUA)
        error = backend->ops->flush(backend);
    return error;
}

/* A write whose `after` was not durable yet: its plain bytes, until it is. */
struct parked {
    struct ordered ordered; /* first: the lease hands it back */
    struct job job;
    struct lun *lun;
    struct workers *workers;
    struct wire_write header;
    uint8_t data[];
};

static void run_parked(struct job *job)
{
    struct parked *p = (struct parked *)((char *)job - offsetof(struct parked, job));

    lease_executed(p->lun->lease, &p->ordered, perform(p->lun, &p->header, p->data));
    free(p);
}

static void parked_turn(struct ordered *ordered, bool execute)
{
    struct parked *p = (struct parked *)ordered;

    if (!execute) {
        free(p);
        return;
    }
    p->job.run = run_parked;
    workers_push(p->workers, &p->job);
}

static enum lease_verdict park(struct task *t, const struct wire_write *w, const uint8_t *data,
                               size_t bytes)
{
    struct parked *p = malloc(sizeof *p + bytes);
    enum lease_verdict verdict;

    if (!p)
        return LEASE_BUSY;
    *p = (struct parked){.ordered = t->ordered, .lun = t->lun, .workers = t->conn->target->workers,
                         .header = *w};
    p->ordered.run = parked_turn;
    p->ordered.bytes = sizeof *p + bytes;
    memcpy(p->data, data, bytes);
    verdict = lease_claim(t->lun->lease, &t->association->claim, &p->ordered);
    if (verdict == LEASE_EXECUTE)
        parked_turn(&p->ordered, true);
    else if (verdict != LEASE_WAIT)
        free(p);
    return verdict == LEASE_EXECUTE ? LEASE_WAIT : verdict;
}

static void answer_write(struct task *t, enum lease_verdict verdict)
{
    switch (verdict) {
    case LEASE_EXECUTE:
    case LEASE_WAIT:
    case LEASE_DONE:
        end_with_status(t, GOOD);
        break;
    case LEASE_BUSY:
        end_with_status(t, TASK_SET_FULL);
        break;
    case LEASE_INVALID:
        end_with_sense(t, SENSE_INVALID_FIELD);
        break;
    case LEASE_FENCED:
        end_with_sense(t, SENSE_ACCESS_DENIED);
        break;
    }
}

static bool is_valid(const struct task *t, const struct wire_write *w)
{
    uint64_t lba = wire_get64(w->lba), blocks = wire_get32(w->blocks);
    uint64_t data_blocks = w->operation == WIRE_OP_WRITE ? blocks : 0;

    return w->operation <= WIRE_OP_UNMAP && t->received == WIRE_WRITE_BYTES(data_blocks) &&
           lba <= t->lun->blocks && blocks <= t->lun->blocks - lba;
}

/* It opened, and is not a copy in transit. */
static void write_opened(struct task *t, const struct wire_write *w, const uint8_t *data)
{
    enum lease_verdict verdict;
    int error;

    if (!is_valid(t, w)) {
        end_with_sense(t, SENSE_INVALID_FIELD);
        return;
    }
    if (w->operation == WIRE_OP_NONE && wire_get64(w->ordinal) == 0) {
        answer_write(t, t->association->claim.state == WIRE_LEASE_FENCED ? LEASE_FENCED : LEASE_DONE);
        return;
    }
    t->ordered = (struct ordered){.owner = t->conn, .ordinal = wire_get64(w->ordinal),
                                  .after = wire_get64(w->after)};
    if (t->ordered.after > 0) {
        answer_write(t, park(t, w, data, t->received - WIRE_WRITE_BYTES(0)));
        return;
    }
    verdict = lease_claim(t->lun->lease, &t->association->claim, &t->ordered);
    if (verdict != LEASE_EXECUTE) {
        answer_write(t, verdict);
        return;
    }
    error = perform(t->lun, w, data);
    lease_executed(t->lun->lease, &t->ordered, error);
    if (error)
        end_with_sense(t, sense_of_errno(error));
    else
        end_with_status(t, GOOD);
}

/* False: it was answered. */
static bool open_write(struct task *t, uint8_t *plain)
{
    struct sa *sa = t->association->sa;
    const uint8_t *cdb = task_cdb(t);

    if (t->received < WIRE_WRITE_BYTES(0) || t->received > DATA_SEGMENT_MAX ||
        t->received != t->expected || sa_open_write(sa, cdb, t->data, t->received, plain) != 0) {
        conn_log(t->conn, "security: data of a write that does not authenticate was dropped");
        end_with_sense(t, SENSE_ACCESS_DENIED);
        return false;
    }
    if (sa_replay_set(sa, cdb) != 0) {
        end_with_sense(t, SENSE_ACCESS_DENIED);
        return false;
    }
    return true;
}

static void write_job(struct job *job)
{
    struct task *t = (struct task *)((char *)job - offsetof(struct task, job));
    uint8_t *plain = scratch();

    if (open_write(t, plain))
        write_opened(t, (const struct wire_write *)plain, plain + sizeof(struct wire_write));
}

static void seal_answer(struct task *t, const struct iovec *in, int count, uint32_t bytes)
{
    if (sa_seal_answer(t->association->sa, task_cdb(t), in, count, t->data) != 0) {
        end_with_sense(t, SENSE_ACCESS_DENIED);
        return;
    }
    end(t);
    task_data_in(t, bytes);
}

static void read_job(struct job *job)
{
    struct task *t = (struct task *)((char *)job - offsetof(struct task, job));
    uint64_t lba = t->field >> 10;
    uint32_t blocks = (uint32_t)(t->field & 0x3ff) + 1;
    size_t bytes = (size_t)blocks * WIRE_BLOCK_BYTES;
    struct wire_read header = {.status = GOOD};
    uint8_t *plain = scratch();
    const struct iovec in[2] = {{&header, sizeof header}, {plain, bytes}};
    int error = lba + blocks > t->lun->blocks
                    ? -EINVAL
                    : t->lun->backend->ops->read(t->lun->backend, plain, bytes,
                                                 lba * WIRE_BLOCK_BYTES);

    if (error) {
        uint32_t sense = error == -EINVAL ? SENSE_LBA_OUT_OF_RANGE : SENSE_READ_ERROR;

        header.status = CHECK_CONDITION;
        header.sense_key = (uint8_t)(sense >> 16);
        header.asc = (uint8_t)(sense >> 8);
        header.ascq = (uint8_t)sense;
        memset(plain, 0, bytes);
    }
    seal_answer(t, in, 2, (uint32_t)WIRE_READ_BYTES(blocks));
}

static void sync_job(struct job *job)
{
    struct task *t = (struct task *)((char *)job - offsetof(struct task, job));
    struct wire_receipt receipt;
    const struct iovec in = {&receipt, sizeof receipt};

    lease_receipt(t->lun->lease, &t->association->claim, &receipt);
    seal_answer(t, &in, 1, (uint32_t)WIRE_SYNC_BYTES);
}

static void sync_answer(struct waiting_sync *sync)
{
    struct task *t = (struct task *)((char *)sync - offsetof(struct task, sync));

    t->job.run = sync_job;
    workers_push(t->conn->target->workers, &t->job);
}

/* ---- arriving: the reader ---- */

static void bad_tag(struct task *t)
{
    struct conn *conn = t->conn;

    if (++conn->bad_tags == 1 || conn->bad_tags % 100 == 0)
        conn_log(conn, "security: a sealed command that does not authenticate was dropped (%u so far)",
                 conn->bad_tags);
    task_sense(t, SENSE_ACCESS_DENIED);
    if (conn->bad_tags >= WIRE_BAD_TAGS_MAX)
        conn_shut(conn);
}

static struct association *find_sa(struct conn *conn, const struct lun *lun, uint8_t index)
{
    struct association *pending = find_place(conn, lun, PENDING);
    struct association *a = conn->associations;

    if (pending && pending->pending_until_us < (uint64_t)g_get_monotonic_time())
        drop(conn, pending);
    for (a = conn->associations; a; a = a->next)
        if (a->lun == lun && a->sa && sa_index(a->sa) == index)
            return a;
    return NULL;
}

/* The first write of a pending SA: with it the lease is taken. */
static void promote(struct task *t)
{
    struct conn *conn = t->conn;
    struct association *a = t->association, *current;
    uint8_t *plain = scratch();

    if (!open_write(t, plain))
        return;
    drop(conn, find_place(conn, t->lun, PREVIOUS));
    current = find_place(conn, t->lun, CURRENT);
    if (current)
        current->place = PREVIOUS;
    a->place = CURRENT;
    lease_take(t->lun->lease, &a->claim);
    if (a->claim.state == WIRE_LEASE_FENCED)
        conn_log(conn, "LUN %u: another initiator was first", t->lun->number);
    else
        conn_log(conn, "LUN %u: %s, generation %llu", t->lun->number,
                 a->claim.state == WIRE_LEASE_HELD ? "held" : "shared, read-only",
                 (unsigned long long)a->claim.generation);
    write_opened(t, (const struct wire_write *)plain, plain + sizeof(struct wire_write));
}

static uint32_t answer_bytes(struct task *t)
{
    return task_cdb(t)[0] == WIRE_SEALED_READ
               ? (uint32_t)WIRE_READ_BYTES((uint32_t)(t->field & 0x3ff) + 1)
               : (uint32_t)WIRE_SYNC_BYTES;
}

/* SEALED READ and SYNC: the number is used up, then the lengths must fit. */
static void read_or_sync(struct task *t)
{
    uint32_t bytes = answer_bytes(t);

    if (sa_replay_set(t->association->sa, task_cdb(t)) != 0) {
        end_with_sense(t, SENSE_ACCESS_DENIED);
        return;
    }
    if (t->expected != bytes || t->out_len > 0 || bytes > DATA_SEGMENT_MAX) {
        end_with_sense(t, SENSE_INVALID_FIELD);
        return;
    }
    if (task_reserve(t, bytes) != 0) {
        end_with_status(t, BUSY);
        return;
    }
    if (task_cdb(t)[0] == WIRE_SEALED_SYNC) {
        t->sync = (struct waiting_sync){.owner = t->conn, .ordinal = t->field, .answer = sync_answer};
        lease_sync(t->lun->lease, &t->sync);
        return;
    }
    t->job.run = read_job;
    workers_push(t->conn->target->workers, &t->job);
}

void sealed_execute(struct task *t)
{
    const uint8_t *cdb = task_cdb(t);
    struct association *a = find_sa(t->conn, t->lun, cdb[1]);

    if (!a || sa_cdb_check(a->sa, cdb, &t->field) != 0) {
        bad_tag(t);
        return;
    }
    t->association = a;
    atomic_fetch_add(&a->references, 1);
    if (cdb[0] != WIRE_SEALED_WRITE) {
        read_or_sync(t);
    } else if (a->place == PENDING) {
        promote(t);
    } else {
        t->job.run = write_job;
        workers_push(t->conn->target->workers, &t->job);
    }
}
