// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Interrupted requests: interrupt.h. A request is
 *
 *   RUNNING    since it was entered
 *   DOUBTFUL   the kernel has sent an INTERRUPT: a signal of whatever kind has
 *              reached the process. It sends only one, so the thread looks
 *              again and again whether the process is being killed.
 *   ANSWERED   early; its work goes on, unless it is resting.
 *
 * libfuse may call `interrupted` with a request that is being answered by
 * another thread: only the request's address is used, until it is found under
 * the lock. The address is not used again for another one before `interrupted`
 * returns; but once a request has been answered it may be, so then it is not in
 * the table any more.
 */
#include "interrupt.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <glib.h>

#include "clock.h"

#define LOOK_US 100000

struct interrupts {
    pthread_t thread;
    pthread_mutex_t lock; /* protects: */
    pthread_cond_t changed;
    GHashTable *requests; /* fuse_req_t -> struct interruptible, not answered */
    unsigned doubtful;    /* requests */
    unsigned answered;    /* requests, and not resting */
    bool ending;
};

/* ---- is it being killed? ---- */

struct signals { /* masks, as in proc(5), /proc/pid/status */
    uint64_t pending, shared, blocked, ignored, caught;
};

static bool read_signals(pid_t pid, struct signals *s)
{
    char path[64], line[256];
    unsigned found = 0;
    FILE *file;

    snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
    file = fopen(path, "re");
    if (!file)
        return false;
    while (fgets(line, sizeof line, file))
        found += (unsigned)(sscanf(line, "SigPnd: %" SCNx64, &s->pending) == 1 ||
                            sscanf(line, "ShdPnd: %" SCNx64, &s->shared) == 1 ||
                            sscanf(line, "SigBlk: %" SCNx64, &s->blocked) == 1 ||
                            sscanf(line, "SigIgn: %" SCNx64, &s->ignored) == 1 ||
                            sscanf(line, "SigCgt: %" SCNx64, &s->caught) == 1);
    fclose(file);
    return found == 5;
}

static uint64_t mask(int signal)
{
    return UINT64_C(1) << (signal - 1);
}

/* Of a signal that ends a process the kernel makes a SIGKILL for each of its
 * threads, but not of those that leave a core first. */
static bool is_dying(pid_t pid)
{
    const uint64_t cores = mask(SIGQUIT) | mask(SIGABRT) | mask(SIGILL) | mask(SIGTRAP) |
                           mask(SIGBUS) | mask(SIGFPE) | mask(SIGSEGV) | mask(SIGSYS) |
                           mask(SIGXCPU) | mask(SIGXFSZ);
    struct signals s = {0};

    if (pid <= 0 || !read_signals(pid, &s))
        return false;
    return (s.pending & mask(SIGKILL)) ||
           ((s.pending | s.shared) & cores & ~(s.blocked | s.ignored | s.caught));
}

/* ---- states ---- */

/* Lock held. Answered, and what it uses may still be used. */
static bool counts(const struct interruptible *r)
{
    return r->state == INTERRUPT_ANSWERED && !r->resting;
}

/* Lock held. */
static void change(struct interrupts *i, struct interruptible *r, int state, bool resting)
{
    const struct interruptible old = *r;

    r->state = state;
    r->resting = resting;
    i->doubtful += (state == INTERRUPT_DOUBTFUL) - (old.state == INTERRUPT_DOUBTFUL);
    i->answered += counts(r) - counts(&old);
    pthread_cond_broadcast(&i->changed);
}

/* By libfuse, under a lock of its own. */
static void interrupted(fuse_req_t req, void *data)
{
    struct interrupts *i = data;
    struct interruptible *r;

    if (!i) /* it is being answered at this moment */
        return;
    pthread_mutex_lock(&i->lock);
    r = g_hash_table_lookup(i->requests, req);
    if (r && r->state == INTERRUPT_RUNNING)
        change(i, r, INTERRUPT_DOUBTFUL, r->resting);
    pthread_mutex_unlock(&i->lock);
}

/* Lock held: so the request cannot leave meanwhile. */
static void look(struct interrupts *i)
{
    GHashTableIter all;
    gpointer req, value;

    g_hash_table_iter_init(&all, i->requests);
    while (g_hash_table_iter_next(&all, &req, &value)) {
        struct interruptible *r = value;

        if (r->state != INTERRUPT_DOUBTFUL || !is_dying(fuse_req_ctx(req)->pid))
            continue;
        g_hash_table_iter_remove(&all);
        change(i, r, INTERRUPT_ANSWERED, r->resting); /* before the kernel can act on the answer */
        fuse_reply_err(req, EINTR);
    }
}

static void *watch(void *opaque)
{
    struct interrupts *i = opaque;
    uint64_t next_us;

    pthread_mutex_lock(&i->lock);
    while (!i->ending) {
        if (i->doubtful == 0) {
            pthread_cond_wait(&i->changed, &i->lock);
            continue;
        }
        look(i);
        next_us = now_us() + LOOK_US;
        cond_wait_until(&i->changed, &i->lock, next_us);
    }
    pthread_mutex_unlock(&i->lock);
    return NULL;
}

void interrupts_enter(struct interrupts *i, struct interruptible *r, fuse_req_t req)
{
    *r = (struct interruptible){.req = req};
    if (!i)
        return;
    fuse_req_interrupt_func(req, interrupted, i);
    pthread_mutex_lock(&i->lock);
    g_hash_table_insert(i->requests, req, r);
    if (fuse_req_interrupted(req)) /* perhaps before it could be found */
        change(i, r, INTERRUPT_DOUBTFUL, false);
    pthread_mutex_unlock(&i->lock);
}

bool interrupts_leave(struct interrupts *i, struct interruptible *r)
{
    bool answered;

    if (!i)
        return true;
    pthread_mutex_lock(&i->lock);
    answered = r->state == INTERRUPT_ANSWERED;
    if (r->state != INTERRUPT_RUNNING)
        change(i, r, INTERRUPT_RUNNING, false);
    if (!answered)
        g_hash_table_remove(i->requests, r->req);
    pthread_mutex_unlock(&i->lock);
    return !answered;
}

void interrupts_rest(struct interrupts *i, struct interruptible *r)
{
    if (!i)
        return;
    pthread_mutex_lock(&i->lock);
    change(i, r, r->state, true);
    pthread_mutex_unlock(&i->lock);
}

bool interrupts_go_on(struct interrupts *i, struct interruptible *r)
{
    bool answered;

    if (!i)
        return true;
    pthread_mutex_lock(&i->lock);
    answered = r->state == INTERRUPT_ANSWERED;
    if (!answered)
        change(i, r, r->state, false);
    pthread_mutex_unlock(&i->lock);
    return !answered;
}

void interrupts_await(struct interrupts *i)
{
    if (!i)
        return;
    pthread_mutex_lock(&i->lock);
    while (i->answered)
        pthread_cond_wait(&i->changed, &i->lock);
    pthread_mutex_unlock(&i->lock);
}

/* ---- */

struct interrupts *interrupts_new(void)
{
    struct interrupts *i = g_new0(struct interrupts, 1);

    i->requests = g_hash_table_new(NULL, NULL);
    pthread_mutex_init(&i->lock, NULL);
    cond_init(&i->changed);
    if (pthread_create(&i->thread, NULL, watch, i) == 0)
        return i;
    g_hash_table_unref(i->requests);
    g_free(i);
    return NULL;
}

void interrupts_free(struct interrupts *i)
{
    if (!i)
        return;
    pthread_mutex_lock(&i->lock);
    i->ending = true;
    pthread_cond_broadcast(&i->changed);
    pthread_mutex_unlock(&i->lock);
    pthread_join(i->thread, NULL);
    pthread_cond_destroy(&i->changed);
    pthread_mutex_destroy(&i->lock);
    g_hash_table_unref(i->requests);
    g_free(i);
}
