// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Writes of a lease, from their claim to their end: lease.h. Whether a write
 * is admitted and that it is claimed is one step under the lock; so nothing of
 * a fenced generation executes, and nothing twice.
 */
#include "lease_inside.h"

#define WAITING_BYTES_MAX (16u << 20)

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
    durable_look(l);
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

    if (!lease_admits(l, w->grant) || !w->grant->live || l->retired)
        return LEASE_FENCED;
    if (w->grant->state == WIRE_LEASE_SHARED)
        return LEASE_READ_ONLY;
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

/* Lock held. */
static void executed(struct lease *l, const struct lease_write *w)
{
    l->audit.executed++;
    if (ordinals_is_executed(&l->ordinals, w->ordinal))
        l->audit.twice++;
    ordinals_execute(&l->ordinals, w->ordinal);
    l->executions++;
    durable_look(l);
}

struct sense lease_finish(struct lease *l, struct lease_write *w, struct sense sense)
{
    struct lease_write *copy, *next;

    pthread_mutex_lock(&l->lock);
    TAILQ_REMOVE(&l->executing, w, link);
    if (w->epoch != l->epoch)
        sense = SENSE_ABORTED; /* a flush that failed meanwhile may have lost its bytes */
    else if (sense.key)
        ordinals_fail(&l->ordinals, w->ordinal, sense);
    else
        executed(l, w);
    if (TAILQ_EMPTY(&l->executing))
        pthread_cond_broadcast(&l->changed);
    pthread_mutex_unlock(&l->lock);
    for (copy = w->copies; copy; copy = next) {
        next = copy->copies;
        copy->answer(copy, sense);
    }
    return sense;
}

void claim_drop_waiting(struct lease *l, const void *session, struct due *due)
{
    struct lease_write *w, *next;

    for (w = TAILQ_FIRST(&l->waiting); w; w = next) {
        next = TAILQ_NEXT(w, link);
        if (!session || w->grant->session == session) {
            wait_end(l, w);
            TAILQ_INSERT_TAIL(&due->drop, w, link);
        }
    }
}

void claim_waiting(struct lease *l, struct due *due)
{
    struct lease_write *w, *next;

    for (w = TAILQ_FIRST(&l->waiting); w; w = next) {
        next = TAILQ_NEXT(w, link);
        if (w->after > l->ordinals.durable)
            continue;
        wait_end(l, w);
        if (lease_admits(l, w->grant) && !ordinals_is_executed(&l->ordinals, w->ordinal)) {
            begin(l, w);
            w->execute(w);
        } else {
            TAILQ_INSERT_TAIL(&due->drop, w, link);
        }
    }
}

struct lease_audit lease_audit(struct lease *l)
{
    struct lease_audit audit;

    pthread_mutex_lock(&l->lock);
    audit = l->audit;
    pthread_mutex_unlock(&l->lock);
    return audit;
}
