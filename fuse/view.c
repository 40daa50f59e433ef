// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * A FUSE session on a folder: view.h.
 *
 * libfuse's loop waits on a semaphore of its own and only a signal to its
 * thread makes it look if it shall end; view_stop sends one until it has looked.
 */
#define FUSE_USE_VERSION 314
#include "view.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <fuse_lowlevel.h>
#include <glib.h>

#define WAKE_SIGNAL SIGUSR1
#define WAKE_US 10000
#define THREADS_MAX 10000 /* requests that wait don't hold up others */
#define IDLE_THREADS 16   /* each has a buffer for a whole write */

struct view {
    struct fuse_session *session;
    atomic_bool looping;
    pthread_t looper; /* valid while looping */
};

static void wake(int signal)
{
}

struct view *view_mount(const struct fuse_lowlevel_ops *ops, void *userdata, struct fuse_args *args,
                        const char *mountpoint)
{
    struct view *view = g_new0(struct view, 1);

    view->session = fuse_session_new(args, ops, sizeof(*ops), userdata);
    if (!view->session) {
        g_free(view);
        return NULL;
    }
    if (fuse_session_mount(view->session, mountpoint)) {
        fuse_session_destroy(view->session);
        g_free(view);
        return NULL;
    }
    return view;
}

int view_fd(struct view *view)
{
    return fuse_session_fd(view->session);
}

int view_loop(struct view *view)
{
    struct sigaction action = {.sa_handler = wake};
    struct fuse_loop_config *config = fuse_loop_cfg_create();
    int error;

    if (!config)
        return -ENOMEM;
    if (sigaction(WAKE_SIGNAL, &action, NULL)) {
        error = -errno;
        fuse_loop_cfg_destroy(config);
        return error;
    }
    fuse_loop_cfg_set_max_threads(config, THREADS_MAX);
    fuse_loop_cfg_set_idle_threads(config, IDLE_THREADS);
    view->looper = pthread_self();
    atomic_store(&view->looping, true);
    error = fuse_session_loop_mt(view->session, config);
    atomic_store(&view->looping, false);
    fuse_loop_cfg_destroy(config);
    return error;
}

void view_stop(struct view *view)
{
    fuse_session_exit(view->session);
    while (atomic_load(&view->looping)) {
        pthread_kill(view->looper, WAKE_SIGNAL);
        g_usleep(WAKE_US);
    }
}

void view_free(struct view *view)
{
    if (!view)
        return;
    fuse_session_unmount(view->session);
    fuse_session_destroy(view->session);
    g_free(view);
}
