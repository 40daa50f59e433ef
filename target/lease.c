// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Who has the lease of a LUN, and how it changes hands: lease.h.
 *
 * The state in memory follows its file: what a mount was granted is on stable
 * storage before it hears of it, and is true after a crash too. A generation
 * never comes again.
 */
#include "lease_inside.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "clock.h"
#include "key.h"
#include "log.h"

void due_init(struct due *due)
{
    TAILQ_INIT(&due->drop);
    TAILQ_INIT(&due->answer);
}

void due_call(struct due *due)
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

bool lease_is_current(const struct lease *l, const struct grant *g)
{
    return g->generation == l->state.generation &&
           (l->state.held ? g->state == WIRE_LEASE_HELD : g->state == WIRE_LEASE_SHARED);
}

bool lease_admits(const struct lease *l, const struct grant *g)
{
    return !l->changing && lease_is_current(l, g);
}

/* One with a session: of the holder, or of a reader where there is no holder. */
static const struct grant *find_live(const struct lease *l)
{
    const struct grant *g;

    TAILQ_FOREACH(g, &l->grants, link)
    if (g->live && lease_is_current(l, g))
        return g;
    return NULL;
}

static bool has_ended(const struct lease *l)
{
    return now_us() - l->sessionless_us >= l->timeout_us;
}

/* The last mount of the same user, of which nothing is left. */
static bool is_predecessor(const struct lease *l, const struct wire_hello *hello,
                           const uint8_t *key)
{
    return memcmp(l->state.holder.key, key, WIRE_KEY_BYTES) == 0 &&
           memcmp(l->state.holder.mount_id, hello->previous_mount_id, WIRE_ID_BYTES) == 0;
}

/* Is there somebody who keeps a newcomer out? Readers don't keep out readers. */
static bool is_taken(const struct lease *l, const struct wire_hello *hello, const uint8_t *key)
{
    if (!l->state.held)
        return hello->intent != WIRE_INTENT_RO && find_live(l);
    return find_live(l) || (!has_ended(l) && !is_predecessor(l, hello, key));
}

static bool is_holder(const struct lease *l, const struct wire_hello *hello, const uint8_t *key)
{
    return l->state.held && wire_get64(hello->generation) == l->state.generation &&
           memcmp(l->state.holder.key, key, WIRE_KEY_BYTES) == 0 &&
           memcmp(l->state.holder.mount_id, hello->mount_id, WIRE_ID_BYTES) == 0;
}

static enum wire_refusal refusal_now(const struct lease *l, const struct wire_hello *hello,
                                     const uint8_t *key)
{
    switch (hello->intent) {
    case WIRE_INTENT_RO:
    case WIRE_INTENT_ACQUIRE:
        return is_taken(l, hello, key) ? WIRE_REFUSED_HELD : WIRE_ACCEPTED;
    case WIRE_INTENT_RESUME:
        return is_holder(l, hello, key) ? WIRE_ACCEPTED : WIRE_REFUSED_GENERATION;
    case WIRE_INTENT_STEAL:
        return wire_get64(hello->generation) == l->state.generation ? WIRE_ACCEPTED
                                                                    : WIRE_REFUSED_GENERATION;
    default:
        return WIRE_REFUSED_VERSION;
    }
}

void lease_describe(struct lease *l, const struct wire_hello *hello,
                    const uint8_t key[WIRE_KEY_BYTES], struct wire_welcome *welcome)
{
    const struct lease_holder *holder;
    const struct grant *reader;

    pthread_mutex_lock(&l->lock);
    reader = l->state.held ? NULL : find_live(l);
    holder = reader ? &reader->who : &l->state.holder;
    welcome->refusal = (uint8_t)refusal_now(l, hello, key);
    memcpy(welcome->volume_id, l->state.volume_id, WIRE_ID_BYTES);
    durable_boot_id(l, &welcome->boot_id);
    wire_put64(welcome->generation, l->state.generation);
    wire_put64(welcome->durable, l->ordinals.durable);
    memcpy(welcome->holder_key, holder->key, WIRE_KEY_BYTES);
    memcpy(welcome->holder_mount_id, holder->mount_id, WIRE_ID_BYTES);
    wire_put64(welcome->holder_since, holder->since);
    memcpy(welcome->holder_address, holder->address, sizeof welcome->holder_address);
    pthread_mutex_unlock(&l->lock);
}

/* ---- changing hands (lock held) ---- */

static int save(const struct lease *l, const struct state *state)
{
    int error = l->state_path ? state_save(l->state_path, state) : 0;

    if (error)
        log_line("%s: %s: cannot be saved: %s; the lease stays as it is", l->name, l->state_path,
                 strerror(-error));
    return error;
}

/* From here on nobody is admitted, and what waited is absent. */
static void change_begin(struct lease *l, struct due *due)
{
    l->changing = true;
    claim_drop_waiting(l, NULL, due);
}

/* Lets go of the lock meanwhile. `next` is true once it is on stable storage. */
static bool change_record(struct lease *l, const struct state *next)
{
    int error;

    pthread_mutex_unlock(&l->lock);
    error = save(l, next);
    pthread_mutex_lock(&l->lock);
    if (!error)
        l->state = *next;
    return error == 0;
}

static void change_end(struct lease *l, struct due *due)
{
    l->changing = false;
    durable_answer_syncs(l, NULL, due);
    pthread_cond_broadcast(&l->changed);
}

/* Lets go of the lock meanwhile: everything that was claimed comes to its end, and to the disk. */
static void drain(struct lease *l)
{
    while (!TAILQ_EMPTY(&l->executing))
        pthread_cond_wait(&l->changed, &l->lock);
    if (l->executions == l->flushed_executions)
        return;
    pthread_mutex_unlock(&l->lock);
    lease_flush(l); /* where it fails it has told so, and nothing is left to flush either */
    pthread_mutex_lock(&l->lock);
}

static void log_takeover(const struct lease *l, const struct state *last)
{
    char key[KEY_TEXT_BYTES];

    if (!last->held)
        return;
    key_to_text(last->holder.key, key);
    log_line("%s: taken from %s at %.64s (generation %" PRIu64 ")", l->name, key,
             last->holder.address, last->generation);
}

/* Lets go of the lock meanwhile. */
static void take_over(struct lease *l, struct grant *g, const struct wire_hello *hello,
                      struct due *due)
{
    bool writes = hello->intent != WIRE_INTENT_RO;
    const struct state last = l->state;
    struct state next = last;

    next.held = writes;
    if (writes) {
        next.generation++;
        next.holder = g->who;
    }
    change_begin(l, due);
    drain(l);
    if (change_record(l, &next)) {
        l->epoch++;
        if (writes)
            ordinals_start(&l->ordinals, wire_get64(hello->base));
        g->state = writes ? WIRE_LEASE_HELD : WIRE_LEASE_SHARED;
        g->generation = next.generation;
        log_takeover(l, &last);
    }
    change_end(l, due);
}

/* One more session of the holder, or of one more reader. */
static void join(struct lease *l, struct grant *g, const struct wire_hello *hello, struct due *due)
{
    g->state = hello->intent == WIRE_INTENT_RO ? WIRE_LEASE_SHARED : WIRE_LEASE_HELD;
    g->generation = l->state.generation;
    if (hello->intent == WIRE_INTENT_RESUME) {
        ordinals_settle(&l->ordinals, wire_get64(hello->base));
        claim_waiting(l, due);
    }
}

static bool may_take(const struct lease *l, const struct grant *g, const struct wire_hello *hello,
                     uint64_t generation)
{
    return refusal_now(l, hello, g->who.key) == WIRE_ACCEPTED &&
           (hello->intent != WIRE_INTENT_ACQUIRE || l->state.generation == generation);
}

/* Nothing of a holder is left to be waited for, or it is the holder himself. */
static bool may_join(const struct lease *l, const struct wire_hello *hello)
{
    return hello->intent == WIRE_INTENT_RESUME ||
           (hello->intent == WIRE_INTENT_RO && !l->state.held && TAILQ_EMPTY(&l->executing));
}

void lease_attach(struct lease *l, struct grant *g, const struct wire_hello *hello,
                  uint64_t generation)
{
    struct due due;

    due_init(&due);
    pthread_mutex_lock(&l->lock);
    g->state = WIRE_LEASE_FENCED;
    while (l->changing)
        pthread_cond_wait(&l->changed, &l->lock);
    if (may_take(l, g, hello, generation)) {
        if (may_join(l, hello))
            join(l, g, hello, &due);
        else
            take_over(l, g, hello, &due);
    }
    g->live = true;
    TAILQ_INSERT_TAIL(&l->grants, g, link);
    pthread_mutex_unlock(&l->lock);
    due_call(&due);
}

void lease_detach(struct lease *l, struct grant *g)
{
    pthread_mutex_lock(&l->lock);
    TAILQ_REMOVE(&l->grants, g, link);
    pthread_mutex_unlock(&l->lock);
}

bool lease_release(struct lease *l, const struct grant *g)
{
    struct state next;
    bool released = false;
    struct due due;

    due_init(&due);
    pthread_mutex_lock(&l->lock);
    if (g->state == WIRE_LEASE_HELD && lease_admits(l, g)) {
        next = l->state;
        next.held = false;
        change_begin(l, &due);
        /* What executes is left to whoever takes it next: we are a worker, and
         * must not wait for others. */
        released = change_record(l, &next);
        change_end(l, &due);
    }
    pthread_mutex_unlock(&l->lock);
    due_call(&due);
    return released;
}

void lease_end_session(struct lease *l, const void *session)
{
    struct due due;
    struct grant *g;

    due_init(&due);
    pthread_mutex_lock(&l->lock);
    TAILQ_FOREACH(g, &l->grants, link)
    if (g->session == session && g->live) {
        g->live = false;
        if (lease_is_current(l, g))
            l->sessionless_us = now_us();
    }
    claim_drop_waiting(l, session, &due);
    durable_answer_syncs(l, session, &due);
    pthread_mutex_unlock(&l->lock);
    due_call(&due);
}

/* With the lock held. */
static void shut_out(struct lease *l, struct grant *g, struct due *due)
{
    g->state = WIRE_LEASE_FENCED;
    g->live = false;
    claim_drop_waiting(l, g->session, due);
    durable_answer_syncs(l, g->session, due);
}

void lease_expel(struct lease *l, bool (*allowed)(const uint8_t *key, const void *argument),
                 void (*expelled)(const void *session), const void *argument)
{
    struct due due;
    struct grant *g;

    due_init(&due);
    pthread_mutex_lock(&l->lock);
    if (l->state.held && !allowed(l->state.holder.key, argument))
        l->sessionless_us = 0;
    TAILQ_FOREACH(g, &l->grants, link)
    if (!allowed(g->who.key, argument)) {
        shut_out(l, g, &due);
        expelled(g->session);
    }
    pthread_mutex_unlock(&l->lock);
    due_call(&due);
}

void lease_each_session(struct lease *l, void (*each)(const void *session))
{
    const struct grant *g;

    pthread_mutex_lock(&l->lock);
    TAILQ_FOREACH(g, &l->grants, link)
    each(g->session);
    pthread_mutex_unlock(&l->lock);
}

void lease_set_timeout(struct lease *l, uint64_t timeout_us)
{
    pthread_mutex_lock(&l->lock);
    l->timeout_us = timeout_us;
    pthread_mutex_unlock(&l->lock);
}

void lease_retire(struct lease *l)
{
    struct due due;

    due_init(&due);
    pthread_mutex_lock(&l->lock);
    l->retired = true;
    claim_drop_waiting(l, NULL, &due);
    durable_answer_syncs(l, NULL, &due);
    pthread_mutex_unlock(&l->lock);
    due_call(&due);
}

bool lease_may_read(struct lease *l, const struct grant *g)
{
    bool may;

    pthread_mutex_lock(&l->lock);
    may = lease_admits(l, g);
    pthread_mutex_unlock(&l->lock);
    return may;
}

struct lease_report lease_report(struct lease *l)
{
    struct lease_report report = {0};
    const struct grant *g;

    pthread_mutex_lock(&l->lock);
    report.held = l->state.held;
    report.who = l->state.holder;
    TAILQ_FOREACH(g, &l->grants, link)
    if (g->live && lease_is_current(l, g)) {
        report.sessions++;
        report.shared = !l->state.held;
        if (report.shared)
            report.who = g->who;
    }
    pthread_mutex_unlock(&l->lock);
    return report;
}

/* ---- life ---- */

static void log_holder(const struct lease *l)
{
    char key[KEY_TEXT_BYTES];

    if (!l->state.held || l->timeout_us == 0)
        return;
    key_to_text(l->state.holder.key, key);
    log_line("%s: held by %s at %.64s, which alone may come for %" PRIu64 " s", l->name, key,
             l->state.holder.address, l->timeout_us / 1000000);
}

/* The state as it was left, or a new one; and one more start, counted. */
static bool open_state(struct lease *l, const struct lease_settings *settings, char *message,
                       size_t size)
{
    int missing = 1, error = 0;

    if (settings->state_path)
        missing = state_load(settings->state_path, &l->state, message, size);
    if (missing < 0)
        return false;
    if (settings->state_path && !(missing && settings->must_exist))
        l->state_path = strdup(settings->state_path);
    if ((missing && getrandom(l->state.volume_id, WIRE_ID_BYTES, 0) != WIRE_ID_BYTES) ||
        getrandom(l->boot_random, sizeof l->boot_random, 0) != sizeof l->boot_random) {
        snprintf(message, size, "%s: no random numbers", l->name);
        return false;
    }
    l->state.starts++;
    if (l->state_path)
        error = state_save(l->state_path, &l->state);
    if (error)
        snprintf(message, size, "%s: cannot be saved: %s; see --state-dir", l->state_path,
                 strerror(-error));
    return error == 0;
}

static void destroy(struct lease *l)
{
    pthread_cond_destroy(&l->work);
    pthread_cond_destroy(&l->deadline);
    pthread_cond_destroy(&l->changed);
    pthread_mutex_destroy(&l->lock);
    pthread_mutex_destroy(&l->flushing);
    free(l->state_path);
    free(l->name);
    free(l);
}

static void init(struct lease *l)
{
    pthread_mutex_init(&l->flushing, NULL);
    pthread_mutex_init(&l->lock, NULL);
    pthread_cond_init(&l->work, NULL);
    pthread_cond_init(&l->changed, NULL);
    cond_init(&l->deadline);
    TAILQ_INIT(&l->grants);
    TAILQ_INIT(&l->waiting);
    TAILQ_INIT(&l->executing);
    TAILQ_INIT(&l->syncs);
    ordinals_start(&l->ordinals, 0);
}

struct lease *lease_new(const struct lease_settings *settings, struct backend *backend,
                        char *message, size_t size)
{
    struct lease *l = calloc(1, sizeof *l);

    snprintf(message, size, "%s: out of memory or threads", settings->name);
    if (!l)
        return NULL;
    init(l);
    l->name = strdup(settings->name);
    l->backend = backend;
    l->losses = atomic_load(&backend->losses);
    l->timeout_us = settings->timeout_us;
    l->sessionless_us = now_us(); /* of a holder from before: his time to come back begins */
    if (l->name && open_state(l, settings, message, size) && durable_start(l)) {
        log_holder(l);
        return l;
    }
    destroy(l);
    return NULL;
}

void lease_close(struct lease *l)
{
    durable_stop(l);
    l->closed = true;
    if (l->audit.twice > 0)
        log_line("%s: %" PRIu64 " of %" PRIu64 " writes were executed twice", l->name,
                 l->audit.twice, l->audit.executed);
}

void lease_free(struct lease *l)
{
    if (!l)
        return;
    if (!l->closed)
        lease_close(l);
    destroy(l);
}
