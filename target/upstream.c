// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Sessions to an upstream LUN: upstream.h.
 *
 *   BROKEN    how it begins, or a session was lost, or the disk reset: what is
 *             in flight comes back, all sessions end, then OPENING
 *   OPENING   the keeper logs in and looks at the disk; nobody else sends
 *   THERE     commands are sent
 *
 * A command is a call: on the stack of who waits for it, with a slot of the
 * sessions while it is in flight.
 */
#include "upstream.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/stat.h>
#include <unistd.h>

#include "clock.h"
#include "log.h"
#include "portals.h"
#include "session.h"
#include "task.h"

#define SESSIONS 4
#define CALLS_MAX (UPSTREAM_WORKERS + 16) /* at once; sessions and flushes have threads of their own */
#define WAIT_US 20000000    /* less than the 30 s after which initiators lose their patience */
#define WAIT_LEAST_US 500000
#define ANSWER_US 30000000  /* then the target is hung */
#define FLUSH_US 180000000  /* the same for what a cache holds */
#define GIVE_UP_US 30000000 /* the same once we are to end */
#define CONNECT_US 5000000
#define AGAIN_US 500000     /* between two attempts to log in; twice as long each time, up to */
#define AGAIN_MOST_US 4000000
#define PAUSE_US 50000      /* before a command that was not executed is sent again */
#define WATCH_US 1000000
#define CONFLICT_US 60000000 /* between two lines about it */
#define READY_ATTEMPTS 40    /* unit attentions, and a disk that is still starting */
#define PASSWORD_BYTES_MAX 255
#define PASSWORD_ROOM (PASSWORD_BYTES_MAX + 2) /* one byte too many, to see that, and a zero */

struct call {
    TAILQ_ENTRY(call) link; /* in flight */
    struct upstream *upstream;
    struct slot *slot;
    uint64_t ends_us;
    bool done;
    pthread_cond_t answered;
};
TAILQ_HEAD(call_list, call);

struct upstream {
    char *name, *url; /* without the user */
    char *user;       /* of CHAP; NULL: none */
    char *initiator;
    unsigned isid;
    struct upstream_events events;
    struct portals *portals;
    struct slots *slots;
    pthread_t keeper;
    atomic_bool giving_up;

    pthread_mutex_t lock; /* guards everything that follows */
    pthread_cond_t changed;
    enum { BROKEN, OPENING, THERE } state;
    bool ending;
    char *password_file; /* NULL: none */
    uint64_t away_us;    /* since when, where it is not there */
    uint64_t given_up_us;
    struct session *sessions[SESSIONS];
    unsigned opened, live; /* of them: session_open, and not lost */
    unsigned turn, portal;
    struct slot *free[CALLS_MAX];
    unsigned free_count;
    struct call_list in_flight;
    uint64_t next_conflict_us;
    unsigned attempts, opens;    /* to open it, and how many succeeded */
    uint64_t again_us;           /* until the next one */
    char why[BACKEND_WHY_BYTES]; /* what was wrong last; "": nothing yet */
};

/* ---- losses (lock held) ---- */

static void note(struct upstream *u, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void note(struct upstream *u, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(u->why, sizeof u->why, format, args);
    va_end(args);
    log_line("%s: %s: %s; trying again", u->name, u->url, u->why);
}

static void break_off(struct upstream *u)
{
    if (u->state == BROKEN)
        return;
    if (u->state == THERE) {
        u->events.lost(u->events.opaque);
        u->away_us = now_us();
    }
    u->state = BROKEN;
    for (unsigned i = 0; i < u->opened; i++)
        session_abandon(u->sessions[i]);
    pthread_cond_broadcast(&u->changed);
}

static void session_lost(void *opaque, const char *why)
{
    struct upstream *u = opaque;

    pthread_mutex_lock(&u->lock);
    u->live--;
    if (u->state == THERE)
        note(u, "the connection is lost: %s", why);
    break_off(u);
    pthread_cond_broadcast(&u->changed);
    pthread_mutex_unlock(&u->lock);
}

/* SPC-4, annex F: after 29h or 28h what is in a cache may be gone. */
static bool is_reset(const struct slot *slot)
{
    uint8_t asc = (uint8_t)(slot->ascq >> 8);

    return slot->status == SLOT_CHECK && slot->sense_key == 0x06 && (asc == 0x29 || asc == 0x28);
}

/* ---- one command ---- */

/* By a session's thread: so a reset is known before the answer to any later command is. */
static void answered(struct slot *slot)
{
    struct call *call = slot->owner;
    struct upstream *u = call->upstream;

    pthread_mutex_lock(&u->lock);
    if (u->state == THERE && is_reset(slot)) {
        note(u, "was reset (%02Xh/%02Xh)", slot->ascq >> 8, slot->ascq & 0xff);
        break_off(u);
    }
    TAILQ_REMOVE(&u->in_flight, call, link);
    call->done = true;
    pthread_cond_signal(&call->answered);
    pthread_mutex_unlock(&u->lock);
}

static bool is_flush(const struct upstream_command *command)
{
    return command->cdb[0] == 0x35 || command->cdb[0] == 0x91;
}

/* Lock held, and let go of meanwhile. */
static void send_and_wait(struct upstream *u, struct session *session,
                          const struct upstream_command *command, struct slot *slot)
{
    struct call call = {.upstream = u, .slot = slot};

    pthread_cond_init(&call.answered, NULL);
    call.ends_us = now_us() + (is_flush(command) ? FLUSH_US : ANSWER_US);
    memcpy(slot->cdb, command->cdb, sizeof slot->cdb);
    slot->cdb_bytes = command->cdb[0] < 0x20 ? 6 : command->cdb[0] < 0x60 ? 10 : 16;
    slot->out = command->out;
    slot->bytes = command->bytes;
    slot->data = command->data;
    slot->complete = answered;
    slot->owner = &call;
    TAILQ_INSERT_TAIL(&u->in_flight, &call, link);
    session_submit(session, slot);
    while (!call.done)
        pthread_cond_wait(&call.answered, &u->lock);
    pthread_cond_destroy(&call.answered);
}

/* Lock held. */
static void log_conflict(struct upstream *u)
{
    if (now_us() < u->next_conflict_us)
        return;
    u->next_conflict_us = now_us() + CONFLICT_US;
    log_line("%s: %s: reservation conflict: another initiator has reserved it", u->name, u->url);
}

static int error_of_sense(const struct slot *slot)
{
    switch (slot->sense_key) {
    case 0x01: /* RECOVERED ERROR */
        return 0;
    case 0x02: /* NOT READY */
    case 0x06: /* UNIT ATTENTION */
    case 0x0b: /* ABORTED COMMAND */
        return -EAGAIN;
    case 0x03: /* MEDIUM ERROR */
        return -EIO;
    case 0x05: /* ILLEGAL REQUEST */
        return -EOPNOTSUPP;
    case 0x07: /* DATA PROTECT */
        if (slot->ascq == 0x2707)
            return -ENOSPC;
        return slot->ascq >> 8 == 0x27 ? -EROFS : -EREMOTEIO;
    default:
        return -EREMOTEIO;
    }
}

/* Lock held. */
static int error_of(struct upstream *u, const struct slot *slot)
{
    switch (slot->status) {
    case SLOT_GOOD:
        return 0;
    case SLOT_CHECK:
        break;
    default:
        return -EAGAIN;
    }
    switch (slot->scsi_status) {
    case SCSI_CHECK_CONDITION:
        return error_of_sense(slot);
    case SCSI_RESERVATION_CONFLICT:
        log_conflict(u);
        return -EBUSY;
    case SCSI_TASK_ABORTED:
        return -EAGAIN;
    default:
        return -EREMOTEIO;
    }
}

/* Lock held. A slot has to be free. */
static int attempt(struct upstream *u, struct session *session, struct upstream_command *command)
{
    struct slot *slot = u->free[--u->free_count];
    bool wanted;
    int error;

    send_and_wait(u, session, command, slot);
    error = error_of(u, slot);
    command->missing = slot->missing;
    wanted = u->free_count == 0 || u->state == BROKEN;
    u->free[u->free_count++] = slot;
    if (wanted)
        pthread_cond_broadcast(&u->changed);
    return error;
}

/* Lock held, and let go of meanwhile. False: it is not there in time. */
static bool wait_until_there(struct upstream *u, uint64_t until_us)
{
    while (u->state != THERE || u->free_count == 0) {
        if (now_us() >= until_us || (u->giving_up && u->state != THERE))
            return false;
        cond_wait_until(&u->changed, &u->lock, until_us);
    }
    return true;
}

/* Until when a command waits. Who comes late may have stood in a queue behind others who waited. */
static uint64_t patience(const struct upstream *u)
{
    uint64_t now = now_us();

    if (u->state == THERE)
        return now + WAIT_US;
    return u->away_us + WAIT_US > now + WAIT_LEAST_US ? u->away_us + WAIT_US : now + WAIT_LEAST_US;
}

int upstream_run(struct upstream *u, struct upstream_command *command)
{
    int error = -EAGAIN;
    uint64_t until_us;

    pthread_mutex_lock(&u->lock);
    until_us = patience(u);
    while (error == -EAGAIN && now_us() < until_us && wait_until_there(u, until_us)) {
        error = attempt(u, u->sessions[u->turn++ % SESSIONS], command);
        if (error != -EAGAIN || command->once || u->giving_up)
            break;
        if (u->state == THERE)
            cond_wait_until(&u->changed, &u->lock, now_us() + PAUSE_US);
    }
    pthread_mutex_unlock(&u->lock);
    return error;
}

int upstream_ask(struct upstream *u, struct upstream_command *command)
{
    int error = -EAGAIN;

    pthread_mutex_lock(&u->lock);
    for (unsigned i = 0; i < READY_ATTEMPTS && error == -EAGAIN && u->state == OPENING; i++) {
        if (i > 2)
            cond_wait_until(&u->changed, &u->lock, now_us() + PAUSE_US);
        error = attempt(u, u->sessions[u->opened - 1], command);
    }
    pthread_mutex_unlock(&u->lock);
    return error;
}

/* ---- the password ---- */

static int read_password(const char *path, char password[PASSWORD_ROOM], char *message, size_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, password, PASSWORD_ROOM - 1);
    struct stat st;
    int result = -1;

    password[n < 0 ? 0 : n] = 0;
    password[strcspn(password, "\r\n")] = 0;
    if (n < 0 || fstat(fd, &st) != 0)
        snprintf(message, size, "%s: %s", path, strerror(errno));
    else if (st.st_mode & 077)
        snprintf(message, size, "%s: others may read this password; chmod 600 it", path);
    else if (!password[0] || strlen(password) > PASSWORD_BYTES_MAX)
        snprintf(message, size, "%s: a password of 1 to %d bytes has to be its first line", path,
                 PASSWORD_BYTES_MAX);
    else
        result = 0;
    if (fd >= 0)
        close(fd);
    return result;
}

/* As it is now: it may be changed meanwhile. "" where there is none. */
static int current_password(struct upstream *u, char password[PASSWORD_ROOM], char *message,
                            size_t size)
{
    char *path = NULL;
    bool wanted;
    int result = 0;

    password[0] = 0;
    pthread_mutex_lock(&u->lock);
    wanted = u->password_file != NULL;
    if (wanted)
        path = strdup(u->password_file);
    pthread_mutex_unlock(&u->lock);
    if (path)
        result = read_password(path, password, message, size);
    else if (wanted)
        result = -1;
    free(path);
    return result;
}

/* ---- opening and closing ---- */

static int open_session(struct upstream *u, unsigned number, const char *password, char *message,
                        size_t size)
{
    char portal[PORTAL_BYTES];
    const struct session_login login = {
        .portal = portal,
        .target = portals_target(u->portals),
        .lun = portals_lun(u->portals),
        .initiator_name = u->initiator,
        .user = u->user,
        .password = u->user ? password : NULL,
        .isid = u->isid,
        .number = number,
        .connect_us = CONNECT_US,
        .url = u->url,
        .give_up = &u->giving_up,
    };
    struct session *session;
    bool broken;

    portals_address(u->portals, u->portal, portal);
    pthread_mutex_lock(&u->lock);
    u->live++; /* before it can be lost */
    pthread_mutex_unlock(&u->lock);
    session = session_open(&login, session_lost, u, message, size);
    pthread_mutex_lock(&u->lock);
    broken = u->state == BROKEN; /* another one, meanwhile */
    if (!session)
        u->live--;
    else
        u->sessions[u->opened++] = session;
    if (session && broken) {
        session_abandon(session);
        snprintf(message, size, "%s: the connection was lost again", u->url);
    }
    pthread_mutex_unlock(&u->lock);
    return session && !broken ? 0 : -1;
}

/* Each session begins with a unit attention. */
static int make_ready(struct upstream *u, char *message, size_t size)
{
    struct upstream_command test_unit_ready = {.cdb = {0x00}};
    int error = upstream_ask(u, &test_unit_ready);

    if (error)
        snprintf(message, size, "%s: is not ready: %s", u->url,
                 error == -EBUSY        ? "another initiator has reserved it"
                 : error == -EOPNOTSUPP ? "there is no such LUN"
                                        : strerror(-error));
    return error;
}

static int open_sessions(struct upstream *u, char *message, size_t size)
{
    char password[PASSWORD_ROOM];
    int result = current_password(u, password, message, size);

    for (unsigned i = 0; i < SESSIONS && result == 0; i++)
        if (open_session(u, i, password, message, size) != 0 || make_ready(u, message, size) != 0)
            result = -1;
    explicit_bzero(password, sizeof password);
    return result;
}

static int open_all(struct upstream *u, char *message, size_t size)
{
    char what[256];

    if (portals_resolve(u->portals, message, size) != 0 || open_sessions(u, message, size) != 0)
        return -1;
    if (u->events.opened(u->events.opaque, u, what, sizeof what) == 0)
        return 0;
    snprintf(message, size, "%s: %s", u->url, what);
    return -1;
}

/* Without the lock. What is in flight of lost sessions has come back. */
static void close_all(struct upstream *u)
{
    pthread_mutex_lock(&u->lock);
    while (u->state == BROKEN && (u->live > 0 || !TAILQ_EMPTY(&u->in_flight)))
        pthread_cond_wait(&u->changed, &u->lock);
    u->state = BROKEN; /* if one is lost now, that is no news */
    pthread_mutex_unlock(&u->lock);
    for (unsigned i = 0; i < u->opened; i++)
        session_close(u->sessions[i]);
    pthread_mutex_lock(&u->lock);
    u->opened = u->live = 0;
    pthread_mutex_unlock(&u->lock);
}

/* ---- the keeper ---- */

/* Lock held. Whoever does not answer for so long is as good as lost. */
static void watch(struct upstream *u)
{
    uint64_t now = now_us(), given_up_us = u->given_up_us ? u->given_up_us + GIVE_UP_US : UINT64_MAX;
    struct call *call;

    TAILQ_FOREACH(call, &u->in_flight, link)
    if (now >= call->ends_us || now >= given_up_us)
        break;
    if (!call)
        return;
    note(u, "does not answer");
    break_off(u);
}

/* Lock held. The same is said once only. */
static void complain(struct upstream *u, const char *message)
{
    if (strcmp(message, u->why) == 0)
        return;
    snprintf(u->why, sizeof u->why, "%s", message);
    log_line("%s: %s; trying again", u->name, message);
}

/* Without the lock. */
static void come(struct upstream *u)
{
    char message[BACKEND_WHY_BYTES] = "out of memory";
    bool good;

    close_all(u);
    pthread_mutex_lock(&u->lock);
    u->state = OPENING;
    pthread_mutex_unlock(&u->lock);
    good = open_all(u, message, sizeof message) == 0;
    pthread_mutex_lock(&u->lock);
    u->attempts++;
    pthread_cond_broadcast(&u->changed);
    if (good && u->state == OPENING) {
        u->state = THERE;
        u->again_us = AGAIN_US;
        log_line("%s: %s: is there%s", u->name, u->url, u->opens++ > 0 ? " again" : "");
    } else {
        if (!u->ending && !good)
            complain(u, message);
        break_off(u);
        u->portal++;
        if (!u->giving_up)
            cond_wait_until(&u->changed, &u->lock, now_us() + u->again_us);
        u->again_us = u->again_us * 2 < AGAIN_MOST_US ? u->again_us * 2 : AGAIN_MOST_US;
    }
    pthread_mutex_unlock(&u->lock);
}

static void *keep(void *opaque)
{
    struct upstream *u = opaque;

    pthread_mutex_lock(&u->lock);
    while (!u->ending) {
        if (u->state == THERE) {
            cond_wait_until(&u->changed, &u->lock, now_us() + WATCH_US);
            watch(u);
        } else if (u->giving_up) {
            pthread_cond_wait(&u->changed, &u->lock);
        } else {
            pthread_mutex_unlock(&u->lock);
            come(u);
            pthread_mutex_lock(&u->lock);
        }
    }
    pthread_mutex_unlock(&u->lock);
    return NULL;
}

/* ---- life ---- */

void upstream_use_password(struct upstream *u, const char *path)
{
    char *copy = path ? strdup(path) : NULL;

    if (path && !copy)
        return; /* as before */
    pthread_mutex_lock(&u->lock);
    free(u->password_file);
    u->password_file = copy;
    pthread_mutex_unlock(&u->lock);
}

/* USER@ before the host, and what follows without it. */
static int take_url(struct upstream *u, const struct upstream_settings *settings, char *message,
                    size_t size)
{
    const char *rest = settings->url + strlen(UPSTREAM_SCHEME), *at = strchr(rest, '@');

    u->portals = portals_new(settings->url, message, size);
    if (!u->portals)
        return -1;
    if (at)
        u->user = strndup(rest, (size_t)(at - rest));
    if (asprintf(&u->url, UPSTREAM_SCHEME "%s", at ? at + 1 : rest) < 0)
        u->url = NULL;
    return u->url && (u->user || !at) ? 0 : -1;
}

static int take_settings(struct upstream *u, const struct upstream_settings *settings,
                         char *message, size_t size)
{
    char password[PASSWORD_ROOM];
    int result;

    snprintf(message, size, "%s: out of memory", settings->name);
    u->name = strdup(settings->name);
    upstream_use_password(u, settings->password_file);
    u->initiator = strdup(settings->initiator);
    u->isid = settings->isid;
    u->slots = slots_new(CALLS_MAX);
    if (!u->name || !u->initiator || !u->slots || !u->password_file != !settings->password_file ||
        take_url(u, settings, message, size) != 0)
        return -1;
    for (unsigned i = 0; i < CALLS_MAX; i++)
        u->free[u->free_count++] = slots_get(u->slots, i);
    result = current_password(u, password, message, size);
    explicit_bzero(password, sizeof password);
    return result;
}

static void destroy(struct upstream *u)
{
    if (u->slots)
        slots_free(u->slots);
    portals_free(u->portals);
    pthread_cond_destroy(&u->changed);
    pthread_mutex_destroy(&u->lock);
    free(u->name);
    free(u->url);
    free(u->user);
    free(u->password_file);
    free(u->initiator);
    free(u);
}

struct upstream *upstream_open(const struct upstream_settings *settings,
                               const struct upstream_events *events, char *message, size_t size)
{
    struct upstream *u = calloc(1, sizeof *u);

    if (!u) {
        snprintf(message, size, "%s: out of memory", settings->name);
        return NULL;
    }
    u->events = *events;
    u->away_us = now_us();
    u->again_us = AGAIN_US;
    pthread_mutex_init(&u->lock, NULL);
    cond_init(&u->changed);
    TAILQ_INIT(&u->in_flight);
    if (take_settings(u, settings, message, size) == 0) {
        if (pthread_create(&u->keeper, NULL, keep, u) == 0)
            return u;
        snprintf(message, size, "%s: out of threads", u->name);
    }
    destroy(u);
    return NULL;
}

void upstream_await(struct upstream *u, uint64_t until_us)
{
    pthread_mutex_lock(&u->lock);
    while (u->attempts == 0 && now_us() < until_us)
        cond_wait_until(&u->changed, &u->lock, until_us);
    pthread_mutex_unlock(&u->lock);
}

bool upstream_is_there(struct upstream *u)
{
    bool there;

    pthread_mutex_lock(&u->lock);
    there = u->state == THERE;
    pthread_mutex_unlock(&u->lock);
    return there;
}

void upstream_report(struct upstream *u, struct backend_report *report)
{
    pthread_mutex_lock(&u->lock);
    report->there = u->state == THERE;
    report->sessions = report->there ? u->live : 0;
    report->reconnects = u->opens > 1 ? u->opens - 1 : 0;
    report->away_us = report->there ? 0 : now_us() - u->away_us;
    snprintf(report->why, sizeof report->why, "%s", u->why);
    pthread_mutex_unlock(&u->lock);
}

void upstream_give_up(struct upstream *u)
{
    pthread_mutex_lock(&u->lock);
    u->giving_up = true;
    u->given_up_us = now_us();
    pthread_cond_broadcast(&u->changed);
    pthread_mutex_unlock(&u->lock);
}

bool upstream_has_given_up(const struct upstream *u)
{
    return u->giving_up;
}

void upstream_close(struct upstream *u)
{
    upstream_give_up(u);
    pthread_mutex_lock(&u->lock);
    u->ending = true;
    pthread_cond_broadcast(&u->changed);
    pthread_mutex_unlock(&u->lock);
    pthread_join(u->keeper, NULL);
    close_all(u);
    destroy(u);
}
