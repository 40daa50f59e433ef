// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * One iSCSI session: a thread that polls libiscsi's socket and an eventfd.
 *
 * The life of a transmission: free → queued (session_submit) → in flight
 * (given to libiscsi) → completed. `lock` guards the queue alone; everything
 * of libiscsi belongs to the thread. After the first error libiscsi is not
 * serviced any more but destroyed: with a reconnect of its own it would replay
 * writes, and a half-sent PDU desynchronises the stream.
 */
#include "session.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include <iscsi/iscsi.h>
#include <iscsi/scsi-lowlevel.h>

#define LOGIN_TIMEOUT_S 15
#define SYN_RETRIES 3 /* about 15 s */
#define KEEPALIVE_IDLE_S 10
#define KEEPALIVE_INTERVAL_S 5
#define KEEPALIVE_COUNT 4
#define USER_TIMEOUT_MS 30000 /* unacknowledged data: the peer is dead */
#define POLL_MS 1000

/* What libiscsi knows of a slot. The task is embedded: libiscsi's own are
 * freed too early when a hostile target answers twice. */
struct transmission {
    struct slot slot;
    struct scsi_task task;
    struct scsi_iovec iov;
    bool in_flight;
    struct session *session;
};

struct session {
    struct iscsi_context *iscsi; /* NULL once lost */
    char target[MAX_STRING_SIZE + 1]; /* IQN */
    int lun;
    struct transmission *transmissions;
    unsigned slots;
    uint8_t *memory; /* the slots' data */

    pthread_t thread;
    int wakeup; /* eventfd */
    bool failed; /* the thread's: a callback reported the session's end */
    void (*lost)(void *opaque, const char *why);
    void *opaque;

    pthread_mutex_t lock; /* guards what follows */
    unsigned *queue;      /* indices of submitted slots, a ring of `slots` entries */
    unsigned head, queued;
    bool closing;
};

static void complete(struct transmission *t, enum slot_status status)
{
    t->in_flight = false;
    free(t->task.datain.data);
    t->task.datain.data = NULL;
    t->slot.status = status;
    t->slot.complete(&t->slot);
}

static void command_done(struct iscsi_context *iscsi, int status, void *data, void *private_data)
{
    struct transmission *t = private_data;

    switch (status) {
    case SCSI_STATUS_GOOD:
        complete(t, SLOT_GOOD);
        return;
    case SCSI_STATUS_BUSY:
    case SCSI_STATUS_TASK_SET_FULL:
        complete(t, SLOT_BUSY);
        return;
    case SCSI_STATUS_CANCELLED:
    case SCSI_STATUS_ERROR:
    case SCSI_STATUS_TIMEOUT:
        t->session->failed = true; /* completed as lost when the context is gone */
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
    t->in_flight = true;
    return iscsi_scsi_command_async(s->iscsi, s->lun, &t->task, command_done, NULL, t);
}

static bool dequeue(struct session *s, unsigned *index, bool *closing)
{
    bool found;

    pthread_mutex_lock(&s->lock);
    found = s->queued > 0;
    if (found) {
        *index = s->queue[s->head];
        s->head = (s->head + 1) % s->slots;
        s->queued--;
    }
    *closing = s->closing;
    pthread_mutex_unlock(&s->lock);
    return found;
}

/* Gives the queue to libiscsi, or back where the session is lost. */
static bool drain(struct session *s)
{
    unsigned index;
    bool closing;

    while (dequeue(s, &index, &closing)) {
        struct transmission *t = &s->transmissions[index];

        if (!s->iscsi || s->failed)
            complete(t, SLOT_LOST);
        else if (send_command(s, t) != 0)
            s->failed = true;
    }
    return closing;
}

static void lose(struct session *s)
{
    const char *error = iscsi_get_error(s->iscsi);
    char why[256];

    snprintf(why, sizeof why, "%.*s", (int)strcspn(error, "\n"), error);
    iscsi_destroy_context(s->iscsi); /* its callbacks only set `failed` */
    s->iscsi = NULL;
    for (unsigned i = 0; i < s->slots; i++)
        if (s->transmissions[i].in_flight)
            complete(&s->transmissions[i], SLOT_LOST);
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
    if (s->iscsi && s->failed)
        lose(s);
}

static void *session_thread(void *arg)
{
    struct session *s = arg;

    while (!drain(s))
        service(s);
    return NULL;
}

void session_submit(struct session *s, struct slot *slot)
{
    unsigned index = (unsigned)((struct transmission *)slot - s->transmissions);
    const uint64_t one = 1;
    bool wake;

    pthread_mutex_lock(&s->lock);
    wake = s->queued == 0;
    s->queue[(s->head + s->queued++) % s->slots] = index;
    pthread_mutex_unlock(&s->lock);
    /* fails only when the counter is full: then the thread is awake anyway */
    if (wake && write(s->wakeup, &one, sizeof one) < 0)
        return;
}

struct slot *session_slot(struct session *s, unsigned index)
{
    return &s->transmissions[index].slot;
}

const char *session_target(const struct session *s)
{
    return s->target;
}

unsigned session_lun(const struct session *s)
{
    return (unsigned)s->lun;
}

/* libiscsi's words for a failed login. When the connection itself failed, they
 * speak of the reconnection that it was told not to try. */
static void describe(struct iscsi_context *iscsi, const char *portal, char *out, size_t size)
{
    const char *error = iscsi_get_error(iscsi);

    if (strstr(error, "reconnect"))
        snprintf(out, size, "no iSCSI target answers at %s", portal);
    else
        snprintf(out, size, "%.*s", (int)strcspn(error, "\n"), error);
}

static int log_in(struct session *s, const char *url, const char *initiator_name, char *message,
                  size_t size)
{
    struct iscsi_url *parsed;
    char why[512];
    int result;

    s->iscsi = iscsi_create_context(initiator_name);
    if (!s->iscsi) {
        snprintf(message, size, "out of memory");
        return -1;
    }
    parsed = iscsi_parse_full_url(s->iscsi, url);
    if (!parsed) {
        snprintf(message, size, "%s: not of the form iscsi://HOST[:PORT]/IQN/LUN", url);
        return -1;
    }
    iscsi_set_noautoreconnect(s->iscsi, 1);
    iscsi_set_session_type(s->iscsi, ISCSI_SESSION_NORMAL);
    iscsi_set_header_digest(s->iscsi, ISCSI_HEADER_DIGEST_NONE);
    snprintf(s->target, sizeof s->target, "%s", parsed->target);
    s->lun = parsed->lun;
    iscsi_set_targetname(s->iscsi, s->target);
    iscsi_set_tcp_syncnt(s->iscsi, SYN_RETRIES);
    iscsi_set_tcp_user_timeout(s->iscsi, USER_TIMEOUT_MS);
    iscsi_set_tcp_keepidle(s->iscsi, KEEPALIVE_IDLE_S);
    iscsi_set_tcp_keepintvl(s->iscsi, KEEPALIVE_INTERVAL_S);
    iscsi_set_tcp_keepcnt(s->iscsi, KEEPALIVE_COUNT);
    iscsi_set_timeout(s->iscsi, LOGIN_TIMEOUT_S);
    result = iscsi_full_connect_sync(s->iscsi, parsed->portal, s->lun);
    describe(s->iscsi, parsed->portal, why, sizeof why);
    iscsi_destroy_url(parsed);
    if (result != 0) {
        snprintf(message, size, "%s: cannot log in: %s", url, why);
        return -1;
    }
    iscsi_set_timeout(s->iscsi, 0); /* a PDU that times out half sent breaks the stream */
    return 0;
}

static int make_slots(struct session *s, unsigned slots)
{
    s->transmissions = calloc(slots, sizeof *s->transmissions);
    s->queue = calloc(slots, sizeof *s->queue);
    s->memory = mmap(NULL, (size_t)slots * WIRE_PDU_DATA_MAX, PROT_READ | PROT_WRITE,
                     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (!s->transmissions || !s->queue || s->memory == MAP_FAILED)
        return -1;
    s->slots = slots;
    for (unsigned i = 0; i < slots; i++) {
        s->transmissions[i].session = s;
        s->transmissions[i].slot.data = s->memory + (size_t)i * WIRE_PDU_DATA_MAX;
    }
    return 0;
}

static void session_free(struct session *s)
{
    if (s->iscsi) {
        iscsi_logout_sync(s->iscsi);
        iscsi_destroy_context(s->iscsi);
    }
    if (s->memory && s->memory != MAP_FAILED)
        munmap(s->memory, (size_t)s->slots * WIRE_PDU_DATA_MAX);
    if (s->wakeup >= 0)
        close(s->wakeup);
    free(s->transmissions);
    free(s->queue);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

struct session *session_open(const char *url, const char *initiator_name, unsigned slots,
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
    s->wakeup = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (s->wakeup < 0 || make_slots(s, slots) != 0) {
        snprintf(message, message_size, "out of memory or file descriptors");
    } else if (log_in(s, url, initiator_name, message, message_size) == 0) {
        if (pthread_create(&s->thread, NULL, session_thread, s) == 0)
            return s;
        snprintf(message, message_size, "cannot start a thread");
    }
    session_free(s);
    return NULL;
}

void session_close(struct session *s)
{
    const uint64_t one = 1;

    pthread_mutex_lock(&s->lock);
    s->closing = true;
    pthread_mutex_unlock(&s->lock);
    while (write(s->wakeup, &one, sizeof one) < 0 && errno == EINTR)
        ;
    pthread_join(s->thread, NULL);
    if (s->iscsi)
        iscsi_set_timeout(s->iscsi, LOGIN_TIMEOUT_S);
    session_free(s);
}
