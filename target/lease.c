// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Leases, waiting writes, receipts: lease.h.
 *
 * Two threads a lease: the syncer flushes as soon as somebody waits for what
 * is executed and not durable; the clock answers SYNCs that have waited long
 * enough, also while a flush takes its time.
 *
 * An epoch ends with each restart of the LUN (a failed flush) and each
 * takeover. What was begun in another epoch, a write or a flush, counts for nothing.
 */
#include "lease.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "clock.h"
#include "log.h"
#include "ordinals.h"

#define WAITING_BYTES_MAX (16u << 20)

TAILQ_HEAD(grant_list, grant);
TAILQ_HEAD(write_list, lease_write);
TAILQ_HEAD(sync_list, lease_sync);

struct lease {
    char *name;
    struct backend *backend;
    uint8_t volume_id[WIRE_ID_BYTES];
    pthread_t syncer, clock;

    pthread_mutex_t lock;    /* guards everything that follows */
    pthread_cond_t work;     /* the syncer's */
    pthread_cond_t deadline; /* the clock's */
    pthread_cond_t detached; /* a grant is gone, or not live any more */
    bool ending;

    uint64_t boot_counter;
    uint8_t boot_random[8];
    uint64_t epoch;
    uint64_t generation;
    struct lease_holder holder; /* of `generation`; with or without a session */
    struct grant_list grants;

    struct ordinals ordinals;
    uint64_t executions, flushed_executions; /* equal: nothing for a flush to do */
    struct write_list waiting, executing;
    unsigned waiting_count;
    size_t waiting_bytes;
    struct sync_list syncs; /* by deadline */
};

/* What is to be called once the lock is let go. */
struct due {
    struct write_list drop;
    struct sync_list answer;
};

static void due_init(struct due *due)
{
    TAILQ_INIT(&due->drop);
    TAILQ_INIT(&due->answer);
}

static void due_call(struct due *due)
{
    struct lease_write *w;
    struct lease_sync *s;

    while ((w = TAILQ_FIRST(&due->drop))) {
        TAILQ_REMOVE(&due->drop, w, link);
        w->drop(w);
    }
    while ((s = TAILQ_FIRST(&due->answer))) {
        TAILQ_REMOVE(&due->answer, s, link);
        s->answer(s);
    }
}

/* ---- who may (lock held) ---- */

/* A grant that keeps a newcomer out: a writer, for another writer also a reader. */
static struct grant *in_the_way(struct lease *l, uint8_t intent, bool live)
{
    struct grant *g;

    TAILQ_FOREACH(g, &l->grants, link)
    if (g->live == live && (g->state == WIRE_LEASE_HELD ||
                            (g->state == WIRE_LEASE_SHARED && intent != WIRE_INTENT_RO)))
        return g;
    return NULL;
}

static bool is_holder(const struct lease *l, const struct wire_hello *hello, const uint8_t *key)
{
    return l->generation > 0 && wire_get64(hello->generation) == l->generation &&
           memcmp(l->holder.key, key, WIRE_KEY_BYTES) == 0 &&
           memcmp(l->holder.mount_id, hello->mount_id, WIRE_ID_BYTES) == 0;
}

static enum wire_refusal refusal_now(struct lease *l, const struct wire_hello *hello,
                                     const uint8_t *key)
{
    switch (hello->intent) {
    case WIRE_INTENT_RO:
    case WIRE_INTENT_ACQUIRE:
        return in_the_way(l, hello->intent, true) ? WIRE_REFUSED_HELD : WIRE_ACCEPTED;
    case WIRE_INTENT_RESUME:
        return is_holder(l, hello, key) ? WIRE_ACCEPTED : WIRE_REFUSED_GENERATION;
    case WIRE_INTENT_STEAL:
        return WIRE_REFUSED_HELD;
    default:
        return WIRE_REFUSED_VERSION;
    }
}

static bool is_current(const struct lease *l, const struct grant *g)
{
    return (g->state == WIRE_LEASE_HELD || g->state == WIRE_LEASE_SHARED) &&
           g->generation == l->generation;
}

void lease_describe(struct lease *l, const struct wire_hello *hello,
                    const uint8_t key[WIRE_KEY_BYTES], struct wire_welcome *welcome)
{
    const struct lease_holder *holder;
    const struct grant *g;

    pthread_mutex_lock(&l->lock);
    g = in_the_way(l, hello->intent, true);
    holder = g ? &g->who : &l->holder;
    welcome->refusal = (uint8_t)refusal_now(l, hello, key);
    memcpy(welcome->volume_id, l->volume_id, WIRE_ID_BYTES);
    wire_put64(welcome->boot_id.counter, l->boot_counter);
    memcpy(welcome->boot_id.random, l->boot_random, sizeof l->boot_random);
    wire_put64(welcome->generation, l->generation);
    wire_put64(welcome->durable, l->ordinals.durable);
    memcpy(welcome->holder_key, holder->key, WIRE_KEY_BYTES);
    memcpy(welcome->holder_mount_id, holder->mount_id, WIRE_ID_BYTES);
    wire_put64(welcome->holder_since, holder->since);
    memcpy(welcome->holder_address, holder->address, sizeof welcome->holder_address);
    pthread_mutex_unlock(&l->lock);
}

static void take(struct lease *l, struct grant *g, const struct wire_hello *hello)
{
    g->state = hello->intent == WIRE_INTENT_RO ? WIRE_LEASE_SHARED : WIRE_LEASE_HELD;
    if (hello->intent == WIRE_INTENT_ACQUIRE) {
        l->generation++;
        l->epoch++;
        l->holder = g->who;
        ordinals_start(&l->ordinals, wire_get64(hello->base));
    }
    g->generation = l->generation;
}

static bool may_take(struct lease *l, const struct grant *g, const struct wire_hello *hello,
                     uint64_t generation)
{
    return refusal_now(l, hello, g->who.key) == WIRE_ACCEPTED &&
           (hello->intent != WIRE_INTENT_ACQUIRE || l->generation == generation);
}

void lease_attach(struct lease *l, struct grant *g, const struct wire_hello *hello,
                  uint64_t generation)
{
    bool resume = hello->intent == WIRE_INTENT_RESUME, ready = false;

    pthread_mutex_lock(&l->lock);
    g->state = WIRE_LEASE_FENCED;
    while (!ready && may_take(l, g, hello, generation)) {
        if (!resume && in_the_way(l, hello->intent, false)) {
            pthread_cond_wait(&l->detached, &l->lock); /* commands of an ended session */
        } else if (!resume && l->executions != l->flushed_executions) {
            pthread_mutex_unlock(&l->lock);
            lease_flush(l); /* where it fails nothing is left to flush either */
            pthread_mutex_lock(&l->lock);
        } else {
            ready = true;
            take(l, g, hello);
        }
    }
    g->live = true;
    TAILQ_INSERT_TAIL(&l->grants, g, link);
    pthread_mutex_unlock(&l->lock);
}

void lease_detach(struct lease *l, struct grant *g)
{
    pthread_mutex_lock(&l->lock);
    TAILQ_REMOVE(&l->grants, g, link);
    pthread_cond_broadcast(&l->detached);
    pthread_mutex_unlock(&l->lock);
}

bool lease_may_read(struct lease *l, const struct grant *g)
{
    bool may;

    pthread_mutex_lock(&l->lock);
    may = is_current(l, g);
    pthread_mutex_unlock(&l->lock);
    return may;
}

/* ---- writes (lock held) ---- */

static struct lease_write *find(const struct write_list *list, uint64_t ordinal)
{
    struct lease_write *w;

    TAILQ_FOREACH(w, list, link)
    if (w->ordinal == ordinal)
        return w;
    return NULL;
}

static void wait_begin(struct lease *l, struct lease_write *w)
{
    TAILQ_INSERT_TAIL(&l->waiting, w, link);
    l->waiting_count++;
    l->waiting_bytes += w->bytes;
    pthread_cond_signal(&l->work);
}

static void wait_end(struct lease *l, struct lease_write *w)
{
    TAILQ_REMOVE(&l->waiting, w, link);
    l->waiting_count--;
    l->waiting_bytes -= w->bytes;
}

static void begin(struct lease *l, struct lease_write *w)
{
    w->copies = NULL;
    w->epoch = l->epoch;
    TAILQ_INSERT_TAIL(&l->executing, w, link);
}

static void add_copy(struct lease_write *original, struct lease_write *copy)
{
    copy->copies = original->copies;
    original->copies = copy;
}

static enum lease_verdict judge(struct lease *l, struct lease_write *w, struct due *due)
{
    struct lease_write *other;

    if (w->grant->state == WIRE_LEASE_SHARED)
        return LEASE_READ_ONLY;
    if (!is_current(l, w->grant) || !w->grant->live)
        return LEASE_FENCED;
    if (!ordinals_in_window(&l->ordinals, w->ordinal) || w->after >= w->ordinal)
        return LEASE_INVALID;
    if (ordinals_is_executed(&l->ordinals, w->ordinal))
        return LEASE_EXECUTED;
    other = find(&l->executing, w->ordinal);
    if (other) {
        add_copy(other, w);
        return LEASE_COPY;
    }
    other = find(&l->waiting, w->ordinal);
    if (other) {
        wait_end(l, other);
        TAILQ_INSERT_TAIL(&due->drop, other, link);
    }
    if (w->after <= l->ordinals.durable) {
        begin(l, w);
        return LEASE_EXECUTE;
    }
    if (l->waiting_count >= WIRE_WAITING_MAX || l->waiting_bytes + w->bytes > WAITING_BYTES_MAX)
        return LEASE_FULL;
    wait_begin(l, w);
    return LEASE_WAITS;
}

enum lease_verdict lease_claim(struct lease *l, struct lease_write *w)
{
    enum lease_verdict verdict;
    struct due due;

    due_init(&due);
    pthread_mutex_lock(&l->lock);
    verdict = judge(l, w, &due);
    pthread_mutex_unlock(&l->lock);
    due_call(&due);
    return verdict;
}

struct sense lease_finish(struct lease *l, struct lease_write *w, struct sense sense)
{
    struct lease_write *copy, *next;

    pthread_mutex_lock(&l->lock);
    TAILQ_REMOVE(&l->executing, w, link);
    if (w->epoch != l->epoch) {
        sense = SENSE_ABORTED; /* a flush that failed meanwhile may have lost its bytes */
    } else if (sense.key) {
        ordinals_fail(&l->ordinals, w->ordinal, sense);
    } else {
        ordinals_execute(&l->ordinals, w->ordinal);
        l->executions++;
        pthread_cond_signal(&l->work);
    }
    pthread_mutex_unlock(&l->lock);
    for (copy = w->copies; copy; copy = next) {
        next = copy->copies;
        copy->answer(copy, sense);
    }
    return sense;
}

/* ---- durability (lock held, but in lease_flush) ---- */

static void answer_later(struct lease *l, struct lease_sync *s, struct due *due)
{
    TAILQ_REMOVE(&l->syncs, s, link);
    TAILQ_INSERT_TAIL(&due->answer, s, link);
}

/* After `durable` grew: whoever waited for it goes on. */
static void release(struct lease *l, struct due *due)
{
    struct lease_write *w, *next_write;
    struct lease_sync *s, *next_sync;

    for (w = TAILQ_FIRST(&l->waiting); w; w = next_write) {
        next_write = TAILQ_NEXT(w, link);
        if (w->after > l->ordinals.durable)
            continue;
        wait_end(l, w);
        if (is_current(l, w->grant)) {
            begin(l, w);
            w->execute(w);
        } else {
            TAILQ_INSERT_TAIL(&due->drop, w, link);
        }
    }
    for (s = TAILQ_FIRST(&l->syncs); s; s = next_sync) {
        next_sync = TAILQ_NEXT(s, link);
        if (s->ordinal <= l->ordinals.durable)
            answer_later(l, s, due);
    }
}

static void restart(struct lease *l, int error, struct due *due)
{
    struct lease_sync *s;

    log_line("%s: a flush failed: %s; what was not yet durable has to be sent again", l->name,
             strerror(-error));
    l->boot_counter++;
    if (getrandom(l->boot_random, sizeof l->boot_random, 0) != sizeof l->boot_random)
        l->boot_random[0]++; /* the counter alone makes it another boot id */
    l->epoch++;
    ordinals_forget(&l->ordinals);
    l->flushed_executions = l->executions;
    while ((s = TAILQ_FIRST(&l->syncs)))
        answer_later(l, s, due);
}

int lease_flush(struct lease *l)
{
    uint64_t mark, executions, epoch;
    struct due due;
    int error;

    due_init(&due);
    pthread_mutex_lock(&l->lock);
    mark = l->ordinals.executed;
    executions = l->executions;
    epoch = l->epoch;
    pthread_mutex_unlock(&l->lock);
    error = l->backend->operations->flush(l->backend);
    pthread_mutex_lock(&l->lock);
    if (error) {
        restart(l, error, &due); /* in whatever epoch: an error is reported only once */
    } else if (epoch == l->epoch) {
        ordinals_flushed(&l->ordinals, mark);
        l->flushed_executions =
            executions > l->flushed_executions ? executions : l->flushed_executions;
        release(l, &due);
    } else {
        error = -EIO; /* another flush failed meanwhile, and what was to be flushed is lost */
    }
    pthread_mutex_unlock(&l->lock);
    due_call(&due);
    return error;
}

/* Somebody waits for what only a flush can give him. */
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

static void *syncer_thread(void *arg)
{
    struct lease *l = arg;

    pthread_mutex_lock(&l->lock);
    while (!l->ending) {
        if (wants_flush(l)) {
            pthread_mutex_unlock(&l->lock);
            lease_flush(l);
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

void lease_sync(struct lease *l, struct lease_sync *s)
{
    bool waits;

    pthread_mutex_lock(&l->lock);
    waits = s->ordinal > l->ordinals.durable && s->grant->live &&
            s->grant->state == WIRE_LEASE_HELD && is_current(l, s->grant);
    if (waits) {
        s->deadline_us = now_us() + WIRE_SYNC_WAIT_US;
        TAILQ_INSERT_TAIL(&l->syncs, s, link);
        pthread_cond_signal(&l->work);
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
    wire_put64(receipt->boot_id.counter, l->boot_counter);
    memcpy(receipt->boot_id.random, l->boot_random, sizeof l->boot_random);
    wire_put64(receipt->generation, l->generation);
    receipt->lease_state = (uint8_t)(is_current(l, g) ? g->state : WIRE_LEASE_FENCED);
    ordinals_receipt(&l->ordinals, receipt);
    pthread_mutex_unlock(&l->lock);
}

void lease_end_session(struct lease *l, const void *session)
{
    struct lease_write *w, *next_write;
    struct lease_sync *s, *next_sync;
    struct due due;
    struct grant *g;

    due_init(&due);
    pthread_mutex_lock(&l->lock);
    TAILQ_FOREACH(g, &l->grants, link)
    if (g->session == session)
        g->live = false;
    for (w = TAILQ_FIRST(&l->waiting); w; w = next_write) {
        next_write = TAILQ_NEXT(w, link);
        if (w->grant->session == session) {
            wait_end(l, w);
            TAILQ_INSERT_TAIL(&due.drop, w, link);
        }
    }
    for (s = TAILQ_FIRST(&l->syncs); s; s = next_sync) {
        next_sync = TAILQ_NEXT(s, link);
        if (s->grant->session == session)
            answer_later(l, s, &due);
    }
    pthread_cond_broadcast(&l->detached);
    pthread_mutex_unlock(&l->lock);
    due_call(&due);
}

/* ---- life ---- */

static bool make_ids(struct lease *l)
{
    struct timespec ts;

    /* grows from one start to the next, as long as nobody sets the clock back */
    clock_gettime(CLOCK_REALTIME, &ts);
    l->boot_counter = (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
    return getrandom(l->volume_id, sizeof l->volume_id, 0) == sizeof l->volume_id &&
           getrandom(l->boot_random, sizeof l->boot_random, 0) == sizeof l->boot_random;
}

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

static void destroy(struct lease *l)
{
    pthread_cond_destroy(&l->work);
    pthread_cond_destroy(&l->deadline);
    pthread_cond_destroy(&l->detached);
    pthread_mutex_destroy(&l->lock);
    free(l->name);
    free(l);
}

struct lease *lease_new(const char *name, struct backend *backend)
{
    struct lease *l = calloc(1, sizeof *l);
    bool syncer, clock;

    if (!l)
        return NULL;
    l->name = strdup(name);
    l->backend = backend;
    pthread_mutex_init(&l->lock, NULL);
    pthread_cond_init(&l->work, NULL);
    pthread_cond_init(&l->detached, NULL);
    cond_init(&l->deadline);
    TAILQ_INIT(&l->grants);
    TAILQ_INIT(&l->waiting);
    TAILQ_INIT(&l->executing);
    TAILQ_INIT(&l->syncs);
    ordinals_start(&l->ordinals, 0);
    syncer = l->name && make_ids(l) && pthread_create(&l->syncer, NULL, syncer_thread, l) == 0;
    clock = syncer && pthread_create(&l->clock, NULL, clock_thread, l) == 0;
    if (clock)
        return l;
    end_threads(l, syncer, clock);
    destroy(l);
    return NULL;
}

void lease_free(struct lease *l)
{
    if (!l)
        return;
    end_threads(l, true, true);
    destroy(l);
}
