// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Makes an encsan-target count whose writes reach its disk: the linker puts
 * this before lease_finish (--wrap), which a writer calls when its bytes are on
 * the disk and nobody can have taken the lease over yet. On standard error, in
 * the end: for each generation of the lease how many there were, and how many of
 * those came after another generation had been granted.
 */
#include <inttypes.h>
#include <stdio.h>

#include "lease_inside.h"

#define GENERATIONS_MAX 256

struct sense __real_lease_finish(struct lease *l, struct lease_write *w, struct sense sense);
struct sense __wrap_lease_finish(struct lease *l, struct lease_write *w, struct sense sense);

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* guards both */
static uint64_t writes[GENERATIONS_MAX], fenced[GENERATIONS_MAX];

static void count(uint64_t generation, uint64_t granted)
{
    pthread_mutex_lock(&lock);
    if (generation < GENERATIONS_MAX) {
        writes[generation]++;
        fenced[generation] += generation != granted;
    }
    pthread_mutex_unlock(&lock);
}

struct sense __wrap_lease_finish(struct lease *l, struct lease_write *w, struct sense sense)
{
    uint64_t granted;

    pthread_mutex_lock(&l->lock);
    granted = l->state.generation;
    pthread_mutex_unlock(&l->lock);
    count(w->grant->generation, granted);
    return __real_lease_finish(l, w, sense);
}

static void __attribute__((destructor)) say(void)
{
    for (unsigned i = 0; i < GENERATIONS_MAX; i++)
        if (writes[i])
            fprintf(stderr, "watch: generation %u: %" PRIu64 " writes, %" PRIu64 " fenced\n", i,
                    writes[i], fenced[i]);
}
