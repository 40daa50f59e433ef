// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Lease, ordinals, receipts of one sealed LUN.
 *
 * An ordinal is ABSENT, WAITING (in memory, for its `after`), EXECUTING (a
 * worker has it), EXECUTED, or durable (not above `durable`); every change
 * happens under `lock`. The window's states stand in a ring.
 *
 * `epoch` changes when another holder is granted the lease and when a flush
 * failed. What was claimed in an older epoch ends without a trace: it is absent.
 *
 * The syncer is the only one that flushes while the LUN is in use. It takes
 * the executed mark before it flushes; that mark is durable afterwards.
 */
#include "lease.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <openssl/rand.h>

#define WAITING_BYTES_MAX (16u << 20)

enum ordinal_state { ABSENT, WAITING, EXECUTING, EXECUTED };

struct lease {
    struct lun *lun;
    uint8_t volume_id[WIRE_ID_BYTES];
    pthread_t syncer;

    pthread_mutex_t lock;   /* protects all that follows */
    pthread_cond_t changed; /* wakes the syncer */
    pthread_cond_t idle;    /* executing became 0 */
    bool ending;
    struct wire_boot_id boot_id;

    uint64_t generation;
    struct claim holder; /* the last one granted */
    time_t since;
    unsigned writers, readers; /* SAs */

    uint64_t epoch;
    uint64_t durable, executed;
    uint8_t state[WIRE_ORDINAL_WINDOW]; /* of ordinal n at n % WIRE_ORDINAL_WINDOW */
    unsigned executing; /* commands, of any epoch */
    uint64_t failed_ordinal;
    uint32_t failed_sense;

    struct ordered *waiting;
    unsigned waiting_count;
    size_t waiting_bytes;
    struct waiting_sync *syncs;
};

static uint64_t now_us(void)
{
    return (uint64_t)g_get_monotonic_time();
}

static uint8_t *state_of(struct lease *l, uint64_t ordinal)
{
    return &l->state[ordinal % WIRE_ORDINAL_WINDOW];
}

uint32_t sense_of_errno(int error)
{
    switch (error) {
    case -ENOSPC:
    case -EDQUOT:
        return 0x072707; /* DATA PROTECT, SPACE ALLOCATION FAILED WRITE PROTECT */
    case -EROFS:
    case -EPERM:
        return 0x072700; /* DATA PROTECT, WRITE PROTECTED */
    default:
        return 0x030C00; /* MEDIUM ERROR, WRITE ERROR */
    }
}

/* ---- restarts ---- */

/* The counter grows over restarts of the target, too, as long as the clock does. */
static void new_boot_id(struct lease *l)
{
    uint64_t counter = wire_get64(l->boot_id.counter), clock_us = (uint64_t)g_get_real_time();

    wire_put64(l->boot_id.counter, clock_us > counter ? clock_us : counter + 1);
    if (RAND_bytes(l->boot_id.random, sizeof l->boot_id.random) != 1)
        abort(); /* without random numbers nothing here is safe */
}

static void forget_above(struct lease *l, uint64_t durable)
{
    for (unsigned i = 0; i < WIRE_ORDINAL_WINDOW; i++)
        if (l->state[i] != WAITING)
            l->state[i] = ABSENT;
    l->durable = l->executed = durable;
    l->failed_ordinal = 0;
    l->epoch++;
}

static struct ordered *take_waiting(struct lease *l)
{
    struct ordered *all = l->waiting;

    l->waiting = NULL;
    l->waiting_count = 0;
    l->waiting_bytes = 0;
    return all;
}

static void run_all(struct ordered *list, bool execute)
{
    while (list) {
        struct ordered *next = list->next;

        list->run(list, execute);
        list = next;
    }
}

/* ---- who holds it ---- */

static enum wire_refusal refusal(const struct lease *l, const struct claim *c)
{
    switch (c->intent) {
    case WIRE_INTENT_ACQUIRE:
        return l->writers || l->readers ? WIRE_REFUSED_HELD : WIRE_ACCEPTED;
    case WIRE_INTENT_RO:
        return l->writers ? WIRE_REFUSED_HELD : WIRE_ACCEPTED;
    case WIRE_INTENT_RESUME:
        return l->generation == c->generation && l->holder.intent != WIRE_INTENT_RO &&
                       memcmp(l->holder.mount_id, c->mount_id, WIRE_ID_BYTES) == 0 &&
                       memcmp(l->holder.initiator, c->initiator, WIRE_KEY_BYTES) == 0
                   ? WIRE_ACCEPTED
                   : WIRE_REFUSED_GENERATION;
    default:
        return WIRE_REFUSED_HELD; /* taking over by force is not offered yet */
    }
}

void lease_describe(struct lease *l, const struct claim *claim, struct wire_welcome *w)
{
    pthread_mutex_lock(&l->lock);
    w->refusal = (uint8_t)refusal(l, claim);
    memcpy(w->volume_id, l->volume_id, WIRE_ID_BYTES);
    w->boot_id = l->boot_id;
    wire_put64(w->generation, l->generation);
    wire_put64(w->durable, l->durable);
    if (l->writers || l->readers) {
        memcpy(w->holder_key, l->holder.initiator, WIRE_KEY_BYTES);
        memcpy(w->holder_mount_id, l->holder.mount_id, WIRE_ID_BYTES);
        memcpy(w->holder_address, l->holder.address, sizeof w->holder_address);
        wire_put64(w->holder_since, (uint64_t)l->since);
    }
    pthread_mutex_unlock(&l->lock);
}

/* A new holder: what the old one left running ends first, and is flushed. What
 * it left waiting went with its sessions. */
static void grant(struct lease *l, struct claim *claim)
{
    l->generation++;
    while (l->executing)
        pthread_cond_wait(&l->idle, &l->lock);
    if (l->lun->backend->ops->flush(l->lun->backend) != 0)
        new_boot_id(l);
    forget_above(l, claim->base);
    claim->generation = l->generation;
}

void lease_take(struct lease *l, struct claim *claim)
{
    pthread_mutex_lock(&l->lock);
    if (l->generation != claim->generation || refusal(l, claim) != WIRE_ACCEPTED) {
        claim->state = WIRE_LEASE_FENCED;
    } else if (claim->intent == WIRE_INTENT_RO) {
        claim->state = WIRE_LEASE_SHARED;
        l->readers++;
        l->holder = *claim;
        l->since = time(NULL);
    } else {
        l->writers++;
        if (claim->intent == WIRE_INTENT_ACQUIRE) {
            grant(l, claim);
            l->holder = *claim;
            l->since = time(NULL);
        } else if (claim->base > l->durable) {
            forget_above(l, claim->base);
        }
        claim->state = WIRE_LEASE_HELD;
    }
    pthread_mutex_unlock(&l->lock);
}

void lease_leave(struct lease *l, struct claim *claim)
{
    pthread_mutex_lock(&l->lock);
    if (claim->state == WIRE_LEASE_HELD)
        l->writers--;
    else if (claim->state == WIRE_LEASE_SHARED)
        l->readers--;
    claim->state = WIRE_LEASE_NONE;
    pthread_mutex_unlock(&l->lock);
}

/* ---- ordinals ---- */

static struct ordered *unlink_waiting(struct lease *l, struct ordered **at)
{
    struct ordered *o = *at;

    *at = o->next;
    o->next = NULL;
    l->waiting_count--;
    l->waiting_bytes -= o->bytes;
    return o;
}

static struct ordered *unlink_copy(struct lease *l, uint64_t ordinal)
{
    struct ordered **at = &l->waiting;

    while (*at && (*at)->ordinal != ordinal)
        at = &(*at)->next;
    return *at ? unlink_waiting(l, at) : NULL;
}

static enum lease_verdict wait_for_after(struct lease *l, struct ordered *o)
{
    if (l->waiting_count >= WIRE_WAITING_MAX || l->waiting_bytes + o->bytes > WAITING_BYTES_MAX)
        return LEASE_BUSY;
    o->next = l->waiting;
    l->waiting = o;
    l->waiting_count++;
    l->waiting_bytes += o->bytes;
    *state_of(l, o->ordinal) = WAITING;
    pthread_cond_signal(&l->changed);
    return LEASE_WAIT;
}

static enum lease_verdict claim_locked(struct lease *l, const struct claim *claim, struct ordered *o,
                                       struct ordered **replaced)
{
    if (claim->state != WIRE_LEASE_HELD || claim->generation != l->generation)
        return LEASE_FENCED;
    if (o->ordinal == 0 || o->ordinal > WIRE_ORDINAL_MAX || o->after >= o->ordinal ||
        o->ordinal > l->durable + WIRE_ORDINAL_WINDOW)
        return LEASE_INVALID;
    if (o->ordinal <= l->durable || *state_of(l, o->ordinal) == EXECUTED)
        return LEASE_DONE;
    if (*state_of(l, o->ordinal) == EXECUTING)
        return LEASE_BUSY;
    if (*state_of(l, o->ordinal) == WAITING) {
        *replaced = unlink_copy(l, o->ordinal);
        *state_of(l, o->ordinal) = ABSENT;
    }
    if (o->after > l->durable)
        return wait_for_after(l, o);
    *state_of(l, o->ordinal) = EXECUTING;
    o->epoch = l->epoch;
    l->executing++;
    return LEASE_EXECUTE;
}

enum lease_verdict lease_claim(struct lease *l, const struct claim *claim, struct ordered *o)
{
    struct ordered *replaced = NULL;
    enum lease_verdict verdict;

    pthread_mutex_lock(&l->lock);
    verdict = claim_locked(l, claim, o, &replaced);
    pthread_mutex_unlock(&l->lock);
    run_all(replaced, false);
    return verdict;
}

static void advance_executed(struct lease *l)
{
    while (l->executed < l->durable + WIRE_ORDINAL_WINDOW &&
           *state_of(l, l->executed + 1) == EXECUTED)
        l->executed++;
}

void lease_executed(struct lease *l, const struct ordered *o, int error)
{
    pthread_mutex_lock(&l->lock);
    if (--l->executing == 0)
        pthread_cond_broadcast(&l->idle);
    if (o->epoch == l->epoch) {
        *state_of(l, o->ordinal) = error ? ABSENT : EXECUTED;
        if (error && (!l->failed_ordinal || o->ordinal <= l->failed_ordinal)) {
            l->failed_ordinal = o->ordinal;
            l->failed_sense = sense_of_errno(error);
        } else if (!error && o->ordinal == l->failed_ordinal) {
            l->failed_ordinal = 0;
        }
        advance_executed(l);
        if (l->syncs || l->waiting)
            pthread_cond_signal(&l->changed);
    }
    pthread_mutex_unlock(&l->lock);
}

void lease_forget(struct lease *l, const void *owner)
{
    struct ordered **at = &l->waiting, *gone = NULL;
    struct waiting_sync **sync = &l->syncs, *dropped = NULL;

    pthread_mutex_lock(&l->lock);
    while (*at) {
        struct ordered *o;

        if ((*at)->owner != owner) {
            at = &(*at)->next;
            continue;
        }
        o = unlink_waiting(l, at);
        *state_of(l, o->ordinal) = ABSENT;
        o->next = gone;
        gone = o;
    }
    while (*sync) {
        struct waiting_sync *s = *sync;

        if (s->owner != owner) {
            sync = &s->next;
            continue;
        }
        *sync = s->next;
        s->next = dropped;
        dropped = s;
    }
    pthread_mutex_unlock(&l->lock);
    run_all(gone, false);
    while (dropped) {
        struct waiting_sync *next = dropped->next;

        dropped->answer(dropped);
        dropped = next;
    }
}

/* ---- receipts ---- */

void lease_sync(struct lease *l, struct waiting_sync *sync)
{
    bool now;

    pthread_mutex_lock(&l->lock);
    now = sync->ordinal <= l->durable;
    if (!now) {
        sync->deadline_us = now_us() + WIRE_SYNC_WAIT_US;
        sync->next = l->syncs;
        l->syncs = sync;
        pthread_cond_signal(&l->changed);
    }
    pthread_mutex_unlock(&l->lock);
    if (now)
        sync->answer(sync);
}

void lease_receipt(struct lease *l, const struct claim *claim, struct wire_receipt *r)
{
    memset(r, 0, sizeof *r);
    pthread_mutex_lock(&l->lock);
    r->boot_id = l->boot_id;
    wire_put64(r->generation, claim->state == WIRE_LEASE_HELD ? claim->generation : l->generation);
    r->lease_state = (uint8_t)claim->state;
    if (claim->state == WIRE_LEASE_HELD && claim->generation != l->generation)
        r->lease_state = WIRE_LEASE_FENCED;
    wire_put64(r->durable, l->durable);
    wire_put64(r->executed, l->executed);
    if (l->failed_ordinal > l->durable) {
        wire_put64(r->failed_ordinal, l->failed_ordinal);
        r->failed_sense_key = (uint8_t)(l->failed_sense >> 16);
        r->failed_asc = (uint8_t)(l->failed_sense >> 8);
        r->failed_ascq = (uint8_t)l->failed_sense;
    }
    for (unsigned i = 0; i < WIRE_RECEIPT_BITS; i++)
        if (l->executed + 1 + i <= l->durable + WIRE_ORDINAL_WINDOW &&
            *state_of(l, l->executed + 1 + i) == EXECUTED)
            r->bitmap[i / 8] |= (uint8_t)(1u << i % 8);
    pthread_mutex_unlock(&l->lock);
}

/* ---- the syncer ---- */

static bool wants_flush(const struct lease *l)
{
    for (const struct waiting_sync *s = l->syncs; s; s = s->next)
        if (s->ordinal > l->durable && s->ordinal <= l->executed)
            return true;
    for (const struct ordered *o = l->waiting; o; o = o->next)
        if (o->after > l->durable && o->after <= l->executed)
            return true;
    return false;
}

/* With the lock; without it while the disk works. */
static void flush(struct lease *l)
{
    uint64_t mark = l->executed, epoch = l->epoch;
    struct backend *backend = l->lun->backend;
    int error;

    pthread_mutex_unlock(&l->lock);
    error = backend->ops->flush(backend);
    pthread_mutex_lock(&l->lock);
    if (error) {
        target_log("LUN %u: flush failed: %s; what was not confirmed is asked for again",
                   l->lun->number, strerror(-error));
        new_boot_id(l);
        forget_above(l, l->durable);
    } else if (epoch == l->epoch) {
        while (l->durable < mark)
            *state_of(l, ++l->durable) = ABSENT; /* the ring's place serves another ordinal now */
    }
}

static struct ordered *release_waiting(struct lease *l)
{
    struct ordered **at = &l->waiting, *ready = NULL;

    while (*at) {
        struct ordered *o;

        if ((*at)->after > l->durable) {
            at = &(*at)->next;
            continue;
        }
        o = unlink_waiting(l, at);
        *state_of(l, o->ordinal) = EXECUTING;
        o->epoch = l->epoch;
        l->executing++;
        o->next = ready;
        ready = o;
    }
    return ready;
}

/* Those that are covered, or have waited long enough. */
static struct waiting_sync *release_syncs(struct lease *l)
{
    struct waiting_sync **at = &l->syncs, *ready = NULL;
    uint64_t now = now_us();

    while (*at) {
        struct waiting_sync *s = *at;

        if (s->ordinal > l->durable && s->deadline_us > now && !l->ending) {
            at = &s->next;
            continue;
        }
        *at = s->next;
        s->next = ready;
        ready = s;
    }
    return ready;
}

static void release(struct lease *l)
{
    struct ordered *commands = release_waiting(l);
    struct waiting_sync *syncs = release_syncs(l);

    if (!commands && !syncs)
        return;
    pthread_mutex_unlock(&l->lock);
    run_all(commands, true);
    while (syncs) {
        struct waiting_sync *next = syncs->next;

        syncs->answer(syncs);
        syncs = next;
    }
    pthread_mutex_lock(&l->lock);
}

static void wait_for_change(struct lease *l)
{
    uint64_t until_us = UINT64_MAX;
    struct timespec until;

    for (const struct waiting_sync *s = l->syncs; s; s = s->next)
        if (s->deadline_us < until_us)
            until_us = s->deadline_us;
    if (until_us == UINT64_MAX) {
        pthread_cond_wait(&l->changed, &l->lock);
        return;
    }
    until.tv_sec = (time_t)(until_us / 1000000);
    until.tv_nsec = (long)(until_us % 1000000 * 1000);
    pthread_cond_timedwait(&l->changed, &l->lock, &until);
}

static void *syncer(void *arg)
{
    struct lease *l = arg;

    pthread_mutex_lock(&l->lock);
    while (!l->ending) {
        if (wants_flush(l))
            flush(l);
        release(l);
        if (!l->ending && !wants_flush(l))
            wait_for_change(l);
    }
    release(l);
    pthread_mutex_unlock(&l->lock);
    return NULL;
}

int lease_flush(struct lease *l)
{
    return l->lun->backend->ops->flush(l->lun->backend);
}

struct lease *lease_new(struct lun *lun)
{
    struct lease *l = calloc(1, sizeof *l);
    pthread_condattr_t attr;

    if (!l || RAND_bytes(l->volume_id, sizeof l->volume_id) != 1) {
        free(l);
        return NULL;
    }
    l->lun = lun;
    pthread_mutex_init(&l->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&l->changed, &attr);
    pthread_condattr_destroy(&attr);
    pthread_cond_init(&l->idle, NULL);
    new_boot_id(l);
    if (pthread_create(&l->syncer, NULL, syncer, l) != 0) {
        free(l);
        return NULL;
    }
    return l;
}

void lease_free(struct lease *l)
{
    pthread_mutex_lock(&l->lock);
    l->ending = true;
    pthread_cond_signal(&l->changed);
    pthread_mutex_unlock(&l->lock);
    pthread_join(l->syncer, NULL);
    run_all(take_waiting(l), false);
    pthread_cond_destroy(&l->changed);
    pthread_cond_destroy(&l->idle);
    pthread_mutex_destroy(&l->lock);
    free(l);
}
