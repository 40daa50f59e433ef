// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The logical unit of a plain LUN, as SAM-5 sees it: what all sessions share
 * (mode pages, reservations, started or stopped) and what each has for itself,
 * its nexus (unit attentions, tasks that run). Sealed LUNs have none of
 * it: their state is the lease.
 *
 * A task begins and ends here. One that a reset or a preemption aborts is not
 * interrupted: what runs comes to its end, what has not begun never does.
 */
#ifndef TARGET_UNIT_H
#define TARGET_UNIT_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "reservation.h"
#include "sense.h"

struct backend;
struct conn;
struct task;
struct unit;

/* SAM-5, 5.14; those with the lower numbers are reported first. */
enum attention {
    ATTENTION_RESET,      /* power on; each session begins with it */
    ATTENTION_UNIT_RESET, /* by task management */
    ATTENTION_RESERVATIONS_PREEMPTED,
    ATTENTION_RESERVATIONS_RELEASED,
    ATTENTION_REGISTRATIONS_PREEMPTED,
    ATTENTION_MODE_CHANGED,
    ATTENTION_CAPACITY_CHANGED,
};

struct itl_nexus {
    TAILQ_ENTRY(itl_nexus) link; /* the unit's */
    struct unit *unit;
    struct port port;
    /* the unit's lock guards these */
    unsigned attentions; /* 1 << enum attention */
    bool lost; /* what it has written may be; a flush of its has not said so yet */
    unsigned epoch;      /* grows when its tasks are aborted */
    unsigned running;    /* tasks of this epoch */
    unsigned leaving;    /* tasks of earlier ones */
};
TAILQ_HEAD(itl_nexus_list, itl_nexus);

/* MODE SELECT changes them; SPC-4, 7.5.8 and SBC-3, 6.4.5 */
struct mode {
    bool write_cache;            /* WCE */
    bool software_write_protect; /* SWP */
};
#define MODE_DEFAULT ((struct mode){.write_cache = true})

struct unit {
    /* COMPARE AND WRITE and ORWRITE hold it alone, other access to the medium together. */
    pthread_rwlock_t medium;

    pthread_mutex_t lock; /* guards everything that follows */
    pthread_cond_t ended; /* a task */
    struct backend *backend; /* NULL: closed */
    unsigned losses;         /* of the backend, as far as the initiators were told */
    struct itl_nexus_list nexuses;
    struct mode mode;
    bool read_only; /* nobody may write */
    bool stopped;
    struct itl_nexus *reserved_by; /* RESERVE (6); NULL: nobody */
    struct reservations *reservations;
};

/* `path`: where its reservations are kept; read_only: nobody may write. NULL,
 * with one line for the user in `message`. */
struct unit *unit_new(const char *path, struct backend *backend, bool read_only, char *message,
                      size_t size);
void unit_close(struct unit *unit); /* no task is left: the backend can be closed */
void unit_free(struct unit *unit);  /* no session is left */

/* ---- sessions ---- */
void unit_start_session(struct unit *unit, struct itl_nexus *nexus, const struct conn *conn);
void unit_end_session(struct itl_nexus *nexus); /* no command comes any more; twice is once */
void unit_release(struct itl_nexus *nexus);     /* no command is left */

/* ---- tasks ---- */
void unit_task_arrives(struct task *task); /* from here on it can be aborted */
/* It starts, or is answered already: with an attention, a conflict, TASK ABORTED. */
bool unit_task_begins(struct task *task);
void unit_task_ends(struct task *task); /* before it is answered or dropped */

/* ---- for commands ---- */
struct mode unit_mode(struct unit *unit);
bool unit_is_protected(struct unit *unit); /* against writing, by whatever */
/* For all that has to be on stable storage: flushes. 0 or -errno; also where
 * the nexus may have lost what it wrote since its last flush, which each nexus
 * is told once: not every initiator draws that from a unit attention. */
int unit_flush(struct itl_nexus *nexus);
/* What REQUEST SENSE reports, and then is no more. */
struct sense unit_take_attention(struct conn *conn, struct itl_nexus *nexus);
/* With the lock held: for all nexuses but `except` (NULL: for all). */
void unit_establish(struct unit *unit, enum attention attention, const struct itl_nexus *except);

/* ---- for a reload ---- */
void unit_set_read_only(struct unit *unit, bool read_only);
void unit_has_grown(struct unit *unit);
/* This port may not have the LUN any more: what it holds by RESERVE (6) is free. */
void unit_release_port(struct unit *unit, const struct port *port);

/* LOGICAL UNIT RESET: SAM-5, 6.3.3. Waits for what runs. */
void unit_reset(struct unit *unit);
/* Aborts the tasks of this port's nexuses, and waits for what runs of them. */
void unit_abort_port(struct unit *unit, const struct port *port);

#endif
