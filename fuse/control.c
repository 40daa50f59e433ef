// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Signals and the control socket: control.h.
 *
 * One thread waits for both. The socket appears under its name by a rename, so
 * that the daemon of an earlier mount on the same folder, which may still be
 * writing back, keeps its clients and loses only the name.
 */
#include "control.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <glib.h>

#include "folders.h"
#include "mountpoint.h"

#define CLIENTS_MAX 16

enum { POLL_SIGNAL, POLL_WAKE, POLL_LISTENER, POLL_CLIENTS, POLL_MAX = POLL_CLIENTS + CLIENTS_MAX };

struct control {
    pthread_t thread;
    int signals, wake; /* signalfd; eventfd: `listener` or `ending` changed */

    pthread_mutex_t act_lock; /* held while `act` or `describe` runs; protects: */
    void (*act)(void *opaque);
    void *opaque;
    char *(*describe)(void *opaque);
    void *describe_opaque;

    pthread_mutex_t lock; /* protects: */
    int listener;         /* -1 until control_listen */
    bool ending;

    /* Of the thread, then of control_finish. */
    int clients[CLIENTS_MAX]; /* -1: free */
    char *greeting;           /* set before `listener` */
    char *path;
    struct stat made; /* what we put there */
};

static void write_line(int fd, const char *line)
{
    /* A client that does not read 4 KiB in all is not one of ours. */
    if (send(fd, line, strlen(line), MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
        return; /* it has gone: nobody to tell */
}

static void accept_client(struct control *control, int listener)
{
    int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

    if (fd < 0)
        return;
    for (int i = 0; i < CLIENTS_MAX; i++) {
        if (control->clients[i] >= 0)
            continue;
        control->clients[i] = fd;
        write_line(fd, control->greeting);
        return;
    }
    close(fd);
}

static void answer_status(struct control *control, int fd)
{
    g_autofree char *text = NULL;

    pthread_mutex_lock(&control->act_lock);
    if (control->describe)
        text = control->describe(control->describe_opaque);
    pthread_mutex_unlock(&control->act_lock);
    if (text)
        write_line(fd, text);
    write_line(fd, CONTROL_END "\n");
}

static void read_client(struct control *control, int *fd)
{
    static const char status[] = CONTROL_STATUS "\n";
    char line[256];
    ssize_t got = read(*fd, line, sizeof(line));

    if (got == sizeof(status) - 1 && !memcmp(line, status, sizeof(status) - 1))
        answer_status(control, *fd);
    if (got > 0 || (got < 0 && (errno == EAGAIN || errno == EINTR)))
        return;
    close(*fd);
    *fd = -1;
}

static void hear_signal(struct control *control)
{
    struct signalfd_siginfo info;

    if (read(control->signals, &info, sizeof(info)) != sizeof(info))
        return;
    pthread_mutex_lock(&control->act_lock);
    if (control->act)
        control->act(control->opaque);
    pthread_mutex_unlock(&control->act_lock);
}

static void *serve(void *opaque)
{
    struct control *control = opaque;

    for (;;) {
        struct pollfd polls[POLL_MAX] = {
            [POLL_SIGNAL] = {control->signals, POLLIN, 0},
            [POLL_WAKE] = {control->wake, POLLIN, 0},
        };
        uint64_t count;
        bool ending;

        pthread_mutex_lock(&control->lock);
        polls[POLL_LISTENER] = (struct pollfd){control->listener, POLLIN, 0};
        ending = control->ending;
        pthread_mutex_unlock(&control->lock);
        if (ending)
            return NULL;

        for (int i = 0; i < CLIENTS_MAX; i++)
            polls[POLL_CLIENTS + i] = (struct pollfd){control->clients[i], POLLIN, 0};
        if (poll(polls, POLL_MAX, -1) < 0)
            continue;

        if (polls[POLL_WAKE].revents && read(control->wake, &count, sizeof(count)) < 0)
            continue;
        for (int i = 0; i < CLIENTS_MAX; i++)
            if (polls[POLL_CLIENTS + i].revents)
                read_client(control, &control->clients[i]);
        if (polls[POLL_LISTENER].revents)
            accept_client(control, polls[POLL_LISTENER].fd);
        if (polls[POLL_SIGNAL].revents)
            hear_signal(control);
    }
}

static void wake(struct control *control)
{
    uint64_t one = 1;

    while (write(control->wake, &one, sizeof(one)) < 0 && errno == EINTR)
        ;
}

static void control_free(struct control *control)
{
    if (control->signals >= 0)
        close(control->signals);
    if (control->wake >= 0)
        close(control->wake);
    pthread_mutex_destroy(&control->act_lock);
    pthread_mutex_destroy(&control->lock);
    g_free(control->greeting);
    g_free(control->path);
    g_free(control);
}

struct control *control_start(void)
{
    struct control *control = g_new0(struct control, 1);
    sigset_t set;
    int error;

    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);

    pthread_mutex_init(&control->act_lock, NULL);
    pthread_mutex_init(&control->lock, NULL);
    control->listener = -1;
    memset(control->clients, -1, sizeof(control->clients));
    control->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    control->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    error = control->signals < 0 || control->wake < 0 ? errno : 0;
    if (!error)
        error = pthread_sigmask(SIG_BLOCK, &set, NULL);
    if (!error)
        error = pthread_create(&control->thread, NULL, serve, control);
    if (error) {
        control_free(control);
        errno = error;
        return NULL;
    }
    return control;
}

void control_on_signal(struct control *control, void (*act)(void *opaque), void *opaque)
{
    pthread_mutex_lock(&control->act_lock);
    control->act = act;
    control->opaque = opaque;
    pthread_mutex_unlock(&control->act_lock);
}

void control_on_status(struct control *control, char *(*describe)(void *opaque), void *opaque)
{
    pthread_mutex_lock(&control->act_lock);
    control->describe = describe;
    control->describe_opaque = opaque;
    pthread_mutex_unlock(&control->act_lock);
}

/* Binds under a name of our own, then takes the mount point's. */
static int make_socket(struct control *control, int fd)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int length =
        snprintf(address.sun_path, sizeof(address.sun_path), "%s.%d", control->path, (int)getpid());

    if (length < 0 || (size_t)length >= sizeof(address.sun_path))
        return -ENAMETOOLONG;
    if (unlink(address.sun_path) && errno != ENOENT)
        return -errno;
    if (bind(fd, (struct sockaddr *)&address, sizeof(address)))
        return -errno;
    if (listen(fd, CLIENTS_MAX) || stat(address.sun_path, &control->made) ||
        rename(address.sun_path, control->path)) {
        int error = -errno;

        unlink(address.sun_path);
        return error;
    }
    return 0;
}

int control_listen(struct control *control, const char *mountpoint)
{
    g_autofree char *folder = folder_runtime(geteuid());
    g_autofree char *escaped = g_strescape(mountpoint, NULL);
    int error = folder_make(folder);
    int fd;

    if (error)
        return error;
    control->path = mountpoint_socket(mountpoint, geteuid());
    control->greeting = g_strdup_printf(CONTROL_GREETING "%d %s\n", (int)getpid(), escaped);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -errno;
    error = make_socket(control, fd);
    if (error) {
        close(fd);
        return error;
    }

    pthread_mutex_lock(&control->lock);
    control->listener = fd;
    pthread_mutex_unlock(&control->lock);
    wake(control);
    return 0;
}

static void remove_socket(struct control *control)
{
    struct stat now;

    if (!stat(control->path, &now) && now.st_ino == control->made.st_ino &&
        now.st_dev == control->made.st_dev)
        unlink(control->path);
}

void control_finish(struct control *control, const char *failure)
{
    g_autofree char *last =
        failure ? g_strdup_printf(CONTROL_FAILED "%s\n", failure) : g_strdup(CONTROL_OK "\n");

    pthread_mutex_lock(&control->lock);
    control->ending = true;
    pthread_mutex_unlock(&control->lock);
    wake(control);
    pthread_join(control->thread, NULL);

    if (control->listener >= 0) {
        remove_socket(control);
        for (int i = 0; i < CLIENTS_MAX; i++) /* those that came in the last moment */
            accept_client(control, control->listener);
        close(control->listener);
    }
    /* Not closed: they end with the process, which is what a client waits for. */
    for (int i = 0; i < CLIENTS_MAX; i++)
        if (control->clients[i] >= 0)
            write_line(control->clients[i], last);
    control_free(control);
}
