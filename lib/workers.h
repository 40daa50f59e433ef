// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The worker pool: a few threads that seal and open, first come first served.
 * A job is a member of what it works on, so pushing one allocates nothing.
 */
#ifndef ENCSAN_WORKERS_H
#define ENCSAN_WORKERS_H

struct job {
    void (*run)(struct job *job); /* may push jobs, also this one again; may free it */
    struct job *next;             /* the pool's */
};

struct workers;

/* count 0: as many as there are processors that this process may use. */
struct workers *workers_new(const char *name, unsigned count);
/* Runs what is queued, then ends the threads. Nothing may be pushed any more. */
void workers_free(struct workers *workers);
void workers_push(struct workers *workers, struct job *job);
unsigned workers_count(const struct workers *workers);

#endif
