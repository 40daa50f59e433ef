// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * What of a lease is durable: flushes, SYNCs, receipts (PROTOCOL, section 4).
 *
 * Two threads a lease: the syncer flushes as soon as somebody waits for what
 * is executed and not durable; the clock answers SYNCs that have waited long
 * enough, also while a flush takes its time.
 */
#include "lease_inside.h"

#include <errno.h>
#include <string.h>
#include <sys/random.h>

#include "clock.h"
#include "log.h"

/* A restart of the LUN need not wait for the state file, which may be on the
 * same broken disk: the starts, in the upper half, are counted there. */
void durable_boot_id(const struct lease *l, struct wire_boot_id *boot_id)
{
    wire_put64(boot_id->counter, (uint64_t)l->state.starts << 32 | l->restarts);
    memcpy(boot_id->random, l->boot_random, sizeof l->boot_random);
}

/* ---- SYNCs (lock held) ---- */

static void answer_later(struct lease *l, struct lease_sync *s, struct due *due)
{
    TAILQ_REMOVE(&l->syncs, s, link);
    TAILQ_INSERT_TAIL(&due->answer, s, link);
}

void durable_answer_syncs(struct lease *l, const void *session, struct due *due)
{
    struct lease_sync *s, *next;

    for (s = TAILQ_FIRST(&l->syncs); s; s = next) {
        next = TAILQ_NEXT(s, link);
        if (!session || s->grant->session == session)
            answer_later(l, s, due);
    }
}

static void answer_covered(struct lease *l, struct due *due)
{
    struct lease_sync *s, *next;

    for (s = TAILQ_FIRST(&l->syncs); s; s = next) {
        next = TAILQ_NEXT(s, link);
        if (s->ordinal <= l->ordinals.durable)
            answer_later(l, s, due);
    }
}

/* ---- flushes ---- */

/* Lock held. */
static bool is_lossy(const struct lease *l)
{
    return atomic_load(&l->backend->losses) != l->losses;
}

/* Lock held. */
static void restart(struct lease *l, int error, struct due *due)
{
    bool failed = error && error != -EAGAIN;

    if (failed)
        log_line("%s: a flush failed: %s; what was not yet durable has to be sent again", l->name,
                 strerror(-error));
    else
        log_line("%s: the disk may have lost what was not yet durable: it has to be sent again",
                 l->name);
    if (!failed)
        l->restarts |= WIRE_BOOT_FLUSHES;
    l->restarts++;
    if (getrandom(l->boot_random, sizeof l->boot_random, 0) != sizeof l->boot_random)
        l->boot_random[0]++; /* the counter alone makes it another boot id */
    l->epoch++;
    ordinals_forget(&l->ordinals);
    l->flushed_executions = l->executions;
    durable_answer_syncs(l, NULL, due);
}

int lease_flush(struct lease *l)
{
    uint64_t mark, executions, epoch;
    struct due due;
    int error = 0;

    due_init(&due);
    pthread_mutex_lock(&l->flushing);
    pthread_mutex_lock(&l->lock);
    mark = l->ordinals.executed;
    executions = l->executions;
    epoch = l->epoch;
    pthread_mutex_unlock(&l->lock);
    if (!is_lossy(l))
        error = l->backend->operations->flush(l->backend);
    pthread_mutex_lock(&l->lock);
    if (is_lossy(l)) {
        l->losses = atomic_load(&l->backend->losses);
        restart(l, error, &due); /* in whatever epoch: a loss is reported only once */
        error = error ? error : -EIO;
    } else if (!error && epoch == l->epoch) {
        ordinals_flushed(&l->ordinals, mark);
        l->flushed_executions = executions;
        claim_waiting(l, &due);
        answer_covered(l, &due);
    }
    pthread_mutex_unlock(&l->lock);
    pthread_mutex_unlock(&l->flushing);
    due_call(&due);
    return error;
}

/* Somebody waits for what only a flush can give him. Lock held. */
static bool wants_flush(struct lease *l)
{
    const struct ordinals *o = &l->ordinals;
    struct lease_write *w;
    struct lease_sync *s;

    TAILQ_FOREACH(s, &l->syncs, link)
    if (s->ordinal > o->durable && s->ordinal <= o->executed)
        return true;
    TAILQ_FOREACH(w, &l->waiting, link)
    if (w->after > o->durable && w->after <= o->executed)
        return true;
    return false;
}

void durable_look(struct lease *l)
{
    if (wants_flush(l))
        pthread_cond_signal(&l->work);
}

static void *syncer_thread(void *arg)
{
    struct lease *l = arg;

    pthread_mutex_lock(&l->lock);
    while (!l->ending) {
        if (wants_flush(l)) {
            pthread_mutex_unlock(&l->lock);
            lease_flush(l); /* a failure is no secret: the boot id tells it */
            pthread_mutex_lock(&l->lock);
        } else {
            pthread_cond_wait(&l->work, &l->lock);
        }
    }
    pthread_mutex_unlock(&l->lock);
    return NULL;
}

static void *clock_thread(void *arg)
{
    struct lease *l = arg;
    struct lease_sync *s;
    struct due due;

    pthread_mutex_lock(&l->lock);
    while (!l->ending) {
        due_init(&due);
        s = TAILQ_FIRST(&l->syncs);
        if (!s) {
            pthread_cond_wait(&l->deadline, &l->lock);
        } else if (s->deadline_us > now_us()) {
            cond_wait_until(&l->deadline, &l->lock, s->deadline_us);
        } else {
            answer_later(l, s, &due);
            pthread_mutex_unlock(&l->lock);
            due_call(&due);
            pthread_mutex_lock(&l->lock);
        }
    }
    pthread_mutex_unlock(&l->lock);
    return NULL;
}

/* ---- SYNC and its answer ---- */

void lease_sync(struct lease *l, struct lease_sync *s)
{
    bool waits;

    pthread_mutex_lock(&l->lock);
    waits = s->ordinal > l->ordinals.durable && s->grant->live && !l->retired &&
            s->grant->state == WIRE_LEASE_HELD && lease_is_current(l, s->grant);
    if (waits) {
        s->deadline_us = now_us() + WIRE_SYNC_WAIT_US;
        TAILQ_INSERT_TAIL(&l->syncs, s, link);
        durable_look(l);
        if (TAILQ_FIRST(&l->syncs) == s) /* else the clock waits for an earlier one */
            pthread_cond_signal(&l->deadline);
    }
    pthread_mutex_unlock(&l->lock);
    if (!waits)
        s->answer(s);
}

void lease_receipt(struct lease *l, const struct grant *g, struct wire_receipt *receipt)
{
    memset(receipt, 0, sizeof *receipt);
    pthread_mutex_lock(&l->lock);
    durable_boot_id(l, &receipt->boot_id);
    wire_put64(receipt->generation, l->state.generation);
    receipt->lease_state = (uint8_t)(lease_is_current(l, g) ? g->state : WIRE_LEASE_FENCED);
    ordinals_receipt(&l->ordinals, receipt);
    if (receipt->lease_state == WIRE_LEASE_HELD)
        l->ordinals.receipted = l->ordinals.durable;
    pthread_mutex_unlock(&l->lock);
}

/* ---- life ---- */

static void end_threads(struct lease *l, bool syncer, bool clock)
{
    pthread_mutex_lock(&l->lock);
    l->ending = true;
    pthread_cond_signal(&l->work);
    pthread_cond_signal(&l->deadline);
    pthread_mutex_unlock(&l->lock);
    if (syncer)
        pthread_join(l->syncer, NULL);
    if (clock)
        pthread_join(l->clock, NULL);
}

bool durable_start(struct lease *l)
{
    if (pthread_create(&l->syncer, NULL, syncer_thread, l) != 0)
        return false;
    if (pthread_create(&l->clock, NULL, clock_thread, l) == 0)
        return true;
    end_threads(l, true, false);
    return false;
}

void durable_stop(struct lease *l)
{
    end_threads(l, true, true);
}
