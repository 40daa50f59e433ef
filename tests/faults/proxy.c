// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * A bad line: forwards TCP connections to a target and does to them what it is
 * told on standard input, one command a line. With K a command means the K-th
 * connection that is open, modulo how many there are; without, all of them.
 *
 *   reset [K]                   both ends get a RST
 *   cut [K]                     both ends get a FIN
 *   reset-at up|down BYTES [K]  a RST once so many more bytes have gone to the target, or from it
 *   stall MS [K]                nothing is forwarded
 *   silence up|down MS [K]      nothing is forwarded to the target, or from it
 *   delay MS                    from now on every byte arrives so much later
 *   rate BYTES                  a second, each way; 0: no limit
 *   away MS                     all are reset, and new ones too
 *   random SEED                 from now on one of these every 0.2 to 2 s, none for longer than 1 s
 *   quiet                       no more of that; no delay, no limit
 *   say                         prints how many faults there were, and for how long not all came through
 *
 *     proxy PORT [ADDRESS]   of a target on 127.0.0.1; prints "port N", its own, there or on ADDRESS
 *
 * It ends with its standard input. One thread; a connection is two flows, each
 * a queue of pieces with the time at which they are due.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <unistd.h>

#include "clock.h"

#define LINES_MAX 256
#define PIECE_BYTES (64u << 10)
#define QUEUE_BYTES_MAX (8u << 20)
#define MS UINT64_C(1000)

struct piece {
    TAILQ_ENTRY(piece) link;
    uint64_t due_us;
    size_t bytes, sent;
    uint8_t data[];
};
TAILQ_HEAD(piece_list, piece);

enum way { UP, DOWN }; /* to the target, from it */

struct flow {
    struct piece_list pieces;
    size_t queued;
    uint64_t free_us; /* the line has sent all before it */
    uint64_t silent_until_us;
    int64_t reset_after; /* bytes; negative: never */
    bool ended;       /* its source has */
};

struct line {  /* a connection */
    int fd[2]; /* [UP]: what reads go up from, the client's; [DOWN]: the target's; -1: unused */
    struct flow flow[2];
};

static struct {
    int listener;
    struct sockaddr_in own, target;
    struct line lines[LINES_MAX];
    uint64_t silent_until_us[2], away_until_us;
    uint64_t delay_us, rate;
    bool random;
    unsigned seed, faults;
    uint64_t outages_us, outage_until_us; /* those that overlap count once */
    uint64_t next_us; /* random */
} proxy;

static void die(const char *what)
{
    fprintf(stderr, "proxy: %s: %s\n", what, strerror(errno));
    exit(1);
}

/* ---- lines ---- */

static void line_clear(struct line *l)
{
    struct piece *p;

    for (int way = 0; way < 2; way++) {
        while ((p = TAILQ_FIRST(&l->flow[way].pieces))) {
            TAILQ_REMOVE(&l->flow[way].pieces, p, link);
            free(p);
        }
        close(l->fd[way]);
        l->fd[way] = -1;
    }
}

static void line_end(struct line *l, bool reset)
{
    const struct linger linger = {.l_onoff = reset};

    for (int way = 0; way < 2; way++)
        if (setsockopt(l->fd[way], SOL_SOCKET, SO_LINGER, &linger, sizeof linger) != 0)
            die("SO_LINGER");
    line_clear(l);
}

static bool is_open(const struct line *l)
{
    return l->fd[UP] >= 0;
}

static unsigned open_lines(struct line *out[LINES_MAX])
{
    unsigned count = 0;

    for (unsigned i = 0; i < LINES_MAX; i++)
        if (is_open(&proxy.lines[i]))
            out[count++] = &proxy.lines[i];
    return count;
}

static int connect_to_target(void)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0)
        die("socket");
    if (connect(fd, (struct sockaddr *)&proxy.target, sizeof proxy.target) == 0)
        return fd;
    close(fd);
    return -1;
}

static void line_open(int client)
{
    const struct linger reset = {.l_onoff = 1};
    const int one = 1;
    struct line *l = proxy.lines;
    int target = proxy.away_until_us > now_us() ? -1 : connect_to_target();

    while (l < proxy.lines + LINES_MAX && is_open(l))
        l++;
    if (target < 0 || l == proxy.lines + LINES_MAX) {
        if (setsockopt(client, SOL_SOCKET, SO_LINGER, &reset, sizeof reset) != 0)
            die("SO_LINGER");
        close(client);
        if (target >= 0)
            close(target);
        return;
    }
    *l = (struct line){.fd = {client, target}};
    for (int way = 0; way < 2; way++) {
        TAILQ_INIT(&l->flow[way].pieces);
        l->flow[way].reset_after = -1;
        if (setsockopt(l->fd[way], IPPROTO_TCP, TCP_NODELAY, &one, sizeof one) != 0 ||
            fcntl(l->fd[way], F_SETFL, O_NONBLOCK) != 0)
            die("a connection");
    }
}

static void start_listening(void)
{
    const int one = 1;

    proxy.listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (proxy.listener < 0 ||
        setsockopt(proxy.listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) != 0 ||
        bind(proxy.listener, (struct sockaddr *)&proxy.own, sizeof proxy.own) != 0 ||
        listen(proxy.listener, 64) != 0)
        die("listen");
}

/* ---- flows ---- */

static uint64_t due(struct flow *f, size_t bytes)
{
    uint64_t now = now_us();

    if (f->free_us < now)
        f->free_us = now;
    if (proxy.rate)
        f->free_us += bytes * 1000000 / proxy.rate;
    return f->free_us + proxy.delay_us;
}

/* False: the line has broken. */
static bool take(struct line *l, enum way way)
{
    struct flow *f = &l->flow[way];
    struct piece *p = malloc(sizeof *p + PIECE_BYTES);
    ssize_t n;

    if (!p)
        die("memory");
    n = read(l->fd[way], p->data, PIECE_BYTES);
    if (n <= 0) {
        free(p);
        f->ended = n == 0;
        return n == 0 || errno == EAGAIN || errno == EINTR;
    }
    p->bytes = (size_t)n;
    p->sent = 0;
    p->due_us = due(f, p->bytes);
    f->queued += p->bytes;
    TAILQ_INSERT_TAIL(&f->pieces, p, link);
    return true;
}

static size_t allowed(const struct flow *f, const struct piece *p)
{
    size_t bytes = p->bytes - p->sent;

    if (f->reset_after >= 0 && bytes > (size_t)f->reset_after)
        bytes = (size_t)f->reset_after;
    return bytes;
}

/* False: the line has broken, or shall. */
static bool give(struct line *l, enum way way)
{
    struct flow *f = &l->flow[way];
    struct piece *p = TAILQ_FIRST(&f->pieces);
    size_t bytes = allowed(f, p);
    ssize_t n = bytes ? write(l->fd[!way], p->data + p->sent, bytes) : 0;

    if (n < 0)
        return errno == EAGAIN || errno == EINTR;
    if (f->reset_after >= 0)
        f->reset_after -= n;
    p->sent += (size_t)n;
    f->queued -= (size_t)n;
    if (p->sent == p->bytes) {
        TAILQ_REMOVE(&f->pieces, p, link);
        free(p);
    }
    return f->reset_after != 0;
}

static bool is_silent(const struct line *l, enum way way)
{
    uint64_t now = now_us();

    return proxy.silent_until_us[way] > now || l->flow[way].silent_until_us > now;
}

static bool may_give(const struct line *l, enum way way)
{
    const struct piece *p = TAILQ_FIRST(&l->flow[way].pieces);

    return p && !is_silent(l, way) && p->due_us <= now_us();
}

static bool has_ended(const struct line *l)
{
    for (int way = 0; way < 2; way++)
        if (l->flow[way].ended && TAILQ_EMPTY(&l->flow[way].pieces) && !is_silent(l, (enum way)way))
            return true;
    return false;
}

/* ---- commands ---- */

static void note_outage(uint64_t us)
{
    uint64_t begin_us = now_us(), end_us = begin_us + us;

    if (begin_us < proxy.outage_until_us)
        begin_us = proxy.outage_until_us;
    if (end_us <= begin_us)
        return;
    proxy.outages_us += end_us - begin_us;
    proxy.outage_until_us = end_us;
}

/* `which` negative: all, and those that come. */
static void silence(enum way way, uint64_t ms, int which)
{
    uint64_t until_us = now_us() + ms * MS;
    struct line *open[LINES_MAX];
    unsigned count = open_lines(open);

    note_outage(ms * MS);
    if (which < 0)
        proxy.silent_until_us[way] = until_us;
    else if (count > 0)
        open[(unsigned)which % count]->flow[way].silent_until_us = until_us;
}

static void go_away(uint64_t ms)
{
    struct line *open[LINES_MAX];
    unsigned count = open_lines(open);

    for (unsigned i = 0; i < count; i++)
        line_end(open[i], true);
    proxy.away_until_us = now_us() + ms * MS;
    note_outage(ms * MS);
}

/* `which` negative: all. */
static void end_lines(bool reset, int which)
{
    struct line *open[LINES_MAX];
    unsigned count = open_lines(open);

    for (unsigned i = 0; i < count; i++)
        if (which < 0 || (unsigned)which % count == i)
            line_end(open[i], reset);
}

static void reset_at(enum way way, int64_t bytes, int which)
{
    struct line *open[LINES_MAX];
    unsigned count = open_lines(open);

    for (unsigned i = 0; i < count; i++)
        if (which < 0 || (unsigned)which % count == i)
            open[i]->flow[way].reset_after = bytes;
}

static void quiet(void)
{
    proxy.random = false;
    proxy.delay_us = proxy.rate = 0;
}

static unsigned draw(unsigned from, unsigned to)
{
    return from + (unsigned)rand_r(&proxy.seed) % (to - from);
}

static void random_fault(void)
{
    uint64_t lasts_us = draw(200, 2000) * MS;

    proxy.next_us = now_us() + lasts_us;
    proxy.delay_us = proxy.rate = 0;
    proxy.faults++;
    switch (draw(0, 10)) {
    case 0:
        end_lines(true, (int)draw(0, LINES_MAX));
        break;
    case 1:
        end_lines(false, (int)draw(0, LINES_MAX));
        break;
    case 2:
        end_lines(true, -1);
        break;
    case 3:
        reset_at((enum way)draw(0, 2), draw(1, 200000), (int)draw(0, LINES_MAX));
        break;
    case 4:
        silence(UP, draw(50, 1000), -1);
        silence(DOWN, draw(50, 1000), -1);
        break;
    case 5:
        silence((enum way)draw(0, 2), draw(50, 1000), -1);
        break;
    case 6:
        silence((enum way)draw(0, 2), draw(50, 1000), (int)draw(0, LINES_MAX));
        break;
    case 7:
        proxy.delay_us = draw(5, 50) * MS;
        break;
    case 8:
        proxy.rate = draw(200000, 2000000);
        note_outage(lasts_us);
        break;
    default:
        go_away(draw(50, 1000));
    }
}

static bool make_fault(const char *text)
{
    char word[32] = "", direction[8] = "";
    long a = -1, b = -1;
    bool directed = sscanf(text, "%31s %7[updown] %ld %ld", word, direction, &a, &b) >= 3;
    enum way way = strcmp(direction, "up") ? DOWN : UP;

    if (!directed)
        sscanf(text, "%31s %ld %ld", word, &a, &b);
    if (!strcmp(word, "reset") || !strcmp(word, "cut")) {
        end_lines(*word == 'r', (int)a);
    } else if (!strcmp(word, "reset-at") && directed && a > 0) {
        reset_at(way, a, (int)b);
    } else if (!strcmp(word, "stall") && a > 0) {
        silence(UP, (uint64_t)a, (int)b);
        silence(DOWN, (uint64_t)a, (int)b);
    } else if (!strcmp(word, "silence") && directed && a > 0) {
        silence(way, (uint64_t)a, (int)b);
    } else if (!strcmp(word, "delay") && a >= 0) {
        proxy.delay_us = (uint64_t)a * MS;
    } else if (!strcmp(word, "rate") && a >= 0) {
        proxy.rate = (uint64_t)a;
    } else if (!strcmp(word, "away") && a > 0) {
        go_away((uint64_t)a);
    } else {
        return false;
    }
    return true;
}

static void obey(const char *text)
{
    if (sscanf(text, "random %u", &proxy.seed) == 1)
        proxy.random = true;
    else if (!strcmp(text, "quiet"))
        quiet();
    else if (!strcmp(text, "say"))
        printf("%u faults, %" PRIu64 " ms of outages\n", proxy.faults, proxy.outages_us / MS);
    else if (make_fault(text))
        proxy.faults++;
    else
        fprintf(stderr, "proxy: not understood: %s\n", text);
}

/* False: there are no more. */
static bool read_commands(void)
{
    static char text[4096];
    static size_t have;
    ssize_t n = read(STDIN_FILENO, text + have, sizeof text - 1 - have);
    char *end;

    if (n <= 0)
        return false;
    have += (size_t)n;
    text[have] = 0;
    while ((end = strchr(text, '\n'))) {
        *end++ = 0;
        obey(text);
        have -= (size_t)(end - text);
        memmove(text, end, have + 1);
    }
    return true;
}

/* ---- the loop ---- */

enum { POLL_STDIN, POLL_LISTENER, POLL_LINES };

static void fill_polls(struct pollfd *polls)
{
    polls[POLL_STDIN] = (struct pollfd){STDIN_FILENO, POLLIN, 0};
    polls[POLL_LISTENER] = (struct pollfd){proxy.listener, POLLIN, 0};
    for (unsigned i = 0; i < LINES_MAX; i++) {
        const struct line *l = &proxy.lines[i];

        for (int way = 0; way < 2; way++) {
            const struct flow *in = &l->flow[way];
            short events = 0;

            if (is_open(l) && !in->ended && in->queued < QUEUE_BYTES_MAX)
                events |= POLLIN;
            if (is_open(l) && may_give(l, (enum way) !way))
                events |= POLLOUT;
            polls[POLL_LINES + 2 * i + (unsigned)way] =
                (struct pollfd){events ? l->fd[way] : -1, events, 0};
        }
    }
}

static void serve(struct line *l, const struct pollfd *polls)
{
    bool good = true;

    for (int way = 0; way < 2 && good; way++) {
        if (polls[way].revents & (POLLIN | POLLHUP | POLLERR) && !l->flow[way].ended)
            good = take(l, (enum way)way);
        if (good && polls[!way].revents & POLLOUT && may_give(l, (enum way)way))
            good = give(l, (enum way)way);
    }
    if (!good)
        line_end(l, true);
    else if (has_ended(l))
        line_end(l, false);
}

static void accept_one(void)
{
    int fd = accept4(proxy.listener, NULL, NULL, SOCK_CLOEXEC);

    if (fd >= 0)
        line_open(fd);
}

static void step(bool *more)
{
    static struct pollfd polls[POLL_LINES + 2 * LINES_MAX];

    if (proxy.random && now_us() >= proxy.next_us)
        random_fault();
    fill_polls(polls);
    if (poll(polls, POLL_LINES + 2 * LINES_MAX, 2) < 0 && errno != EINTR)
        die("poll");
    for (unsigned i = 0; i < LINES_MAX; i++)
        if (is_open(&proxy.lines[i]))
            serve(&proxy.lines[i], polls + POLL_LINES + 2 * i);
    if (polls[POLL_LISTENER].revents)
        accept_one();
    if (polls[POLL_STDIN].revents)
        *more = read_commands();
}

int main(int argc, char **argv)
{
    socklen_t len = sizeof proxy.own;
    bool more = true;

    if (argc < 2 || argc > 3 || atoi(argv[1]) <= 0) {
        fprintf(stderr, "usage: proxy PORT [ADDRESS]\n");
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    setvbuf(stdout, NULL, _IOLBF, 0);
    proxy.own = proxy.target =
        (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    proxy.target.sin_port = htons((uint16_t)atoi(argv[1]));
    if (argc == 3 && inet_pton(AF_INET, argv[2], &proxy.own.sin_addr) != 1)
        die(argv[2]);
    for (unsigned i = 0; i < LINES_MAX; i++)
        proxy.lines[i].fd[UP] = proxy.lines[i].fd[DOWN] = -1;
    start_listening();
    if (getsockname(proxy.listener, (struct sockaddr *)&proxy.own, &len) != 0)
        die("getsockname");
    printf("port %u\n", ntohs(proxy.own.sin_port));
    while (more)
        step(&more);
    return 0;
}
