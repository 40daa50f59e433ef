// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The worker pool: one queue, one lock, threads that take the oldest job. Those that find none
 * sleep on a semaphore, and not on a condition: its sleepers wake up to wait for the lock, and mark that as waited
 * for, so that each unlock calls the kernel, for nobody.
 */
#include "workers.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define NAME_BYTES 16 /* of a thread, with the NUL: pthread_setname_np(3) */

struct workers {
    sem_t wake;
    pthread_mutex_t lock; /* protects what follows, up to `ending` */
    struct job *first, **last;
    unsigned sleepers; /* threads that nobody has woken yet */
    bool ending;
    char name[NAME_BYTES];
    unsigned count;
    pthread_t threads[];
};

/* Lock held; let go of meanwhile. */
static void sleep_on(struct workers *w)
{
    w->sleepers++;
    pthread_mutex_unlock(&w->lock);
    while (sem_wait(&w->wake) != 0 && errno == EINTR)
        ;
    pthread_mutex_lock(&w->lock);
}

/* NULL: the pool ends and nothing is left. */
static struct job *pop(struct workers *w)
{
    struct job *job;

    pthread_mutex_lock(&w->lock);
    while (!w->first && !w->ending)
        sleep_on(w);
    job = w->first;
    if (job) {
        w->first = job->next;
        if (!w->first)
            w->last = &w->first;
    }
    pthread_mutex_unlock(&w->lock);
    return job;
}

static void *work(void *opaque)
{
    struct workers *w = opaque;
    struct job *job;

    while ((job = pop(w)))
        job->run(job);
    return NULL;
}

static unsigned processors(void)
{
    cpu_set_t set;

    long online = sysconf(_SC_NPROCESSORS_ONLN);

    if (sched_getaffinity(0, sizeof set, &set) == 0)
        return (unsigned)CPU_COUNT(&set);
    return online > 0 ? (unsigned)online : 1; /* more processors than a cpu_set_t holds */
}

/* Signals are for the threads of whoever opened the volume; those of a fault
 * stay open, else a crash would end without its report. */
static void block_signals(sigset_t *before)
{
    static const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP};
    sigset_t all;

    sigfillset(&all);
    for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++)
        sigdelset(&all, faults[i]);
    pthread_sigmask(SIG_SETMASK, &all, before);
}

/* Those that it could start are counted in w->count. */
static int start_threads(struct workers *w, unsigned count)
{
    sigset_t before;
    int error = 0;

    block_signals(&before);
    while (w->count < count && error == 0) {
        error = pthread_create(&w->threads[w->count], NULL, work, w);
        if (error == 0)
            pthread_setname_np(w->threads[w->count++], w->name);
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return error;
}

struct workers *workers_new(const char *name, unsigned count)
{
    struct workers *w;

    if (count == 0)
        count = processors();
    w = calloc(1, sizeof *w + count * sizeof w->threads[0]);
    if (!w)
        return NULL;
    pthread_mutex_init(&w->lock, NULL);
    sem_init(&w->wake, 0, 0);
    w->last = &w->first;
    snprintf(w->name, sizeof w->name, "%s", name);
    if (start_threads(w, count) != 0) {
        workers_free(w);
        return NULL;
    }
    return w;
}

void workers_free(struct workers *w)
{
    if (!w)
        return;
    pthread_mutex_lock(&w->lock);
    w->ending = true;
    for (; w->sleepers > 0; w->sleepers--)
        sem_post(&w->wake);
    pthread_mutex_unlock(&w->lock);
    for (unsigned i = 0; i < w->count; i++)
        pthread_join(w->threads[i], NULL);
    pthread_mutex_destroy(&w->lock);
    sem_destroy(&w->wake);
    free(w);
}

void workers_push(struct workers *w, struct job *job)
{
    bool wake;

    job->next = NULL;
    pthread_mutex_lock(&w->lock);
    *w->last = job;
    w->last = &job->next;
    wake = w->sleepers > 0;
    w->sleepers -= wake;
    pthread_mutex_unlock(&w->lock);
    if (wake)
        sem_post(&w->wake);
}

unsigned workers_count(const struct workers *w)
{
    return w->count;
}
