// SPDX-License-Identifier: LGPL-2.1-or-later
/* Sending: sender.h. */
#include "sender.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

#define QUEUED_BYTES_MAX (8u << 20) /* then nothing more is read */
#define PIECES 5                    /* of a PDU */
#define BATCH 12                    /* PDUs in a system call */

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

static uint32_t bytes_left(const struct response *r)
{
    uint32_t digests = (r->header_digest ? PDU_DIGEST_BYTES : 0) +
                       (r->data_digest && r->chunk_bytes > 0 ? PDU_DIGEST_BYTES : 0);

    return PDU_BHS_BYTES + r->chunk_bytes + pdu_padding(r->chunk_bytes) + digests - r->sent;
}

static bool is_last_pdu(const struct response *r)
{
    return r->chunk_offset + r->chunk_bytes == r->bytes;
}

/* ---- several responses at once ---- */

struct batch {
    unsigned count, sent;
    struct response *responses[BATCH];
};

/* As much as belongs together: nothing behind a PDU that has another one to follow. */
static int gather(const struct batch *b, struct iovec out[BATCH * PIECES])
{
    int count = 0;

    for (unsigned i = b->sent; i < b->count; i++) {
        count += pieces_left(b->responses[i], out + count);
        if (!is_last_pdu(b->responses[i]))
            break;
    }
    return count;
}

static void advance(struct sender *s, struct batch *b, size_t bytes)
{
    while (bytes) {
        struct response *r = b->responses[b->sent];
        size_t left = bytes_left(r);

        if (bytes < left) {
            r->sent += (uint32_t)bytes;
            return;
        }
        bytes -= left;
        if (is_last_pdu(r)) {
            b->sent++;
        } else {
            r->chunk_offset += r->chunk_bytes;
            r->sent = 0;
            make_data_in(s, r);
            put_digests(r);
        }
    }
}

/* 0: all has left. -EAGAIN, with MSG_DONTWAIT: the rest later. Else the connection is no good. */
static int push(struct sender *s, struct batch *b, int flags)
{
    while (b->sent < b->count) {
        struct iovec pieces[BATCH * PIECES];
        struct msghdr message = {.msg_iov = pieces};
        ssize_t n;

        message.msg_iovlen = (size_t)gather(b, pieces);
        n = sendmsg(s->fd, &message, MSG_NOSIGNAL | flags);
        if (n >= 0)
            advance(s, b, (size_t)n);
        else if (errno != EINTR)
            return errno == EWOULDBLOCK ? -EAGAIN : -errno;
    }
    return 0;
}

/* ---- the queue ---- */

static void die(struct sender *s)
{
    s->dead = true;
    shutdown(s->fd, SHUT_RDWR); /* the reader hears of it, and the writer if it waits in sendmsg */
    pthread_cond_broadcast(&s->room);
}

static void take_batch(const struct sender *s, struct batch *b)
{
    struct response *r;

    b->count = b->sent = 0;
    TAILQ_FOREACH(r, &s->queue, link)
    {
        if (b->count == BATCH)
            break;
        b->responses[b->count++] = r;
    }
}

static void forget_sent(struct sender *s, const struct batch *b)
{
    for (unsigned i = 0; i < b->sent; i++) {
        TAILQ_REMOVE(&s->queue, b->responses[i], link);
        s->queued_bytes -= PDU_BHS_BYTES + b->responses[i]->bytes;
    }
    pthread_cond_broadcast(&s->room);
}

/* Sends what is in the queue, until it is empty or the socket full. With the
 * lock, which it gives back: once the last response is done, the sender may be
 * gone. While any is in the queue it is not. */
static void send_queue(struct sender *s, int flags)
{
    struct batch b;
    bool more;

    do {
        int error = 0;
        bool dead = s->dead;

        take_batch(s, &b);
        pthread_mutex_unlock(&s->lock);
        if (!dead)
            error = push(s, &b, flags);
        pthread_mutex_lock(&s->lock);
        if (error && error != -EAGAIN)
            die(s);
        if (s->dead && error != -EAGAIN)
            b.sent = b.count; /* dropped */
        forget_sent(s, &b);
        s->blocked = error == -EAGAIN;
        s->sending = !TAILQ_EMPTY(&s->queue);
        more = s->sending && !s->blocked;
        if (s->blocked)
            pthread_cond_signal(&s->queued);
        pthread_mutex_unlock(&s->lock);
        for (unsigned i = 0; i < b.sent; i++)
            b.responses[i]->done(b.responses[i]);
        if (more)
            pthread_mutex_lock(&s->lock);
    } while (more);
}

void sender_send(struct sender *s, struct response *r)
{
    bool sending;

    pthread_mutex_lock(&s->lock);
    prepare(s, r);
    TAILQ_INSERT_TAIL(&s->queue, r, link);
    s->queued_bytes += PDU_BHS_BYTES + r->bytes;
    sending = s->sending;
    s->sending = true;
    if (sending)
        pthread_mutex_unlock(&s->lock);
    else
        send_queue(s, MSG_DONTWAIT);
}

static void *writer_thread(void *arg)
{
    struct sender *s = arg;

    pthread_mutex_lock(&s->lock);
    while (!s->ending || s->blocked) {
        if (s->blocked) {
            send_queue(s, 0);
            pthread_mutex_lock(&s->lock);
        } else {
            pthread_cond_wait(&s->queued, &s->lock);
        }
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
