// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Requests that end with an error though nothing is wrong with them: because
 * the volume fails, for ever, or because nobody can wait any longer. What is on
 * its way in a session ends by itself.
 */
#include "pipeline.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

static void fail_all(struct encsan *v, struct request_list *list, int error)
{
    struct request *r;

    while ((r = TAILQ_FIRST(list))) {
        TAILQ_REMOVE(list, r, queue);
        volume_finish(v, r, error);
    }
}

static void fail_writes(struct encsan *v, int error)
{
    fail_all(v, &v->parked, error);
    fail_all(v, &v->parked_urgent, error);
    fail_all(v, &v->flushes, error);
    fail_all(v, &v->leaving, error);
}

void volume_fail_writes(struct encsan *v)
{
    v->write_error = -EIO;
    fail_writes(v, v->write_error);
}

void volume_fail_waiting(struct encsan *v, int error)
{
    struct request *r;

    fail_writes(v, error);
    read_fail_lost(v, error);
    while ((r = TAILQ_FIRST(&v->reads_queued))) {
        TAILQ_REMOVE(&v->reads_queued, r, queue);
        r->progress = r->blocks;
        r->error = error;
        if (r->pending == 0) /* else its last piece ends it */
            volume_finish(v, r, error);
    }
}

void volume_fail(struct encsan *v, int error, const char *format, ...)
{
    char line[256];
    va_list args;

    if (v->error)
        return;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    v->error = error;
    volume_log(v, "%s", line); /* who reads it meets the error */
    volume_fail_waiting(v, error);
}

void volume_fence(struct encsan *v)
{
    v->fenced = true;
    volume_fail(
        v, -EIO,
        "another mount has taken the disk over: nothing is written to it from here any more");
}
