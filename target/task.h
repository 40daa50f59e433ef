// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * SCSI commands. A task is taken from its connection's pool, collects its data
 * (transfer.c), runs in the reader or in a worker, and ends with exactly one
 * of the task_* calls that answer, which give it back.
 */
#ifndef TARGET_TASK_H
#define TARGET_TASK_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "accounts.h"
#include "lease.h"
#include "sender.h"
#include "sense.h"
#include "text.h"
#include "workers.h"

#define TASK_DATA_MAX WIRE_PDU_DATA_MAX
#define PLAIN_DATA_MAX (1u << 20) /* MAXIMUM TRANSFER LENGTH of a plain LUN, in bytes */
/* further limits that VPD page B0h tells of: what one command may do is bounded */
#define COMPARE_AND_WRITE_BLOCKS_MAX 255
#define UNMAP_DESCRIPTORS_MAX 256
#define WRITE_SAME_BLOCKS_MAX 32768u
/* Data begins on a page; what belongs before it (the header of a sealed
 * command) lies at the end of the page before. */
#define TASK_DATA_OFFSET 4096
#define TASK_BUFFER_BYTES (TASK_DATA_OFFSET + TASK_DATA_MAX)

enum scsi_status { /* SAM-5, 5.3.1 */
                   SCSI_GOOD = 0x00,
                   SCSI_CHECK_CONDITION = 0x02,
                   SCSI_BUSY = 0x08,
                   SCSI_RESERVATION_CONFLICT = 0x18,
                   SCSI_TASK_SET_FULL = 0x28,
                   SCSI_TASK_ABORTED = 0x40,
};

struct association;
struct command;
struct conn;
struct itl_nexus;
struct lun;

struct task {
    TAILQ_ENTRY(task) link; /* conn's collecting, running or free */
    struct job job;
    struct conn *conn;
    struct lun *lun;         /* NULL: LUN 0, or none with this number */
    bool uses_lun;           /* it has begun there */
    struct account *account; /* whose it is; NULL: nobody's yet */
    unsigned lun_number;
    uint8_t lun_field[8];
    const struct command *command; /* NULL: unknown */
    uint8_t cdb[WIRE_CDB_BYTES];
    uint32_t itt;
    bool numbered;        /* has a place in the command window */
    bool running, parked; /* the connection's */
    bool reads, writes;
    uint32_t expected; /* Expected Data Transfer Length */
    uint32_t used; /* bytes of data out that the command takes; `expected` where it does not say */
    struct sense refusal; /* its data is dropped and this answered */
    bool full;            /* refused for want of memory: TASK SET FULL */

    uint8_t *buffer; /* TASK_BUFFER_BYTES at least; NULL until it is needed */
    size_t buffer_bytes;
    uint8_t *out; /* where data out goes, within buffer */
    uint32_t received;
    uint32_t unsolicited_end; /* how far the peer may send unasked */
    uint32_t asked;           /* how far we have asked with R2Ts */
    struct burst {
        uint32_t ttt, end;
    } bursts[R2TS_MAX]; /* that are on their way, in order */
    unsigned burst_count;
    uint32_t r2t_sn, data_sn;

    struct response response;
    struct response *hint;
    uint8_t sense_data[20];

    /* unit.c */
    struct itl_nexus *nexus; /* NULL: the LUN is sealed, or none */
    unsigned epoch;
    bool begun;

    /* sealed.c */
    struct association *association;
    uint64_t field;
    uint8_t operation;
    bool fua, release;
    uint64_t lba, blocks;
    struct lease_write write;
    struct lease_sync sync;
};
TAILQ_HEAD(task_list, task);

#define task_of(pointer, member) ((struct task *)((char *)(pointer)-offsetof(struct task, member)))

/* ---- for transfer.c ---- */
/* Looks at the CDB before any data is read: sets command, refusal and out. */
void task_admit(struct task *task);
void task_start(struct task *task); /* its data is there, or dropped */

/* ---- for commands; the task is gone afterwards ---- */
void task_good(struct task *task);
void task_status(struct task *task, enum scsi_status status);
void task_check(struct task *task, struct sense sense);
/* With the INFORMATION field; of INVALID FIELD IN CDB, with the byte that is wrong. */
void task_check_at(struct task *task, struct sense sense, uint32_t information);
void task_check_field(struct task *task, uint8_t byte);
/* GOOD, or CHECK CONDITION. */
void task_answer(struct task *task, struct sense sense);
/* Data in and GOOD. `data` lies in the task's buffer, `bytes` is what the
 * command gives: the transfer length that the initiator expects may cut it. */
void task_data(struct task *task, const uint8_t *data, uint32_t bytes);
/* Once a command, before it is gone: what came of it. Who answers it does so. */
void task_account(const struct task *task, struct sense sense);
/* Gives it back unanswered. */
void task_drop(struct task *task);

/* For a task that may be answered with GOOD long before it is done. Between
 * make and take_back it is parked; who sends `hint` does not touch the task. */
bool task_make_hint(struct task *task); /* false: out of memory */
void task_take_hint_back(struct task *task);

/* The buffer, made where there is none yet; NULL: no memory now. */
uint8_t *task_buffer(struct task *task);
/* Room for this many bytes of data, in the buffer. */
uint8_t *task_data_room(struct task *task, uint32_t bytes);
/* The same, zeroed, for an answer. NULL: the task is answered already. */
uint8_t *task_answer_room(struct task *task, uint32_t bytes);
void task_release_buffer(struct task *task); /* conn.c's */

#endif
