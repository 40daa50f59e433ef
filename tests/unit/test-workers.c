// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The worker pool: every job runs once, also one that pushes itself or others,
 * and freeing the pool waits for all of them.
 */
#include <pthread.h>
#include <signal.h>
#include <string.h>

#include <glib.h>

#include "workers.h"

#define JOBS 10000

struct counted {
    struct job job; /* first, so that it is the same address */
    struct workers *workers;
    int *total;    /* atomic */
    int remaining; /* times that it pushes itself again */
};

static void count_run(struct job *job)
{
    struct counted *c = (struct counted *)job;

    g_atomic_int_inc(c->total);
    if (c->remaining > 0) {
        c->remaining--;
        workers_push(c->workers, job);
    }
}

static void test_all_run(void)
{
    g_autofree struct counted *jobs = g_new0(struct counted, JOBS);
    struct workers *workers = workers_new("test", 4);
    int total = 0;

    g_assert_cmpuint(workers_count(workers), ==, 4);
    for (int i = 0; i < JOBS; i++) {
        jobs[i] = (struct counted){.job.run = count_run, .workers = workers, .total = &total};
        workers_push(workers, &jobs[i].job);
    }
    workers_free(workers);
    g_assert_cmpint(total, ==, JOBS);
}

static void test_pushes_itself(void)
{
    struct workers *workers = workers_new("test", 3);
    int total = 0;
    struct counted job = {{count_run, NULL}, workers, &total, 1000};

    workers_push(workers, &job.job);
    while (g_atomic_int_get(&total) < 1001) /* nothing may be pushed after workers_free */
        g_usleep(100);
    workers_free(workers);
    g_assert_cmpint(total, ==, 1001);
}

static void free_run(struct job *job)
{
    struct counted *c = (struct counted *)job;

    g_atomic_int_inc(c->total);
    g_free(c);
}

static void test_frees_itself(void)
{
    struct workers *workers = workers_new("test", 2);
    int total = 0;

    for (int i = 0; i < 100; i++) {
        struct counted *c = g_new0(struct counted, 1);

        c->job.run = free_run;
        c->total = &total;
        workers_push(workers, &c->job);
    }
    workers_free(workers);
    g_assert_cmpint(total, ==, 100);
}

/* ---- order ---- */

struct ordered {
    struct job job;
    int number;
    GArray *order; /* one thread only */
};

static void order_run(struct job *job)
{
    struct ordered *o = (struct ordered *)job;

    g_array_append_val(o->order, o->number);
}

static void test_first_come_first_served(void)
{
    g_autoptr(GArray) order = g_array_new(FALSE, FALSE, sizeof(int));
    struct workers *workers = workers_new("test", 1);
    struct ordered jobs[100];

    for (int i = 0; i < 100; i++) {
        jobs[i] = (struct ordered){{order_run, NULL}, i, order};
        workers_push(workers, &jobs[i].job);
    }
    workers_free(workers);
    g_assert_cmpuint(order->len, ==, 100);
    for (int i = 0; i < 100; i++)
        g_assert_cmpint(g_array_index(order, int, i), ==, i);
}

/* ---- several at once ---- */

struct meeting {
    struct job job;
    pthread_barrier_t *barrier;
};

static void meet_run(struct job *job)
{
    pthread_barrier_wait(((struct meeting *)job)->barrier);
}

static void test_parallel(void)
{
    struct workers *workers = workers_new("test", 4);
    struct meeting jobs[4];
    pthread_barrier_t barrier;

    g_assert_cmpint(pthread_barrier_init(&barrier, NULL, 4), ==, 0);
    for (int i = 0; i < 4; i++) { /* none can end before all have begun */
        jobs[i] = (struct meeting){{meet_run, NULL}, &barrier};
        workers_push(workers, &jobs[i].job);
    }
    workers_free(workers);
    pthread_barrier_destroy(&barrier);
}

/* ---- what a thread of the pool is like ---- */

struct look {
    struct job job;
    char name[32];
    sigset_t blocked;
};

static void look_run(struct job *job)
{
    struct look *look = (struct look *)job;

    pthread_getname_np(pthread_self(), look->name, sizeof look->name);
    pthread_sigmask(SIG_SETMASK, NULL, &look->blocked);
}

static void test_threads(void)
{
    struct workers *workers = workers_new("a-name-longer-than-linux-takes", 0);
    struct look look = {{look_run, NULL}, "", {{0}}};
    sigset_t own;

    g_assert_cmpuint(workers_count(workers), >=, 1);
    workers_push(workers, &look.job);
    workers_free(workers);
    g_assert_cmpstr(look.name, ==, "a-name-longer-t");
    g_assert_true(sigismember(&look.blocked, SIGTERM));
    g_assert_false(sigismember(&look.blocked, SIGSEGV));
    pthread_sigmask(SIG_SETMASK, NULL, &own);
    g_assert_false(sigismember(&own, SIGTERM));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/workers/all-run", test_all_run);
    g_test_add_func("/workers/pushes-itself", test_pushes_itself);
    g_test_add_func("/workers/frees-itself", test_frees_itself);
    g_test_add_func("/workers/first-come-first-served", test_first_come_first_served);
    g_test_add_func("/workers/parallel", test_parallel);
    g_test_add_func("/workers/threads", test_threads);
    return g_test_run();
}
