// SPDX-License-Identifier: LGPL-2.1-or-later
/* Sending: sender.h. */
#include "sender.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

#define QUEUED_BYTES_MAX (8u << 20) /* then nothing more is read */
#define PIECES 5                    /* of a PDU */

/* ---- one PDU after another ---- */

/* Data-In: the piece that begins at chunk_offset (RFC 7143, 11.7). */
static void make_data_in(const struct sender *s, struct response *r)
{
    uint32_t left = r->bytes - r->chunk_offset;
    uint32_t burst_left = s->burst_bytes_max - r->burst_bytes;
    uint32_t n = left < s->data_bytes_max ? left : s->data_bytes_max;
    bool last;

    if (n > burst_left)
        n = burst_left;
    last = n == left;
    r->chunk_bytes = n;
    r->burst_bytes = n == burst_left ? 0 : r->burst_bytes + n;
    r->bhs[BHS_FLAGS] &= PDU_OVERFLOW | PDU_UNDERFLOW;
    if (last)
        r->bhs[BHS_FLAGS] |= PDU_FINAL | PDU_HAS_STATUS;
    else if (r->burst_bytes == 0)
        r->bhs[BHS_FLAGS] |= PDU_FINAL;
    wire_put24(r->bhs + BHS_DATA_LENGTH, n);
    wire_put32(r->bhs + BHS_DATA_SN, r->data_sn++);
    wire_put32(r->bhs + BHS_BUFFER_OFFSET, r->chunk_offset);
}

static const uint8_t padding[3];

/* Of the current PDU; a response without data has none to count from. */
static const uint8_t *chunk(const struct response *r)
{
    return r->chunk_bytes ? r->data + r->chunk_offset : NULL;
}

/* The PDU is complete: its digests, where they were agreed on. */
static void put_digests(struct response *r)
{
    uint32_t crc;

    if (r->header_digest)
        pdu_put_digest(r->header_sum, pdu_crc(PDU_CRC_BEGIN, r->bhs, PDU_BHS_BYTES));
    if (!r->data_digest || r->chunk_bytes == 0)
        return;
    crc = pdu_crc(PDU_CRC_BEGIN, chunk(r), r->chunk_bytes);
    pdu_put_digest(r->data_sum, pdu_crc(crc, padding, pdu_padding(r->chunk_bytes)));
}

static bool is_data_in(const struct response *r)
{
    return (r->bhs[BHS_OPCODE] & PDU_OPCODE_MASK) == PDU_DATA_IN;
}

static void prepare(struct sender *s, struct response *r)
{
    r->sent = r->chunk_offset = r->burst_bytes = r->data_sn = 0;
    r->header_digest = s->header_digest;
    r->data_digest = s->data_digest;
    if (r->ends_command)
        s->commands--;
    wire_put32(r->bhs + BHS_STAT_SN, s->stat_sn);
    if (r->numbered)
        s->stat_sn++;
    wire_put32(r->bhs + BHS_EXP_CMD_SN, s->exp_cmd_sn);
    wire_put32(r->bhs + BHS_MAX_CMD_SN, s->exp_cmd_sn + s->window - s->commands - 1);
    if (is_data_in(r)) {
        make_data_in(s, r);
    } else {
        r->chunk_bytes = r->bytes;
        wire_put24(r->bhs + BHS_DATA_LENGTH, r->bytes);
    }
    put_digests(r);
}

/* The bytes of the current PDU that have not been sent. */
static int pieces_left(struct response *r, struct iovec out[PIECES])
{
    const bool has_data_sum = r->data_digest && r->chunk_bytes > 0;
    struct iovec all[PIECES] = {{r->bhs, PDU_BHS_BYTES},
                                {r->header_sum, r->header_digest ? PDU_DIGEST_BYTES : 0},
                                {(void *)chunk(r), r->chunk_bytes},
                                {(void *)padding, pdu_padding(r->chunk_bytes)},
                                {r->data_sum, has_data_sum ? PDU_DIGEST_BYTES : 0}};
    size_t skip = r->sent;
    int count = 0;

    for (int i = 0; i < PIECES; i++) {
        size_t n = skip < all[i].iov_len ? skip : all[i].iov_len;

        skip -= n;
        if (n < all[i].iov_len)
            out[count++] = (struct iovec){(uint8_t *)all[i].iov_base + n, all[i].iov_len - n};
    }
    return count;
}

/* 0: the response has left. -EAGAIN, with MSG_DONTWAIT: the rest later. Else the connection is no
 * good. */
static int push(const struct sender *s, struct response *r, int flags)
{
    for (;;) {
        struct iovec pieces[PIECES];
        struct msghdr message = {.msg_iov = pieces};
        ssize_t n;

        message.msg_iovlen = (size_t)pieces_left(r, pieces);
        if (message.msg_iovlen == 0) {
            r->chunk_offset += r->chunk_bytes;
            if (r->chunk_offset == r->bytes)
                return 0;
            r->sent = 0;
            make_data_in(s, r);
            put_digests(r);
            continue;
        }
        n = sendmsg(s->fd, &message, MSG_NOSIGNAL | flags);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return errno == EWOULDBLOCK ? -EAGAIN : -errno;
        r->sent += (uint32_t)n;
    }
}

/* ---- the queue ---- */

static void die(struct sender *s)
{
    s->dead = true;
    shutdown(s->fd, SHUT_RDWR); /* the reader hears of it, and the writer if it waits in sendmsg */
    pthread_cond_broadcast(&s->room);
}

void sender_send(struct sender *s, struct response *r)
{
    int error = -EAGAIN;

    pthread_mutex_lock(&s->lock);
    prepare(s, r);
    if (s->dead)
        error = -EPIPE;
    else if (TAILQ_EMPTY(&s->queue))
        error = push(s, r, MSG_DONTWAIT);
    if (error == -EAGAIN) {
        TAILQ_INSERT_TAIL(&s->queue, r, link);
        s->queued_bytes += PDU_BHS_BYTES + r->bytes;
        pthread_cond_signal(&s->queued);
    } else if (error) {
        die(s);
    }
    pthread_mutex_unlock(&s->lock);
    if (error != -EAGAIN)
        r->done(r);
}

/* Sends the head of the queue, which stays there meanwhile so that nobody overtakes it. */
static void send_head(struct sender *s)
{
    struct response *r = TAILQ_FIRST(&s->queue);
    bool dead = s->dead;
    int error = 0;

    pthread_mutex_unlock(&s->lock);
    if (!dead)
        error = push(s, r, 0);
    pthread_mutex_lock(&s->lock);
    TAILQ_REMOVE(&s->queue, r, link);
    s->queued_bytes -= PDU_BHS_BYTES + r->bytes;
    if (error)
        die(s);
    pthread_cond_broadcast(&s->room);
    pthread_mutex_unlock(&s->lock);
    r->done(r);
    pthread_mutex_lock(&s->lock);
}

static void *writer_thread(void *arg)
{
    struct sender *s = arg;

    pthread_mutex_lock(&s->lock);
    while (!s->ending || !TAILQ_EMPTY(&s->queue)) {
        if (TAILQ_EMPTY(&s->queue))
            pthread_cond_wait(&s->queued, &s->lock);
        else
            send_head(s);
    }
    pthread_mutex_unlock(&s->lock);
    return NULL;
}

void sender_wait_for_room(struct sender *s)
{
    pthread_mutex_lock(&s->lock);
    while (s->queued_bytes > QUEUED_BYTES_MAX && !s->dead)
        pthread_cond_wait(&s->room, &s->lock);
    pthread_mutex_unlock(&s->lock);
}

/* ---- numbers ---- */

enum arrival sender_arrived(struct sender *s, uint32_t cmd_sn, bool is_command)
{
    enum arrival arrival = ARRIVAL_NEXT;
    uint32_t max;

    pthread_mutex_lock(&s->lock);
    max = s->exp_cmd_sn + s->window - s->commands - 1;
    if (pdu_sn_before(cmd_sn, s->exp_cmd_sn) || pdu_sn_before(max, cmd_sn)) {
        arrival = ARRIVAL_IGNORED;
    } else if (cmd_sn != s->exp_cmd_sn) {
        arrival = ARRIVAL_GAP;
    } else {
        s->exp_cmd_sn++;
        s->commands += is_command;
    }
    pthread_mutex_unlock(&s->lock);
    return arrival;
}

void sender_forget_command(struct sender *s)
{
    pthread_mutex_lock(&s->lock);
    s->commands--;
    pthread_mutex_unlock(&s->lock);
}

void sender_set_numbers(struct sender *s, uint32_t exp_cmd_sn, uint32_t window)
{
    pthread_mutex_lock(&s->lock);
    s->exp_cmd_sn = exp_cmd_sn;
    s->window = window;
    pthread_mutex_unlock(&s->lock);
}

void sender_set_limits(struct sender *s, uint32_t data_bytes_max, uint32_t burst_bytes_max)
{
    pthread_mutex_lock(&s->lock);
    s->data_bytes_max = data_bytes_max;
    s->burst_bytes_max = burst_bytes_max;
    pthread_mutex_unlock(&s->lock);
}

void sender_set_digests(struct sender *s, bool header, bool data)
{
    pthread_mutex_lock(&s->lock);
    s->header_digest = header;
    s->data_digest = data;
    pthread_mutex_unlock(&s->lock);
}

/* ---- life ---- */

int sender_start(struct sender *s, int fd)
{
    int error;

    memset(s, 0, sizeof *s);
    s->fd = fd;
    s->stat_sn = 1;
    s->data_bytes_max = 8192; /* RFC 7143, 13.12: before anything is negotiated */
    s->burst_bytes_max = PDU_DATA_MAX;
    TAILQ_INIT(&s->queue);
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->queued, NULL);
    pthread_cond_init(&s->room, NULL);
    error = pthread_create(&s->writer, NULL, writer_thread, s);
    if (error) {
        pthread_mutex_destroy(&s->lock);
        pthread_cond_destroy(&s->queued);
        pthread_cond_destroy(&s->room);
    }
    return error;
}

void sender_kill(struct sender *s)
{
    pthread_mutex_lock(&s->lock);
    die(s);
    pthread_mutex_unlock(&s->lock);
}

void sender_stop(struct sender *s)
{
    pthread_mutex_lock(&s->lock);
    s->ending = true;
    pthread_cond_signal(&s->queued);
    pthread_mutex_unlock(&s->lock);
    pthread_join(s->writer, NULL);
    pthread_mutex_destroy(&s->lock);
    pthread_cond_destroy(&s->queued);
    pthread_cond_destroy(&s->room);
}
