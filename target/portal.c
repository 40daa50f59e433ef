// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Listening and accepting: portal.h. Each connection has a thread, which takes
 * it off the list and frees it; whoever accepts the next one, or closes the
 * portal, joins the thread.
 */
#include "portal.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "address.h"
#include "clock.h"
#include "conn.h"
#include "log.h"

#define BACKLOG 64
#define LEAVE_S 2       /* for initiators to log out */
#define END_US 10000000 /* for what executes; then connections are cut */
#define END_FDS_MAX 4
#define ADDRESS_BYTES 320
#define ACCEPT_PAUSE_MS 100 /* when there are no file descriptors left */
#define TURNED_AWAY_US 1000000 /* between two lines about it: a flood must not fill the log */

/* A peer that is gone: found after about a minute. */
#define KEEPALIVE_IDLE_S 30
#define KEEPALIVE_INTERVAL_S 10
#define KEEPALIVE_COUNT 3
#define USER_TIMEOUT_MS 60000

struct server { /* a thread */
    SLIST_ENTRY(server) link;
    pthread_t thread;
    struct conn *conn;
};
SLIST_HEAD(server_list, server);

struct portal {
    struct target *target;
    int fds[PORTALS_MAX];
    char addresses[PORTALS_MAX][ADDRESS_BYTES]; /* as portal_address tells them */
    unsigned addresses_count;
    uint64_t next_turned_away_us; /* of who accepts */
    unsigned turned_away;         /* the same; without a line */

    pthread_mutex_t lock; /* guards everything that follows, and conn's logged_in */
    pthread_cond_t left;  /* a connection is gone */
    TAILQ_HEAD(, conn) conns;
    unsigned count;
    struct server_list ended; /* to be joined */
    uint16_t last_tsih;
};

/* ---- listening ---- */

static int bind_all(struct portal *portal, char **addresses, char *message, size_t size)
{
    bool only_ipv6 = addresses[1] != NULL;

    for (char **address = addresses; *address; address++) {
        int fd = address_bind(*address, only_ipv6, message, size);

        if (fd < 0)
            return -1;
        portal->fds[portal->addresses_count++] = fd;
    }
    return 0;
}

struct portal *portal_open(struct target *target, char *message, size_t size)
{
    struct portal *portal = calloc(1, sizeof *portal);

    if (!portal) {
        snprintf(message, size, "out of memory");
        return NULL;
    }
    portal->target = target;
    TAILQ_INIT(&portal->conns);
    SLIST_INIT(&portal->ended);
    pthread_mutex_init(&portal->lock, NULL);
    cond_init(&portal->left);
    if (bind_all(portal, target->config->listen, message, size) == 0)
        return portal;
    portal_close(portal);
    return NULL;
}

int portal_listen(struct portal *portal, char *message, size_t size)
{
    for (unsigned i = 0; i < portal->addresses_count; i++) {
        struct sockaddr_storage address;
        socklen_t len = sizeof address;

        if (listen(portal->fds[i], BACKLOG) != 0 ||
            getsockname(portal->fds[i], (struct sockaddr *)&address, &len) != 0) {
            snprintf(message, size, "cannot listen: %s", strerror(errno));
            return -1;
        }
        address_print(&address, len, portal->addresses[i], sizeof portal->addresses[i]);
    }
    return 0;
}

const char *portal_address(const struct portal *portal, unsigned index)
{
    return index < portal->addresses_count ? portal->addresses[index] : NULL;
}

/* ---- connections ---- */

static void *serve(void *arg)
{
    struct server *server = arg;
    struct conn *conn = server->conn;
    struct portal *portal = conn->portal;

    conn_run(conn);
    pthread_mutex_lock(&portal->lock);
    TAILQ_REMOVE(&portal->conns, conn, link);
    pthread_mutex_unlock(&portal->lock);
    conn_free(conn);
    pthread_mutex_lock(&portal->lock);
    portal->count--;
    SLIST_INSERT_HEAD(&portal->ended, server, link);
    pthread_cond_broadcast(&portal->left);
    pthread_mutex_unlock(&portal->lock);
    return NULL;
}

static void join_ended(struct portal *portal)
{
    struct server_list ended;
    struct server *server;

    pthread_mutex_lock(&portal->lock);
    ended = portal->ended;
    SLIST_INIT(&portal->ended);
    pthread_mutex_unlock(&portal->lock);
    while ((server = SLIST_FIRST(&ended))) {
        SLIST_REMOVE_HEAD(&ended, link);
        pthread_join(server->thread, NULL);
        free(server);
    }
}

static int set_options(int fd)
{
    static const struct {
        int level, name, value;
    } options[] = {
        {IPPROTO_TCP, TCP_NODELAY, 1},
        {SOL_SOCKET, SO_KEEPALIVE, 1},
        {IPPROTO_TCP, TCP_KEEPIDLE, KEEPALIVE_IDLE_S},
        {IPPROTO_TCP, TCP_KEEPINTVL, KEEPALIVE_INTERVAL_S},
        {IPPROTO_TCP, TCP_KEEPCNT, KEEPALIVE_COUNT},
        {IPPROTO_TCP, TCP_USER_TIMEOUT, USER_TIMEOUT_MS},
    };

    for (size_t i = 0; i < sizeof options / sizeof options[0]; i++)
        if (setsockopt(fd, options[i].level, options[i].name, &options[i].value, sizeof(int)) != 0)
            return -1;
    return 0;
}

/* With the lock held: the thread can't end before it is on the list. */
static bool start_thread(struct conn *conn)
{
    struct server *server = calloc(1, sizeof *server);

    if (!server)
        return false;
    server->conn = conn;
    if (pthread_create(&server->thread, NULL, serve, server) == 0)
        return true;
    free(server);
    return false;
}

static bool start(struct portal *portal, struct conn *conn)
{
    bool ok;

    join_ended(portal);
    pthread_mutex_lock(&portal->lock);
    ok = portal->count < conn->config->sessions_max && start_thread(conn);
    if (ok) {
        TAILQ_INSERT_TAIL(&portal->conns, conn, link);
        portal->count++;
    }
    pthread_mutex_unlock(&portal->lock);
    return ok;
}

static void log_turned_away(struct portal *portal, const char *address)
{
    uint64_t now = now_us();

    portal->turned_away++;
    if (now < portal->next_turned_away_us)
        return;
    log_line("%s: turned away (%u since the last such line): too many connections, or out of memory "
             "or threads",
             address, portal->turned_away);
    portal->next_turned_away_us = now + TURNED_AWAY_US;
    portal->turned_away = 0;
}

static void accept_one(struct portal *portal, int listening)
{
    struct sockaddr_storage peer, own;
    socklen_t len = sizeof peer, own_len = sizeof own;
    int fd = accept4(listening, (struct sockaddr *)&peer, &len, SOCK_CLOEXEC);
    struct conn *conn = NULL;
    char address[64], local[320];

    if (fd < 0) {
        if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS)
            poll(NULL, 0, ACCEPT_PAUSE_MS);
        return;
    }
    address_print(&peer, len, address, sizeof address);
    if (set_options(fd) == 0 && getsockname(fd, (struct sockaddr *)&own, &own_len) == 0) {
        address_print(&own, own_len, local, sizeof local);
        conn = conn_new(portal->target, portal, fd, address, local);
    }
    if (conn && start(portal, conn))
        return;
    log_turned_away(portal, address);
    if (conn)
        conn_free(conn);
    else
        close(fd);
}

unsigned portal_run(struct portal *portal, const int *end_fds, unsigned count)
{
    struct pollfd fds[END_FDS_MAX + PORTALS_MAX];
    unsigned all = count + portal->addresses_count;

    for (unsigned i = 0; i < all; i++)
        fds[i] = (struct pollfd){.fd = i < count ? end_fds[i] : portal->fds[i - count],
                                 .events = POLLIN};
    for (;;) {
        if (poll(fds, all, -1) < 0)
            continue;
        for (unsigned i = 0; i < count; i++)
            if (fds[i].revents)
                return i;
        for (unsigned i = count; i < all; i++)
            if (fds[i].revents)
                accept_one(portal, fds[i].fd);
    }
}

/* Another one of the same initiator port that is logged in; NULL: none. Sessions
 * for discovery are apart: they are with no target. */
static struct conn *find_other(struct portal *portal, const struct conn *conn)
{
    struct conn *other;

    TAILQ_FOREACH(other, &portal->conns, link)
    if (other != conn && other->logged_in && other->discovery == conn->discovery &&
        strcmp(other->initiator, conn->initiator) == 0 &&
        memcmp(other->isid, conn->isid, sizeof conn->isid) == 0)
        return other;
    return NULL;
}

bool portal_logged_in(struct conn *conn)
{
    struct portal *portal = conn->portal;
    struct conn *other;

    pthread_mutex_lock(&portal->lock);
    while ((other = find_other(portal, conn)) && now_us() < conn->deadline_us) {
        sender_kill(&other->sender);
        cond_wait_until(&portal->left, &portal->lock, conn->deadline_us);
    }
    conn->logged_in = other == NULL;
    if (++portal->last_tsih == 0)
        portal->last_tsih = 1;
    conn->tsih = portal->last_tsih;
    conn->since = time(NULL);
    pthread_mutex_unlock(&portal->lock);
    return other == NULL;
}

void portal_each(struct portal *portal, void (*each)(struct conn *conn, void *argument),
                 void *argument)
{
    struct conn *conn;

    pthread_mutex_lock(&portal->lock);
    TAILQ_FOREACH(conn, &portal->conns, link)
    if (conn->logged_in)
        each(conn, argument);
    pthread_mutex_unlock(&portal->lock);
}

bool portal_has_session(struct conn *conn, uint16_t tsih)
{
    const struct conn *other;
    bool found;

    pthread_mutex_lock(&conn->portal->lock);
    other = find_other(conn->portal, conn);
    found = other && other->tsih == tsih;
    pthread_mutex_unlock(&conn->portal->lock);
    return found;
}

/* Lock held. */
static void wait_until_left(struct portal *portal, uint64_t deadline_us)
{
    while (portal->count > 0 && now_us() < deadline_us)
        cond_wait_until(&portal->left, &portal->lock, deadline_us);
}

/* First they are asked to go, then nothing more is read, then they are cut. */
static void end_connections(struct portal *portal)
{
    struct conn *conn;

    pthread_mutex_lock(&portal->lock);
    TAILQ_FOREACH(conn, &portal->conns, link)
    if (conn->logged_in)
        conn_ask_to_leave(conn, LEAVE_S);
    else
        conn_end(conn);
    wait_until_left(portal, now_us() + LEAVE_S * UINT64_C(1000000));
    TAILQ_FOREACH(conn, &portal->conns, link)
    conn_end(conn);
    wait_until_left(portal, now_us() + END_US);
    TAILQ_FOREACH(conn, &portal->conns, link)
    sender_kill(&conn->sender);
    while (portal->count > 0)
        pthread_cond_wait(&portal->left, &portal->lock);
    pthread_mutex_unlock(&portal->lock);
}

void portal_close(struct portal *portal)
{
    for (unsigned i = 0; i < portal->addresses_count; i++)
        close(portal->fds[i]);
    end_connections(portal);
    join_ended(portal);
    pthread_cond_destroy(&portal->left);
    pthread_mutex_destroy(&portal->lock);
    free(portal);
}
