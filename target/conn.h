// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * A connection, which is a session here (MaxConnections=1, ERL 0), and its
 * tasks. RFC 7143.
 *
 * The reader owns a task until all its data is here; then who executes it, a
 * worker or the reader itself, until task_respond hands it to the sender,
 * which frees it when it has left. A connection is freed when its reader and
 * writer have ended and its last task is gone.
 */
#ifndef TARGET_CONN_H
#define TARGET_CONN_H

#include <netinet/in.h>
#include <pthread.h>

#include "lease.h"
#include "target.h"

#define BHS_BYTES 48
#define DATA_SEGMENT_MAX 262144 /* MaxRecvDataSegmentLength, FirstBurst, MaxBurst: one PDU a write */
#define COMMAND_WINDOW 128
#define SCSI_DATA_OUT_MAX (1u << 20) /* a command that brings more is refused */

/* PDU opcodes, RFC 7143 section 11.2.1.2 */
enum {
    ISCSI_NOP_OUT = 0x00,
    ISCSI_SCSI_COMMAND = 0x01,
    ISCSI_TASK_MANAGEMENT = 0x02,
    ISCSI_LOGIN = 0x03,
    ISCSI_TEXT = 0x04,
    ISCSI_DATA_OUT = 0x05,
    ISCSI_LOGOUT = 0x06,
    ISCSI_NOP_IN = 0x20,
    ISCSI_SCSI_RESPONSE = 0x21,
    ISCSI_TASK_MANAGEMENT_RESPONSE = 0x22,
    ISCSI_LOGIN_RESPONSE = 0x23,
    ISCSI_TEXT_RESPONSE = 0x24,
    ISCSI_DATA_IN = 0x25,
    ISCSI_LOGOUT_RESPONSE = 0x26,
    ISCSI_R2T = 0x31,
    ISCSI_REJECT = 0x3f,
};
#define ISCSI_IMMEDIATE 0x40
#define ISCSI_FINAL 0x80
#define ISCSI_NO_TAG 0xffffffffu

/* SCSI status, SAM-5 section 5.3.1 */
enum { GOOD = 0x00, CHECK_CONDITION = 0x02, BUSY = 0x08, TASK_SET_FULL = 0x28 };

/* sense: key << 16 | ASC << 8 | ASCQ; SPC-4 section 4.5 */
#define SENSE_INVALID_OPCODE 0x052000
#define SENSE_INVALID_FIELD 0x052400
#define SENSE_LBA_OUT_OF_RANGE 0x052100
#define SENSE_NO_SUCH_LUN 0x052500
#define SENSE_ACCESS_DENIED 0x072002
#define SENSE_COMMAND_SEQUENCE 0x052C00
#define SENSE_READ_ERROR 0x031100

struct conn;
struct association;

struct task {
    struct task *next; /* free list, pending list, send queue: one at a time */
    struct conn *conn;
    uint8_t bhs[BHS_BYTES]; /* of the command */
    struct lun *lun;        /* NULL: no such one */
    bool ends_here;         /* moves MaxCmdSN when it has left */
    uint8_t *data;          /* DATA_SEGMENT_MAX bytes and more: data out, then data in */
    uint32_t capacity;
    uint32_t expected; /* Expected Data Transfer Length */
    uint32_t out_len;  /* data out: how much there will be, and is */
    uint32_t received;
    uint32_t r2t_sn;

    struct job job;
    struct association *association; /* sealed commands hold a reference */
    uint64_t field;
    struct ordered ordered;
    struct waiting_sync sync;

    /* the answer */
    uint8_t response[BHS_BYTES];
    uint32_t in_len;   /* data in, in `data` */
    bool is_data_in;
    uint8_t status;
    uint32_t sent;     /* of `data` and what has left of the PDU before it */
    uint32_t pdu_sent; /* bytes of the current PDU */
    uint32_t data_sn;
    bool last_of_connection; /* closes it when it has left */
};

struct conn {
    struct target *target;
    int fd;
    char address[64];
    char initiator[224];
    bool discovery;
    bool said_plain_refused;
    uint32_t max_send; /* the initiator's MaxRecvDataSegmentLength */
    bool initial_r2t, immediate_data;
    uint32_t first_burst, max_burst;

    /* the reader's */
    uint32_t exp_cmd_sn;
    struct task *pending; /* tasks that wait for data out */
    struct association *associations;
    unsigned bad_tags;
    uint64_t login_deadline_us;

    pthread_t writer;
    pthread_mutex_t lock; /* protects all that follows */
    pthread_cond_t changed;
    uint32_t stat_sn;
    uint32_t max_cmd_sn;
    uint32_t shown_cmd_sn; /* exp_cmd_sn for the answers */
    struct task *send_head, **send_tail;
    bool sending; /* somebody is at the head of the queue */
    bool closing; /* nothing is sent any more */
    struct task *free_tasks;
    unsigned tasks; /* out in the world */
};

/* Serves one connection until it ends; takes the file descriptor. */
void conn_serve(struct target *target, int fd, const char *address);
/* Ends every connection's reader, and waits. */
void conn_close_all(void);

void conn_log(const struct conn *conn, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* The reader stops at the next PDU. */
void conn_shut(struct conn *conn);

/* NULL: out of memory or too many. */
struct task *task_new(struct conn *conn, const uint8_t bhs[BHS_BYTES]);
void task_free(struct task *task);
int task_reserve(struct task *task, uint32_t bytes); /* at least so much in `data` */
void task_respond(struct task *task);                /* sends `response`, `data` and status */
void task_status(struct task *task, uint8_t status);
void task_sense(struct task *task, uint32_t sense);
void task_data_in(struct task *task, uint32_t len); /* GOOD with len bytes of `data` */

/* ---- login.c ---- 0: in full feature phase; -1: the connection is to end */
int login(struct conn *conn, uint8_t bhs[BHS_BYTES]);
/* ---- pdu.c ---- (the reader) */
int pdu_read_header(struct conn *conn, uint8_t bhs[BHS_BYTES], uint32_t *data_len);
int pdu_read_data(struct conn *conn, uint8_t *data, uint32_t len); /* with padding */
/* ---- command.c ---- (the reader): one PDU of full feature phase; -1: end */
int command_pdu(struct conn *conn, uint8_t bhs[BHS_BYTES], uint32_t data_len);
/* ---- scsi.c ---- all data out is here */
void scsi_execute(struct task *task);
void spc_execute(struct task *task);
void sbc_execute(struct task *task);
/* ---- sealed.c ---- (the reader) */
void sealed_execute(struct task *task);
void sealed_handshake(struct task *task);
void sealed_end(struct conn *conn); /* the session ends */

static inline uint8_t *task_cdb(struct task *task)
{
    return task->bhs + 32;
}

#endif
