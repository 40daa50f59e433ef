// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Connections: the reader's loop, the send queue, tasks and their memory.
 *
 * Who answers a task sends it at once if nobody else is sending and the socket
 * takes it; what does not fit is left to the writer. So a peer that does not
 * read holds up its own writer and nobody else. Memory is bounded by the
 * command window: MaxCmdSN moves when an answer has left.
 */
#include "conn.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <netinet/tcp.h>
#include <unistd.h>

#define LOGIN_TIMEOUT_US 15000000
#define TASKS_MAX (2 * COMMAND_WINDOW) /* with immediate ones */
#define TASK_DATA_BYTES 4096           /* at first */

/* All connections, so that they can be ended. */
static struct {
    pthread_mutex_t lock;
    pthread_cond_t empty;
    GPtrArray *list;
    bool closing;
} all = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, NULL, false};

void conn_log(const struct conn *conn, const char *format, ...)
{
    char line[512];
    va_list args;

    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    target_log("%s%s%s: %s", conn->address, conn->initiator[0] ? " " : "", conn->initiator, line);
}

void conn_shut(struct conn *conn)
{
    shutdown(conn->fd, SHUT_RDWR);
}

/* ---- tasks ---- */

struct task *task_new(struct conn *conn, const uint8_t bhs[BHS_BYTES])
{
    struct task *t;

    pthread_mutex_lock(&conn->lock);
    t = conn->free_tasks;
    if (t)
        conn->free_tasks = t->next;
    else if (conn->tasks < TASKS_MAX)
        t = calloc(1, sizeof *t);
    if (t)
        conn->tasks++;
    pthread_mutex_unlock(&conn->lock);
    if (!t)
        return NULL;
    *t = (struct task){.conn = conn, .data = t->data, .capacity = t->capacity};
    memcpy(t->bhs, bhs, BHS_BYTES);
    return t;
}

void task_free(struct task *t)
{
    struct conn *conn = t->conn;

    pthread_mutex_lock(&conn->lock);
    t->next = conn->free_tasks;
    conn->free_tasks = t;
    conn->tasks--;
    if (conn->closing)
        pthread_cond_broadcast(&conn->changed);
    pthread_mutex_unlock(&conn->lock);
}

int task_reserve(struct task *t, uint32_t bytes)
{
    uint32_t capacity = bytes > TASK_DATA_BYTES ? bytes : TASK_DATA_BYTES;
    uint8_t *data;

    if (t->data && t->capacity >= bytes)
        return 0;
    data = realloc(t->data, capacity);
    if (!data)
        return -1;
    t->data = data;
    t->capacity = capacity;
    return 0;
}

/* ---- answers ---- */

static void prepare(struct task *t, uint8_t opcode)
{
    memset(t->response, 0, sizeof t->response);
    t->response[0] = opcode;
    t->response[1] = ISCSI_FINAL;
    memcpy(t->response + 16, t->bhs + 16, 4); /* Initiator Task Tag */
}

/* RFC 7143 11.4.5: what the initiator expected and did not get, or the other way round */
static void set_residual(struct task *t, uint32_t transferred)
{
    if (transferred < t->expected) {
        t->response[1] |= 0x02;
        wire_put32(t->response + 44, t->expected - transferred);
    } else if (transferred > t->expected) {
        t->response[1] |= 0x04;
        wire_put32(t->response + 44, transferred - t->expected);
    }
}

void task_status(struct task *t, uint8_t status)
{
    prepare(t, ISCSI_SCSI_RESPONSE);
    t->response[3] = status;
    t->in_len = 0;
    set_residual(t, t->received);
    task_respond(t);
}

/* Fixed format, SPC-4 4.5.3, behind its length (RFC 7143 11.4.7). */
void task_sense(struct task *t, uint32_t sense)
{
    prepare(t, ISCSI_SCSI_RESPONSE);
    t->response[3] = CHECK_CONDITION;
    if (task_reserve(t, 20) == 0) {
        memset(t->data, 0, 20);
        t->data[1] = 18;
        t->data[2] = 0x70;
        t->data[2 + 2] = (uint8_t)(sense >> 16);
        t->data[2 + 7] = 10;
        t->data[2 + 12] = (uint8_t)(sense >> 8);
        t->data[2 + 13] = (uint8_t)sense;
        t->in_len = 20;
    }
    set_residual(t, t->received);
    task_respond(t);
}

void task_data_in(struct task *t, uint32_t len)
{
    if (t->expected == 0) {
        task_status(t, GOOD);
        return;
    }
    prepare(t, ISCSI_DATA_IN);
    t->is_data_in = true;
    t->status = GOOD;
    t->response[1] |= 0x01; /* with status */
    set_residual(t, len);
    t->in_len = len < t->expected ? len : t->expected;
    wire_put32(t->response + 20, ISCSI_NO_TAG);
    task_respond(t);
}

/* ---- the send queue ---- */

/* The header of the next PDU of `t`. All but the last are Data-In without status. */
static uint32_t next_pdu(const struct conn *conn, struct task *t, uint8_t bhs[BHS_BYTES])
{
    uint32_t left = t->in_len - t->sent;
    uint32_t len = t->is_data_in && left > conn->max_send ? conn->max_send : left;

    memcpy(bhs, t->response, BHS_BYTES);
    wire_put24(bhs + 5, len);
    if (!t->is_data_in)
        return len;
    wire_put32(bhs + 36, t->data_sn);
    wire_put32(bhs + 40, t->sent);
    if (len < left) {
        bhs[1] = 0;
        memset(bhs + 24, 0, 4); /* StatSN goes with the status */
        memset(bhs + 44, 0, 4);
    }
    return len;
}

/* Sends what the socket takes. 1: all of it, 0: it takes no more now, -1: broken */
static int send_task(struct conn *conn, struct task *t, int flags)
{
    static uint8_t zeros[4];

    for (;;) {
        uint8_t bhs[BHS_BYTES];
        uint32_t len = next_pdu(conn, t, bhs), total = BHS_BYTES + len + (-len & 3u);
        struct iovec iov[3] = {{bhs, BHS_BYTES}, {t->data + t->sent, len}, {zeros, -len & 3u}};
        struct msghdr msg = {.msg_iov = iov, .msg_iovlen = 3};
        uint32_t skip = t->pdu_sent;
        ssize_t n;

        for (int i = 0; i < 3; i++) {
            uint32_t s = skip < iov[i].iov_len ? skip : (uint32_t)iov[i].iov_len;

            iov[i].iov_base = (uint8_t *)iov[i].iov_base + s;
            iov[i].iov_len -= s;
            skip -= s;
        }
        n = sendmsg(conn->fd, &msg, flags | MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return errno == EAGAIN || errno == EWOULDBLOCK ? 0 : -1;
        t->pdu_sent += (uint32_t)n;
        if (t->pdu_sent < total)
            continue;
        t->pdu_sent = 0;
        t->sent += len;
        t->data_sn++;
        if (t->sent >= t->in_len)
            return 1;
    }
}

/* With the lock, as the only sender; lets go of the lock while it sends. */
static void send_queue(struct conn *conn, int flags)
{
    while (conn->send_head && !conn->closing) {
        struct task *t = conn->send_head;
        int result;

        pthread_mutex_unlock(&conn->lock);
        result = send_task(conn, t, flags);
        pthread_mutex_lock(&conn->lock);
        if (result == 0)
            return;
        if (result < 0) {
            conn->closing = true;
            return;
        }
        conn->send_head = t->next;
        if (!conn->send_head)
            conn->send_tail = &conn->send_head;
        if (t->last_of_connection)
            shutdown(conn->fd, SHUT_RDWR);
        t->next = conn->free_tasks;
        conn->free_tasks = t;
        conn->tasks--;
    }
}

void task_respond(struct task *t)
{
    struct conn *conn = t->conn;

    pthread_mutex_lock(&conn->lock);
    if (t->ends_here)
        conn->max_cmd_sn++;
    if (t->response[0] != ISCSI_R2T)
        wire_put32(t->response + 24, conn->stat_sn++);
    else
        wire_put32(t->response + 24, conn->stat_sn);
    wire_put32(t->response + 28, conn->shown_cmd_sn);
    wire_put32(t->response + 32, conn->max_cmd_sn);
    t->next = NULL;
    *conn->send_tail = t;
    conn->send_tail = &t->next;
    if (!conn->sending) {
        conn->sending = true;
        send_queue(conn, MSG_DONTWAIT);
        conn->sending = false;
    }
    if (conn->send_head || conn->closing) /* work for the writer, or the end waits for us */
        pthread_cond_broadcast(&conn->changed);
    pthread_mutex_unlock(&conn->lock);
}

static void *writer(void *arg)
{
    struct conn *conn = arg;

    pthread_mutex_lock(&conn->lock);
    while (!conn->closing) {
        if (conn->send_head && !conn->sending) {
            conn->sending = true;
            send_queue(conn, 0);
            conn->sending = false;
        } else {
            pthread_cond_wait(&conn->changed, &conn->lock);
        }
    }
    pthread_mutex_unlock(&conn->lock);
    return NULL;
}

/* ---- the life of a connection ---- */

static void serve_pdus(struct conn *conn)
{
    uint8_t bhs[BHS_BYTES];
    uint32_t data_len;

    while (pdu_read_header(conn, bhs, &data_len) == 0)
        if (command_pdu(conn, bhs, data_len) != 0)
            return;
}

static void free_list(struct task *t)
{
    while (t) {
        struct task *next = t->next;

        free(t->data);
        free(t);
        t = next;
    }
}

/* The reader has ended: nothing new comes; what runs ends; then all is freed. */
static void wind_up(struct conn *conn)
{
    conn_shut(conn);
    while (conn->pending) {
        struct task *t = conn->pending;

        conn->pending = t->next;
        task_free(t);
    }
    sealed_end(conn);
    pthread_mutex_lock(&conn->lock);
    conn->closing = true;
    pthread_cond_broadcast(&conn->changed);
    pthread_mutex_unlock(&conn->lock);
    pthread_join(conn->writer, NULL);
    pthread_mutex_lock(&conn->lock);
    for (;;) {
        unsigned queued = 0;

        for (struct task *t = conn->send_head; t; t = t->next)
            queued++;
        if (conn->tasks == queued && !conn->sending)
            break;
        pthread_cond_wait(&conn->changed, &conn->lock);
    }
    pthread_mutex_unlock(&conn->lock);
    free_list(conn->send_head);
    free_list(conn->free_tasks);
}

static void *reader(void *arg)
{
    struct conn *conn = arg;
    uint8_t bhs[BHS_BYTES];

    if (login(conn, bhs) == 0) {
        if (!conn->discovery)
            conn_log(conn, "logged in");
        serve_pdus(conn);
        if (!conn->discovery)
            conn_log(conn, "session ended");
    }
    wind_up(conn);
    pthread_mutex_lock(&all.lock);
    g_ptr_array_remove_fast(all.list, conn);
    close(conn->fd);
    pthread_cond_destroy(&conn->changed);
    pthread_mutex_destroy(&conn->lock);
    free(conn);
    pthread_cond_signal(&all.empty);
    pthread_mutex_unlock(&all.lock);
    return NULL;
}

static int start(struct conn *conn)
{
    pthread_attr_t attr;
    pthread_t thread;
    int error = pthread_create(&conn->writer, NULL, writer, conn);

    if (error)
        return error;
    pthread_attr_init(&attr);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    error = pthread_create(&thread, &attr, reader, conn);
    pthread_attr_destroy(&attr);
    if (error) {
        pthread_mutex_lock(&conn->lock);
        conn->closing = true;
        pthread_cond_broadcast(&conn->changed);
        pthread_mutex_unlock(&conn->lock);
        pthread_join(conn->writer, NULL);
    }
    return error;
}

void conn_serve(struct target *target, int fd, const char *address)
{
    struct conn *conn = calloc(1, sizeof *conn);
    const int one = 1;
    int error = ENOMEM;

    if (conn) {
        conn->target = target;
        conn->fd = fd;
        conn->max_send = 8192; /* RFC 7143 13.12 */
        conn->login_deadline_us = (uint64_t)g_get_monotonic_time() + LOGIN_TIMEOUT_US;
        conn->send_tail = &conn->send_head;
        snprintf(conn->address, sizeof conn->address, "%s", address);
        pthread_mutex_init(&conn->lock, NULL);
        pthread_cond_init(&conn->changed, NULL);
        (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one); /* slower without, not wrong */
        (void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof one);
        pthread_mutex_lock(&all.lock);
        if (!all.list)
            all.list = g_ptr_array_new();
        g_ptr_array_add(all.list, conn);
        error = all.closing ? ECANCELED : start(conn);
        if (error)
            g_ptr_array_remove_fast(all.list, conn);
        pthread_mutex_unlock(&all.lock);
        if (!error)
            return;
        pthread_cond_destroy(&conn->changed);
        pthread_mutex_destroy(&conn->lock);
    }
    free(conn);
    close(fd);
    target_log("%s: not served: %s", address, strerror(error));
}

void conn_close_all(void)
{
    pthread_mutex_lock(&all.lock);
    all.closing = true;
    for (unsigned i = 0; all.list && i < all.list->len; i++)
        conn_shut(g_ptr_array_index(all.list, i));
    while (all.list && all.list->len > 0)
        pthread_cond_wait(&all.empty, &all.lock);
    if (all.list)
        g_ptr_array_free(all.list, TRUE);
    all.list = NULL;
    pthread_mutex_unlock(&all.lock);
}
