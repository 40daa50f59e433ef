// SPDX-License-Identifier: LGPL-2.1-or-later
/* A connection's life, its pool of tasks, its log: conn.h. What it reads is in receive.c. */
#include "conn.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "clock.h"
#include "log.h"
#include "login.h"
#include "nexuses.h"
#include "serve.h"

#define TASKS_ASIDE 64 /* beside those in the window: answered, and wait to be sent */
#define LOGIN_US 15000000
#define LEAVE_US 5000000 /* for answers that the peer does not take */
#define RARELY_US 1000000

struct own_response {
    struct response response;
    struct conn *conn;
    size_t bytes; /* of all of it, in the session's account; 0: it is too small to count */
    uint8_t data[];
};

/* ---- log ---- */

/* INITIATOR (ADDRESS), session ISID/TSIH, LUN LABEL: text */
static void log_about(const struct conn *conn, unsigned lun, const char *text)
{
    const struct target_settings *target = config_named(conn->config, conn->target_name);
    const char *label = target && target->label ? target->label : "";
    const uint8_t *i = conn->isid;
    char session[48] = "", where[128] = "";

    if (conn->tsih)
        snprintf(session, sizeof session, ", session %02x%02x%02x%02x%02x%02x/%u", i[0], i[1], i[2],
                 i[3], i[4], i[5], conn->tsih);
    if (lun)
        snprintf(where, sizeof where, ", LUN %s%s%u", label, label[0] ? "/" : "", lun);
    log_line("%s%s%s%s%s%s: %s", conn->initiator, conn->initiator[0] ? " (" : "", conn->address,
             conn->initiator[0] ? ")" : "", session, where, text);
}

void conn_log(struct conn *conn, unsigned lun, const char *format, ...)
{
    char text[512];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    log_about(conn, lun, text);
}

static void log_rarely(struct conn *conn, unsigned lun, const char *before, const char *format,
                       va_list args)
{
    g_autofree char *what = NULL, *text = NULL;
    uint64_t now = now_us();
    unsigned unlogged;
    bool quiet;

    pthread_mutex_lock(&conn->lock);
    quiet = now < conn->next_rare_us;
    conn->unlogged += quiet;
    unlogged = conn->unlogged;
    if (!quiet) {
        conn->unlogged = 0;
        conn->next_rare_us = now + RARELY_US;
    }
    pthread_mutex_unlock(&conn->lock);
    if (quiet)
        return;
    what = g_strdup_vprintf(format, args);
    text = unlogged ? g_strdup_printf("%s%s (and %u more lines)", before, what, unlogged)
                    : g_strconcat(before, what, NULL);
    log_about(conn, lun, text);
}

void conn_log_rarely(struct conn *conn, unsigned lun, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    log_rarely(conn, lun, "", format, args);
    va_end(args);
}

void conn_log_security(struct conn *conn, unsigned lun, const char *format, ...)
{
    va_list args;

    atomic_fetch_add(&conn->target->security_events, 1);
    va_start(args, format);
    log_rarely(conn, lun, "security: ", format, args);
    va_end(args);
}

bool conn_protocol_error(struct conn *conn, const char *what)
{
    conn_log_security(conn, 0, "connection closed: %s", what);
    return false;
}

/* ---- tasks and responses ---- */

static void release(struct conn *conn)
{
    pthread_mutex_lock(&conn->lock);
    conn->alive--;
    pthread_cond_broadcast(&conn->changed);
    pthread_mutex_unlock(&conn->lock);
}

static void own_response_done(struct response *response)
{
    struct own_response *own = (struct own_response *)response;
    struct conn *conn = own->conn;

    if (own->bytes)
        memory_give(conn->target->memory, &conn->memory, (uint8_t *)own, own->bytes);
    else
        free(own);
    release(conn);
}

/* With much data (an echo) it is accounted for; text and lesser things are not. */
static struct own_response *allocate(struct conn *conn, uint32_t data_bytes)
{
    size_t bytes = sizeof(struct own_response) + data_bytes;
    size_t pages = (bytes + TASK_DATA_OFFSET - 1) / TASK_DATA_OFFSET * TASK_DATA_OFFSET;
    bool counts = data_bytes > TEXT_BYTES_MAX;
    struct own_response *own =
        counts ? (struct own_response *)memory_take(conn->target->memory, &conn->memory, pages)
               : malloc(bytes);

    if (!own)
        return NULL;
    memset(own, 0, sizeof *own);
    own->bytes = counts ? pages : 0;
    return own;
}

struct response *conn_response(struct conn *conn, uint8_t opcode, uint32_t itt, uint32_t data_bytes)
{
    struct own_response *own = allocate(conn, data_bytes);

    if (!own)
        return NULL;
    own->conn = conn;
    own->response.bhs[BHS_OPCODE] = opcode;
    own->response.bhs[BHS_FLAGS] = PDU_FINAL;
    wire_put32(own->response.bhs + BHS_ITT, itt);
    own->response.data = own->data;
    own->response.bytes = data_bytes;
    own->response.numbered = true;
    own->response.done = own_response_done;
    pthread_mutex_lock(&conn->lock);
    conn->alive++;
    pthread_mutex_unlock(&conn->lock);
    return &own->response;
}

void conn_discard(struct response *response)
{
    own_response_done(response);
}

void conn_send(struct conn *conn, struct response *response)
{
    sender_send(&conn->sender, response);
}

bool conn_reject(struct conn *conn, const uint8_t *bhs, enum pdu_reject reason)
{
    struct response *r = conn_response(conn, PDU_REJECT, PDU_NO_TAG, PDU_BHS_BYTES);

    if (!r)
        return conn_protocol_error(conn, "out of memory");
    r->bhs[BHS_RESPONSE] = (uint8_t)reason;
    memcpy((void *)r->data, bhs, PDU_BHS_BYTES);
    conn_send(conn, r);
    return true;
}

struct task *conn_take_task(struct conn *conn)
{
    struct task *task;

    pthread_mutex_lock(&conn->lock);
    while (conn->busy >= conn->config->window + TASKS_ASIDE)
        pthread_cond_wait(&conn->changed, &conn->lock);
    task = TAILQ_FIRST(&conn->free);
    if (task)
        TAILQ_REMOVE(&conn->free, task, link);
    conn->busy++;
    conn->alive++;
    pthread_mutex_unlock(&conn->lock);
    if (!task)
        task = calloc(1, sizeof *task);
    if (task) {
        memset(task, 0, sizeof *task);
        task->conn = conn;
        return task;
    }
    pthread_mutex_lock(&conn->lock);
    conn->busy--;
    conn->alive--;
    pthread_mutex_unlock(&conn->lock);
    return NULL;
}

void conn_started(struct conn *conn, struct task *task)
{
    pthread_mutex_lock(&conn->lock);
    task->running = true;
    TAILQ_INSERT_TAIL(&conn->running, task, link);
    pthread_mutex_unlock(&conn->lock);
}

static bool is_running(const struct conn *conn, bool (*which)(const struct task *, const void *),
                       const void *argument)
{
    const struct task *task;

    TAILQ_FOREACH(task, &conn->running, link)
    if (!task->parked && which(task, argument))
        return true;
    return false;
}

bool conn_wait_for(struct conn *conn, bool (*which)(const struct task *, const void *),
                   const void *argument)
{
    bool found;

    pthread_mutex_lock(&conn->lock);
    found = is_running(conn, which, argument);
    while (is_running(conn, which, argument))
        pthread_cond_wait(&conn->changed, &conn->lock);
    pthread_mutex_unlock(&conn->lock);
    return found;
}

void conn_give_task(struct conn *conn, struct task *task)
{
    task_release_buffer(task);
    pthread_mutex_lock(&conn->lock);
    if (task->running)
        TAILQ_REMOVE(&conn->running, task, link);
    if (!task->parked)
        conn->busy--;
    TAILQ_INSERT_HEAD(&conn->free, task, link); /* the one whose memory is warm */
    conn->alive--;
    pthread_cond_broadcast(&conn->changed);
    pthread_mutex_unlock(&conn->lock);
}

void conn_park_task(struct conn *conn, struct task *task, bool parked)
{
    pthread_mutex_lock(&conn->lock);
    task->parked = parked;
    conn->busy += parked ? -1u : 1u;
    pthread_cond_broadcast(&conn->changed);
    pthread_mutex_unlock(&conn->lock);
}

/* ---- life ---- */

struct conn *conn_new(struct target *target, struct portal *portal, int fd, const char *address,
                      const char *local)
{
    struct conn *conn = calloc(1, sizeof *conn);

    if (!conn)
        return NULL;
    conn->target = target;
    conn->config = target_config(target);
    conn->portal = portal;
    conn->fd = fd;
    snprintf(conn->address, sizeof conn->address, "%s", address);
    snprintf(conn->local, sizeof conn->local, "%s", local);
    text_defaults(&conn->parameters);
    TAILQ_INIT(&conn->collecting);
    TAILQ_INIT(&conn->running);
    TAILQ_INIT(&conn->free);
    pthread_mutex_init(&conn->lock, NULL);
    cond_init(&conn->changed);
    if (sender_start(&conn->sender, fd) == 0)
        return conn;
    config_unref(conn->config);
    pthread_cond_destroy(&conn->changed);
    pthread_mutex_destroy(&conn->lock);
    free(conn);
    return NULL;
}

/* What executes ends by itself; what is to be sent may need to be dropped. */
static void wait_for_the_rest(struct conn *conn)
{
    uint64_t deadline = now_us() + LEAVE_US;
    bool killed = false;

    pthread_mutex_lock(&conn->lock);
    while (conn->alive > 0) {
        if (killed) {
            pthread_cond_wait(&conn->changed, &conn->lock);
        } else if (now_us() < deadline) {
            cond_wait_until(&conn->changed, &conn->lock, deadline);
        } else {
            pthread_mutex_unlock(&conn->lock);
            sender_kill(&conn->sender);
            killed = true;
            pthread_mutex_lock(&conn->lock);
        }
    }
    pthread_mutex_unlock(&conn->lock);
}

void conn_run(struct conn *conn)
{
    struct task *task;

    conn->deadline_us = now_us() + LOGIN_US;
    if (login_run(conn)) {
        conn->deadline_us = 0;
        serve_run(conn);
    }
    nexus_end_session(conn);
    while ((task = TAILQ_FIRST(&conn->collecting))) {
        TAILQ_REMOVE(&conn->collecting, task, link);
        task_drop(task);
    }
    wait_for_the_rest(conn);
    nexus_release_all(conn);
    if (conn->logged_in)
        conn_log(conn, 0, "session ended");
}

/* RFC 7143, 11.9. Where memory is missing it has to do without. */
void conn_ask_to_leave(struct conn *conn, uint16_t seconds)
{
    struct response *r = conn_response(conn, PDU_ASYNC_MESSAGE, PDU_NO_TAG, 0);

    if (!r)
        return;
    r->bhs[BHS_ASYNC_EVENT] = PDU_EVENT_LOGOUT;
    wire_put16(r->bhs + BHS_PARAMETER_3, seconds);
    conn_send(conn, r);
}

bool conn_is_welcome(const struct conn *conn, const struct config *config)
{
    const struct user *user = conn->user ? config_user(config, conn->user->name) : NULL;

    if (!conn->discovery && !config_named(config, conn->target_name))
        return false;
    return !conn->user || (user && strcmp(user->password, conn->user->password) == 0 &&
                           g_strcmp0(user->target_password, conn->user->target_password) == 0);
}

struct sense conn_take_luns_changed(struct conn *conn)
{
    return atomic_exchange(&conn->luns_changed, false) ? SENSE_LUNS_CHANGED : SENSE_NONE;
}

void conn_end(struct conn *conn)
{
    atomic_store(&conn->ending, true);
    shutdown(conn->fd, SHUT_RD);
}

void conn_free(struct conn *conn)
{
    struct task *task;

    sender_stop(&conn->sender);
    close(conn->fd);
    free(conn->negotiation);
    while ((task = TAILQ_FIRST(&conn->free))) {
        TAILQ_REMOVE(&conn->free, task, link);
        free(task);
    }
    config_unref(conn->config);
    pthread_cond_destroy(&conn->changed);
    pthread_mutex_destroy(&conn->lock);
    free(conn);
}
