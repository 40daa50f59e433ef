// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * One iSCSI session: a thread that polls libiscsi's socket and an eventfd.
 *
 * The life of a transmission: free → queued (session_submit) → in flight
 * (given to libiscsi) → completed. `lock` guards the queue alone; everything
 * of libiscsi belongs to the thread. libiscsi and the socket are given little
 * more than what they can send, so that a command does not stand behind others
 * that it cannot overtake. After the first error libiscsi is not
 * serviced any more but destroyed: with a reconnect of its own it would replay
 * writes, and a half-sent PDU desynchronises the stream.
 *
 * A peer is dead when its TCP has not acknowledged anything for some round
 * trips, though something is on its way: data, which TCP sends again, or a
 * command without an answer, over whose wait keepalive probes go. Both are
 * TCP's own clock: a long queue before a slow line or a slow disk acknowledges
 * late, but steadily. TCP_USER_TIMEOUT would also end a session whose peer has
 * no room for more data, and says so.
 *
 * A peer whose TCP acknowledges and that itself is silent is asked: by TEST UNIT
 * READY, which a target answers without looking at its disk. (By a NOP-Out it would
 * be natural; but libiscsi 1.19 crashes on an answer to it that somebody on the path
 * makes Data-In.) As long as it is silent nothing else is given to libiscsi, so
 * that the acknowledgements that show a long queue on its way come to an end.
 */
#include "session.h"

#include <errno.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <unistd.h>

#include <iscsi/iscsi.h>
#include <iscsi/scsi-lowlevel.h>

#include "clock.h"

#define LOGIN_US 5000000    /* for the login's one round trip, and as much for the logout's */
#define LOGIN_ROUND_TRIPS 8 /* more, where those are long */
#define KEEPALIVE_IDLE_S 1
#define KEEPALIVE_INTERVAL_S 1
#define KEEPALIVE_COUNT 15
#define DEAD_US 1500000 /* nothing heard for so long, and: */
#define DEAD_ROUND_TRIPS 4
#define PING_US 3000000 /* nothing but acknowledgements for so long: it is asked, and */
#define HUNG_US 7000000 /* has not answered, and has taken in nothing more, for so long, and: */
#define HUNG_ROUND_TRIPS 4
#define POLL_MS 250
#define LOGIN_POLL_MS 50
#define QUEUED_PDUS_MAX 2         /* in libiscsi's queue */
#define IN_FLIGHT_MAX 126 /* encsan-target's window has room for these and for the question if it lives */
#define UNSENT_BYTES_MAX (256 << 10) /* in the socket */
#define MEASURE_US 10000

/* What libiscsi knows of a slot. The task is embedded: libiscsi's own are
 * freed too early when a hostile target answers twice. */
struct transmission {
    struct slot slot;
    struct scsi_task task;
    struct scsi_iovec iov;
    TAILQ_ENTRY(transmission) link; /* queue or in_flight of: */
    struct session *session;
};
TAILQ_HEAD(transmission_list, transmission);

struct slots {
    unsigned count;
    uint8_t *memory; /* the slots' data */
    struct transmission transmissions[];
};

struct session {
    struct iscsi_context *iscsi; /* NULL once lost */
    char target[MAX_STRING_SIZE + 1]; /* IQN */
    int lun;
    bool logged_in;

    pthread_t thread;
    int wakeup; /* eventfd */
    bool failed; /* the thread's: a callback reported the session's end */
    const char *why;                    /* the thread's: it ended for this, not by libiscsi's word */
    struct transmission_list in_flight; /* the thread's */
    unsigned in_flight_count;           /* the thread's */
    struct transmission ping;           /* the thread's */
    bool pinging, silent;               /* the thread's: no answer yet; nothing for PING_US */
    uint64_t acked_bytes, acked_us;     /* the thread's: what the peer's TCP has, and since when */
    uint64_t measured_us;               /* the thread's */
    uint64_t awaiting_us;               /* the thread's: since then something is on its way; 0: nothing is */
    struct {
        bool ended;
        int status;
    } step; /* of login or logout */
    _Atomic uint32_t rtt_us, rtt_min_us, retransmits;
    void (*lost)(void *opaque, const char *why);
    void *opaque;

    pthread_mutex_t lock; /* guards what follows */
    struct transmission_list urgent, queue;
    bool closing, abandoned, doubted;
};

/* ---- slots ---- */

struct slots *slots_new(unsigned count)
{
    struct slots *slots = calloc(1, sizeof *slots + count * sizeof slots->transmissions[0]);

    if (!slots)
        return NULL;
    slots->count = count;
    slots->memory = mmap(NULL, (size_t)count * WIRE_PDU_DATA_MAX, PROT_READ | PROT_WRITE,
                         MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (slots->memory == MAP_FAILED) {
        free(slots);
        return NULL;
    }
    for (unsigned i = 0; i < count; i++)
        slots->transmissions[i].slot.data = slots->memory + (size_t)i * WIRE_PDU_DATA_MAX;
    return slots;
}

void slots_free(struct slots *slots)
{
    munmap(slots->memory, (size_t)slots->count * WIRE_PDU_DATA_MAX);
    free(slots);
}

struct slot *slots_get(struct slots *slots, unsigned index)
{
    return &slots->transmissions[index].slot;
}

/* ---- the thread ---- */

/* Of one that is on no list any more. */
static void complete(struct transmission *t, enum slot_status status)
{
    free(t->task.datain.data);
    t->task.datain.data = NULL;
    t->slot.status = status;
    t->slot.complete(&t->slot);
}

static void landed(struct transmission *t)
{
    TAILQ_REMOVE(&t->session->in_flight, t, link);
    t->session->in_flight_count--;
}

static void command_done(struct iscsi_context *iscsi, int status, void *data, void *private_data)
{
    struct transmission *t = private_data;

    if (status == SCSI_STATUS_CANCELLED || status == SCSI_STATUS_ERROR ||
        status == SCSI_STATUS_TIMEOUT) {
        t->session->failed = true; /* completed as lost when the context is gone */
        return;
    }
    landed(t);
    t->slot.scsi_status = (uint8_t)status;
    t->slot.missing =
        t->task.residual_status == SCSI_RESIDUAL_UNDERFLOW ? (uint32_t)t->task.residual : 0;
    switch (status) {
    case SCSI_STATUS_GOOD:
        complete(t, SLOT_GOOD);
        return;
    case SCSI_STATUS_BUSY:
    case SCSI_STATUS_TASK_SET_FULL:
        complete(t, SLOT_BUSY);
        return;
    default:
        t->slot.sense_key = (uint8_t)t->task.sense.key;
        t->slot.ascq = (uint16_t)t->task.sense.ascq;
        complete(t, SLOT_CHECK);
    }
}

static int send_command(struct session *s, struct transmission *t)
{
    struct slot *slot = &t->slot;

    memset(&t->task, 0, sizeof t->task);
    memcpy(t->task.cdb, slot->cdb, slot->cdb_bytes);
    t->task.cdb_size = slot->cdb_bytes;
    t->task.xfer_dir = slot->out ? SCSI_XFER_WRITE : SCSI_XFER_READ;
    if (slot->bytes == 0)
        t->task.xfer_dir = SCSI_XFER_NONE;
    t->task.expxferlen = (int)slot->bytes;
    t->iov = (struct scsi_iovec){.iov_base = slot->data, .iov_len = slot->bytes};
    if (slot->out) {
        scsi_task_set_iov_out(&t->task, &t->iov, 1);
    } else {
        scsi_task_set_iov_in(&t->task, &t->iov, 1);
        /* an answer that libiscsi calls complete though bytes are missing must not open */
        if (slot->bytes >= WIRE_TAG_BYTES)
            memset(slot->data + slot->bytes - WIRE_TAG_BYTES, 0, WIRE_TAG_BYTES);
    }
    TAILQ_INSERT_TAIL(&s->in_flight, t, link);
    s->in_flight_count++;
    return iscsi_scsi_command_async(s->iscsi, s->lun, &t->task, command_done, NULL, t);
}

static bool has_room(const struct session *s)
{
    return !(s->pinging && s->silent) && s->in_flight_count < IN_FLIGHT_MAX &&
           iscsi_out_queue_length(s->iscsi) < QUEUED_PDUS_MAX;
}

static struct transmission *dequeue(struct session *s)
{
    struct transmission *t;

    pthread_mutex_lock(&s->lock);
    t = TAILQ_FIRST(&s->urgent);
    if (t) {
        TAILQ_REMOVE(&s->urgent, t, link);
    } else {
        t = TAILQ_FIRST(&s->queue);
        if (t)
            TAILQ_REMOVE(&s->queue, t, link);
    }
    pthread_mutex_unlock(&s->lock);
    return t;
}

/* Gives of the queue to libiscsi, or all of it back where the session is lost. */
static void drain(struct session *s)
{
    struct transmission *t;

    while (!s->iscsi || s->failed || has_room(s)) {
        t = dequeue(s);
        if (!t)
            return;
        if (!s->iscsi || s->failed)
            complete(t, SLOT_LOST);
        else if (send_command(s, t) != 0)
            s->failed = true;
    }
}

/* ---- whether the peer lives ---- */

/* A unit attention is told once: it must not be lost with the ping. Who comes again hears of it. */
static void ping_answered(struct slot *slot)
{
    struct session *s = ((struct transmission *)slot)->session;

    s->pinging = false;
    if (slot->status == SLOT_CHECK && slot->sense_key == SCSI_SENSE_UNIT_ATTENTION) {
        s->why = "unit attention";
        s->failed = true;
    }
}

static void ping(struct session *s)
{
    if (!s->iscsi || s->failed || s->pinging)
        return;
    s->ping = (struct transmission){
        .slot = {.cdb = {0x00}, .cdb_bytes = 6, .complete = ping_answered}, /* SPC-4 6.47 */
        .session = s,
    };
    s->pinging = true;
    s->acked_us = now_us();
    s->failed = send_command(s, &s->ping) != 0;
}

static uint64_t dead_us(const struct tcp_info *info)
{
    return DEAD_US + (uint64_t)DEAD_ROUND_TRIPS * (info->tcpi_rtt + info->tcpi_rttvar);
}

static uint64_t hung_us(const struct tcp_info *info)
{
    return HUNG_US + (uint64_t)HUNG_ROUND_TRIPS * (info->tcpi_rtt + info->tcpi_rttvar);
}

static bool awaits(const struct session *s, const struct tcp_info *info)
{
    return !TAILQ_EMPTY(&s->in_flight) || info->tcpi_unacked > 0 || info->tcpi_notsent_bytes > 0;
}

static uint64_t later(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

/* The peer's TCP has been silent for too long. */
static bool is_dead(const struct session *s, const struct tcp_info *info, uint64_t now)
{
    uint64_t heard_us = now - (uint64_t)info->tcpi_last_ack_recv * 1000;

    return now - later(heard_us, s->awaiting_us) > dead_us(info);
}

/* The peer itself has been. Its answer may be a long one on a slow line: any byte counts. */
static bool is_hung(struct session *s, const struct tcp_info *info, uint64_t now)
{
    uint64_t heard_us = later(now - (uint64_t)info->tcpi_last_data_recv * 1000, s->awaiting_us);

    if (s->acked_bytes != info->tcpi_bytes_acked)
        s->acked_us = now;
    s->acked_bytes = info->tcpi_bytes_acked;
    s->silent = now - heard_us > PING_US;
    if (s->pinging)
        return now - later(heard_us, s->acked_us) > hung_us(info);
    if (s->silent)
        ping(s);
    return false;
}

static void end_for(struct session *s, const char *why)
{
    s->why = why;
    s->failed = true;
}

static void look(struct session *s, const struct tcp_info *info, uint64_t now)
{
    if (!awaits(s, info)) {
        s->awaiting_us = 0;
        return;
    }
    if (s->awaiting_us == 0)
        s->awaiting_us = now;
    if (is_dead(s, info, now))
        end_for(s, "no answer any more");
    else if (is_hung(s, info, now))
        end_for(s, "the target does not answer, though its machine does");
}

static void measure(struct session *s)
{
    uint64_t now = now_us();
    struct tcp_info info;
    socklen_t len = sizeof info;

    if (now - s->measured_us < MEASURE_US)
        return;
    s->measured_us = now;
    if (getsockopt(iscsi_get_fd(s->iscsi), IPPROTO_TCP, TCP_INFO, &info, &len) != 0)
        return;
    s->rtt_us = info.tcpi_rtt;
    s->rtt_min_us = info.tcpi_min_rtt == UINT32_MAX ? 0 : info.tcpi_min_rtt;
    s->retransmits = info.tcpi_total_retrans;
    look(s, &info, now);
}

/* What others have asked for since. True: to end. */
static bool take_orders(struct session *s)
{
    bool closing, doubted;

    pthread_mutex_lock(&s->lock);
    closing = s->closing;
    doubted = s->doubted;
    s->doubted = false;
    if (s->abandoned && !s->failed)
        end_for(s, "the target does not answer");
    pthread_mutex_unlock(&s->lock);
    if (doubted)
        ping(s);
    return closing;
}

static void lose(struct session *s)
{
    const char *error = iscsi_get_error(s->iscsi);
    struct transmission *t;
    char why[256];

    if (s->why)
        error = s->why;
    else if (!*error || strstr(error, "reconnect") || strncmp(error, "SENSE", strlen("SENSE")) == 0)
        error = "closed by the target"; /* libiscsi speaks of what it was told not to do, or of old */
    snprintf(why, sizeof why, "%.*s", (int)strcspn(error, "\n"), error);
    iscsi_destroy_context(s->iscsi); /* its callbacks only set `failed` */
    s->iscsi = NULL;
    while ((t = TAILQ_FIRST(&s->in_flight))) {
        landed(t);
        complete(t, SLOT_LOST);
    }
    s->lost(s->opaque, why);
}

static void service(struct session *s)
{
    struct pollfd fds[2] = {{.fd = s->wakeup, .events = POLLIN}, {.fd = -1}};
    uint64_t count;

    if (s->iscsi) {
        fds[1].fd = iscsi_get_fd(s->iscsi);
        fds[1].events = (short)iscsi_which_events(s->iscsi);
    }
    if (poll(fds, 2, POLL_MS) < 0 && errno != EINTR)
        s->failed = true;
    if (fds[0].revents && read(s->wakeup, &count, sizeof count) < 0 && errno != EAGAIN)
        s->failed = true;
    drain(s);
    if (s->iscsi && !s->failed && iscsi_service(s->iscsi, fds[1].revents | POLLOUT) < 0)
        s->failed = true;
    if (s->iscsi && !s->failed)
        measure(s);
    if (s->iscsi && s->failed)
        lose(s);
}

static void *session_thread(void *arg)
{
    struct session *s = arg;

    while (!take_orders(s)) {
        drain(s);
        service(s);
    }
    return NULL;
}

static void wake_up(struct session *s)
{
    const uint64_t one = 1;

    /* fails only when the counter is full: then the thread is awake anyway */
    while (write(s->wakeup, &one, sizeof one) < 0 && errno == EINTR)
        ;
}

void session_submit(struct session *s, struct slot *slot)
{
    struct transmission *t = (struct transmission *)slot;
    bool wake;

    t->session = s;
    pthread_mutex_lock(&s->lock);
    wake = TAILQ_EMPTY(&s->queue) && TAILQ_EMPTY(&s->urgent);
    if (slot->urgent)
        TAILQ_INSERT_TAIL(&s->urgent, t, link);
    else
        TAILQ_INSERT_TAIL(&s->queue, t, link);
    pthread_mutex_unlock(&s->lock);
    if (wake)
        wake_up(s);
}

void session_abandon(struct session *s)
{
    pthread_mutex_lock(&s->lock);
    s->abandoned = true;
    pthread_mutex_unlock(&s->lock);
    wake_up(s);
}

void session_doubt(struct session *s)
{
    pthread_mutex_lock(&s->lock);
    s->doubted = true;
    pthread_mutex_unlock(&s->lock);
    wake_up(s);
}

struct session_path session_path(struct session *s)
{
    return (struct session_path){s->rtt_us, s->rtt_min_us, s->retransmits};
}

const char *session_target(const struct session *s)
{
    return s->target;
}

unsigned session_lun(const struct session *s)
{
    return (unsigned)s->lun;
}

/* ---- login and logout: before and after the thread ---- */

/* libiscsi's words for a failed login. When the connection itself failed, they
 * speak of the reconnection that it was told not to try. */
static void describe(struct iscsi_context *iscsi, const char *portal, char *out, size_t size)
{
    const char *error = iscsi_get_error(iscsi);

    if (!*error || strstr(error, "reconnect"))
        snprintf(out, size, "no iSCSI target answers at %s", portal);
    else
        snprintf(out, size, "%.*s", (int)strcspn(error, "\n"), error);
}

static void step_ended(struct iscsi_context *iscsi, int status, void *data, void *private_data)
{
    struct session *s = private_data;

    s->step.ended = true;
    s->step.status = status;
}

struct patience {
    uint64_t least_us, most_us;
    const atomic_bool *hurry; /* only the least; NULL: the most */
};

static bool is_over(const struct patience *patience, uint64_t since_us)
{
    bool hurry = patience->hurry && *patience->hurry;

    return now_us() - since_us >= (hurry ? patience->least_us : patience->most_us);
}

/* Waits for the end of what was asked of libiscsi. What has come counts, also
 * when it is found too late: this thread may have been kept waiting itself. */
static int finish_step(struct session *s, struct patience patience, const atomic_bool *give_up)
{
    uint64_t since_us = now_us();
    bool late = false;

    while (!s->step.ended && !late && !(give_up && *give_up)) {
        struct pollfd fd = {iscsi_get_fd(s->iscsi), (short)iscsi_which_events(s->iscsi), 0};

        late = is_over(&patience, since_us);
        if (poll(&fd, 1, late ? 0 : LOGIN_POLL_MS) < 0 && errno != EINTR)
            return -1;
        if (iscsi_service(s->iscsi, fd.revents) < 0)
            return -1;
    }
    return s->step.ended && s->step.status == SCSI_STATUS_GOOD ? 0 : -1;
}

static int connect_and_log_in(struct session *s, const struct session_login *login)
{
    struct patience connect = {login->connect_us, later(login->connect_us, login->patient_us), login->hurry};
    struct patience answer = {.most_us = LOGIN_US};

    s->step.ended = false;
    if (iscsi_connect_async(s->iscsi, login->portal, step_ended, s) != 0 ||
        finish_step(s, connect, login->give_up) != 0)
        return -1;
    if (login->connected)
        login->connected(s->opaque);
    measure(s);
    answer.most_us += (uint64_t)LOGIN_ROUND_TRIPS * s->rtt_us;
    s->step.ended = false;
    if (iscsi_login_async(s->iscsi, step_ended, s) != 0)
        return -1;
    return finish_step(s, answer, login->give_up);
}

static int prepare(struct session *s, const struct session_login *login)
{
    s->iscsi = iscsi_create_context(login->initiator_name);
    if (!s->iscsi)
        return -1;
    snprintf(s->target, sizeof s->target, "%s", login->target);
    s->lun = login->lun;
    iscsi_set_isid_random(s->iscsi, login->isid, login->number);
    iscsi_set_noautoreconnect(s->iscsi, 1);
    iscsi_set_session_type(s->iscsi, ISCSI_SESSION_NORMAL);
    iscsi_set_header_digest(s->iscsi, ISCSI_HEADER_DIGEST_NONE);
    iscsi_set_targetname(s->iscsi, s->target);
    if (login->user &&
        iscsi_set_initiator_username_pwd(s->iscsi, login->user, login->password) != 0)
        return -1;
    iscsi_set_tcp_keepidle(s->iscsi, KEEPALIVE_IDLE_S);
    iscsi_set_tcp_keepintvl(s->iscsi, KEEPALIVE_INTERVAL_S);
    iscsi_set_tcp_keepcnt(s->iscsi, KEEPALIVE_COUNT);
    return 0;
}

static int log_in(struct session *s, const struct session_login *login, char *message, size_t size)
{
    static const int unsent = UNSENT_BYTES_MAX;
    char why[512];

    if (prepare(s, login) != 0) {
        snprintf(message, size, "out of memory");
        return -1;
    }
    if (connect_and_log_in(s, login) != 0) {
        describe(s->iscsi, login->portal, why, sizeof why);
        snprintf(message, size, "%s: cannot log in: %s", login->url, why);
        return -1;
    }
    s->logged_in = true;
    if (setsockopt(iscsi_get_fd(s->iscsi), IPPROTO_TCP, TCP_NOTSENT_LOWAT, &unsent, sizeof unsent) != 0) {
        snprintf(message, size, "%s: TCP_NOTSENT_LOWAT: %s", login->url, strerror(errno));
        return -1;
    }
    return 0;
}

/* As far as it still can: without it the target finds out by itself. */
static void log_out(struct session *s)
{
    s->step.ended = false;
    if (iscsi_logout_async(s->iscsi, step_ended, s) == 0)
        finish_step(s, (struct patience){.most_us = LOGIN_US}, NULL);
}

static void session_free(struct session *s)
{
    if (s->iscsi) {
        if (s->logged_in)
            log_out(s);
        iscsi_destroy_context(s->iscsi);
    }
    if (s->wakeup >= 0)
        close(s->wakeup);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

struct session *session_open(const struct session_login *login,
                             void (*lost)(void *opaque, const char *why), void *opaque,
                             char *message, size_t message_size)
{
    struct session *s = calloc(1, sizeof *s);

    if (!s) {
        snprintf(message, message_size, "out of memory");
        return NULL;
    }
    signal(SIGPIPE, SIG_IGN); /* libiscsi writes to sockets that the peer has closed */
    pthread_mutex_init(&s->lock, NULL);
    s->lost = lost;
    s->opaque = opaque;
    TAILQ_INIT(&s->urgent);
    TAILQ_INIT(&s->queue);
    TAILQ_INIT(&s->in_flight);
    s->wakeup = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (s->wakeup < 0) {
        snprintf(message, message_size, "out of file descriptors");
    } else if (log_in(s, login, message, message_size) == 0) {
        if (pthread_create(&s->thread, NULL, session_thread, s) == 0)
            return s;
        snprintf(message, message_size, "cannot start a thread");
    }
    session_free(s);
    return NULL;
}

void session_close(struct session *s)
{
    pthread_mutex_lock(&s->lock);
    s->closing = true;
    pthread_mutex_unlock(&s->lock);
    wake_up(s);
    pthread_join(s->thread, NULL);
    session_free(s);
}
