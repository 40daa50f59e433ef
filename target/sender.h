// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * What leaves a connection: responses, in one order, numbered.
 *
 * Whoever has a response while nobody is sending sends it himself, and what
 * the others leave in the queue meanwhile, without waiting; what the socket
 * does not take is left to the connection's writer thread. So a peer that reads
 * nothing makes nobody wait but its own reader.
 */
#ifndef TARGET_SENDER_H
#define TARGET_SENDER_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "pdu.h"

struct response {
    TAILQ_ENTRY(response) link;
    uint8_t bhs[PDU_BHS_BYTES]; /* but the numbers, and Data-In's offsets and flags */
    const uint8_t *data;        /* of one PDU; Data-In: of as many as it takes */
    uint32_t bytes;
    bool numbered;                           /* takes a StatSN */
    bool ends_command;                       /* its place in the window is free again */
    void (*done)(struct response *response); /* sent or dropped; may free it */
    /* the sender's */
    uint32_t chunk_offset, chunk_bytes, burst_bytes, data_sn;
    uint32_t sent; /* bytes of the current PDU */
    bool header_digest, data_digest;
    uint8_t header_sum[PDU_DIGEST_BYTES], data_sum[PDU_DIGEST_BYTES];
};
TAILQ_HEAD(response_list, response);

struct sender {
    int fd;
    pthread_t writer;

    pthread_mutex_t lock;       /* guards everything that follows */
    pthread_cond_t queued;      /* the writer's: something to do */
    pthread_cond_t room;        /* the reader's: less is queued, or it is dead */
    struct response_list queue; /* the first ones may be on their way */
    bool sending;               /* somebody is; he alone takes away from the queue */
    bool blocked;               /* it is the writer */
    uint64_t queued_bytes;
    uint32_t stat_sn, exp_cmd_sn, window;
    uint32_t commands;                        /* numbered ones that are not yet answered */
    uint32_t data_bytes_max, burst_bytes_max; /* of the initiator: Data-In's PDUs and bursts */
    bool header_digest, data_digest;
    bool dead, ending;
};

int sender_start(struct sender *s, int fd); /* 0 or an error number */
/* Sends what is still queued, ends the writer. Nobody may send any more. */
void sender_stop(struct sender *s);
/* The connection is no good: drops what is queued and what still comes. */
void sender_kill(struct sender *s);

/* At login. */
void sender_set_numbers(struct sender *s, uint32_t exp_cmd_sn, uint32_t window);
void sender_set_limits(struct sender *s, uint32_t data_bytes_max, uint32_t burst_bytes_max);

/* Of what is sent from now on. */
void sender_set_digests(struct sender *s, bool header, bool data);

enum arrival { ARRIVAL_NEXT, ARRIVAL_IGNORED, ARRIVAL_GAP };
/* A PDU with this CmdSN came; NEXT: the number is used now. */
enum arrival sender_arrived(struct sender *s, uint32_t cmd_sn, bool is_command);

/* A command gets no answer. */
void sender_forget_command(struct sender *s);

/* `response` belongs to the sender until done, which may be called before it returns. */
void sender_send(struct sender *s, struct response *response);
/* The reader waits here while the peer does not read what it asked for. */
void sender_wait_for_room(struct sender *s);

#endif
