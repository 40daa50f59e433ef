// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * A connection, which is a session: MaxConnections is 1. Its thread reads
 * PDUs, logs in, collects the data of commands and hands these to task.c.
 *
 * It ends in this order: nothing more is read; SAs let go of their leases; what
 * executes comes to its end; what is queued is sent, or dropped after a while.
 */
#ifndef TARGET_CONN_H
#define TARGET_CONN_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>
#include <time.h>

#include "sender.h"
#include "target.h"
#include "task.h"
#include "text.h"

#define READ_AHEAD_BYTES 32768

struct negotiation;
struct nexus;
struct portal;

struct conn {
    TAILQ_ENTRY(conn) link; /* the portal's */
    struct portal *portal;
    struct target *target;
    struct config *config; /* as it was when the connection came in; a reference */
    int fd;
    char address[64]; /* of the peer, with the port */
    char local[320];  /* where it came in */

    /* of the login; constant afterwards */
    char initiator[NAME_BYTES];
    uint8_t isid[6];
    char target_name[NAME_BYTES]; /* whom it has logged in to; of discovery "" */
    const struct user *user;      /* in config; NULL: nobody, for there was no CHAP */
    bool logged_in;               /* the portal's lock guards it, for other threads */
    bool discovery;
    time_t since; /* it has logged in; the portal's lock guards it, too */
    uint16_t cid;
    uint16_t tsih; /* as logged_in */
    struct parameters parameters;
    bool header_digest, data_digest; /* of what is read */

    /* the reader's alone */
    uint64_t deadline_us; /* of the login, then 0 */
    struct task_list collecting;
    uint32_t last_ttt;
    struct negotiation *negotiation; /* discovery.c's; NULL: none was begun */
    struct nexus **nexuses;          /* nexuses.c's, by LUN */
    unsigned nexus_count;
    uint32_t ahead_at, ahead_end; /* receive.c's: what of `ahead` was not used yet */
    uint8_t ahead[READ_AHEAD_BYTES];

    atomic_bool ending;       /* read nothing more */
    atomic_bool luns_changed; /* and it was not told so yet */
    atomic_uint bad_tags;
    struct memory_share memory;
    struct sender sender;

    pthread_mutex_t lock; /* guards everything that follows */
    pthread_cond_t changed;
    struct task_list running; /* from conn_started on, also while it waits */
    struct task_list free;
    unsigned busy;         /* tasks that the window or the queue accounts for */
    unsigned alive;        /* tasks and responses that may still use the connection */
    uint64_t next_rare_us; /* no line of conn_log_rarely before */
    unsigned unlogged;
};

/* `fd` belongs to it, but where it fails (NULL). */
struct conn *conn_new(struct target *target, struct portal *portal, int fd, const char *address,
                      const char *local);
void conn_run(struct conn *conn); /* serves until the end */
void conn_free(struct conn *conn);
/* Any thread: */
/* REPORTED LUNS DATA HAS CHANGED, once for a session (SPC-4, 6.33): SENSE_NONE where it has not. */
struct sense conn_take_luns_changed(struct conn *conn);
void conn_ask_to_leave(struct conn *conn, uint16_t seconds); /* the initiator is to log out */
/* Has this configuration its target, and its user with the same passwords? */
bool conn_is_welcome(const struct conn *conn, const struct config *config);
void conn_end(struct conn *conn); /* it is to end soon */

/* ---- for those who read PDUs; false: the connection ends ---- */
bool conn_read_header(struct conn *conn, uint8_t bhs[PDU_BHS_BYTES]); /* and what belongs to it */
/* A whole data segment; `buf` NULL: it is dropped. Where its digest is wrong,
 * *bad is set; `bad` NULL: the connection ends. */
bool conn_read_segment(struct conn *conn, void *buf, uint32_t bytes, bool *bad);
bool conn_protocol_error(struct conn *conn, const char *what); /* logs; always false */
/* Of the PDU with this header; its data segment was read, or will be. */
bool conn_reject(struct conn *conn, const uint8_t *bhs, enum pdu_reject reason);

/* A response of its own, with room for data behind it; the connection lives as long as it. */
struct response *conn_response(struct conn *conn, uint8_t opcode, uint32_t itt,
                               uint32_t data_bytes);
void conn_discard(struct response *response); /* instead of conn_send */
void conn_send(struct conn *conn, struct response *response);

/* One line about it in the log; lun 0: about none. */
void conn_log(struct conn *conn, unsigned lun, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* The same for what may come in masses: one line a second, then a count. */
void conn_log_rarely(struct conn *conn, unsigned lun, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* The same, for what only an enemy or a broken line does: it is counted, and "security: " before.
 */
void conn_log_security(struct conn *conn, unsigned lun, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* ---- life of what uses it ---- */
struct task *conn_take_task(struct conn *conn); /* NULL: out of memory, or it ends */
void conn_started(struct conn *conn, struct task *task);
void conn_give_task(struct conn *conn, struct task *task);
/* Parked: answered, or as good as that, and still alive. */
void conn_park_task(struct conn *conn, struct task *task, bool parked);
/* Waits until no unanswered task is running for which `which` is true. Was there one? */
bool conn_wait_for(struct conn *conn, bool (*which)(const struct task *, const void *),
                   const void *argument);

#endif
