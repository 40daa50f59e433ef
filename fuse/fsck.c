// SPDX-License-Identifier: LGPL-2.1-or-later
/* Recovery: fsck.h. */
#define FUSE_USE_VERSION 314
#include "fsck.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <sys/wait.h>
#include <fuse_lowlevel.h>
#include <glib.h>

#include "control.h"
#include "disk.h"
#include "log.h"
#include "mountpoint.h"
#include "program.h"
#include "view.h"

#define E2FSCK_FIXED 1 /* e2fsck(8), exit codes */

/* ---- e2fsck ---- */

struct child { /* one for whom a signal may come at any time */
    pthread_mutex_t lock;
    pid_t pid; /* 0: has not begun, or is over */
    bool stopped;
};

static void stop_child(void *opaque)
{
    struct child *child = opaque;

    pthread_mutex_lock(&child->lock);
    child->stopped = true;
    if (child->pid > 0)
        kill(child->pid, SIGTERM);
    pthread_mutex_unlock(&child->lock);
}

/* e2fsck's exit status, or -errno. */
static int run_child(struct child *child, char *argv[])
{
    siginfo_t info;
    int error;

    pthread_mutex_lock(&child->lock);
    error =
        child->stopped ? -EINTR : program_start(argv, -1, STDERR_FILENO, -1, false, &child->pid);
    pthread_mutex_unlock(&child->lock);
    if (error)
        return error;
    /* its pid is its own until it has been waited for */
    while (waitid(P_PID, (id_t)child->pid, &info, WEXITED | WNOWAIT) && errno == EINTR)
        ;
    pthread_mutex_lock(&child->lock);
    error = program_wait(child->pid);
    child->pid = 0;
    pthread_mutex_unlock(&child->lock);
    return error;
}

static int run_e2fsck(const char *mountpoint, struct control *control)
{
    g_autofree char *disk = g_build_filename(mountpoint, DISK_NAME, NULL);
    g_autofree char *e2fsck = program_find("e2fsck");
    char *argv[] = {e2fsck, "-p", disk, NULL};
    char *with_progress[] = {e2fsck, "-p", "-C", "0", disk, NULL};
    struct child child = {.lock = PTHREAD_MUTEX_INITIALIZER};
    int status;

    control_on_signal(control, stop_child, &child);
    status = run_child(&child, isatty(STDERR_FILENO) ? with_progress : argv);
    control_on_signal(control, NULL, NULL);
    return child.stopped || status > 128 ? -EINTR : status;
}

/* ---- the private disk view ---- */

static void *serve(void *view)
{
    if (view_loop(view))
        log_line(LOG_ERR, "recovery: the disk view failed");
    return NULL;
}

/* e2fsck's exit status, or -errno. */
static int check_through(struct view *view, const char *mountpoint, struct control *control)
{
    pthread_t server;
    int status, error;

    error = pthread_create(&server, NULL, serve, view);
    if (error)
        return -error;
    status = run_e2fsck(mountpoint, control);
    error = mountpoint_unmount(mountpoint, false, false);
    if (error)
        view_stop(view);
    pthread_join(server, NULL);
    return status ? status : error;
}

static int check_on(struct encsan *volume, const char *mountpoint, struct control *control)
{
    struct fuse_args args = FUSE_ARGS_INIT(0, NULL);
    struct disk *disk = disk_new(volume, false);
    struct view *view;
    int status;

    if (!disk)
        return -errno;
    if (fuse_opt_add_arg(&args, "encsanfs") ||
        fuse_opt_add_arg(&args, "-ofsname=recovery,subtype=encsanfs,nosuid,nodev,noexec"))
        status = -ENOMEM;
    else if (!(view = view_mount(&disk_ops, disk, &args, mountpoint)))
        status = -EIO;
    else {
        status = check_through(view, mountpoint, control);
        view_free(view);
    }
    disk_free(disk);
    fuse_opt_free_args(&args);
    return status;
}

int fsck_recover(struct encsan *volume, const char *name, struct control *control,
                 char message[ENCSAN_MESSAGE_BYTES])
{
    g_autofree char *mountpoint = NULL;
    int status = mountpoint_temporary(&mountpoint);

    if (!status) {
        log_line(LOG_NOTICE, "%s was not unmounted cleanly: checking it", name);
        status = check_on(volume, mountpoint, control);
        rmdir(mountpoint);
    }
    if (status == 0 || status == E2FSCK_FIXED)
        status = encsan_flush(volume);
    if (status > 0)
        snprintf(message, ENCSAN_MESSAGE_BYTES,
                 "e2fsck can't repair %s by itself (its exit status is %d): run encsan fsck %s",
                 name, status, name);
    else if (status)
        snprintf(message, ENCSAN_MESSAGE_BYTES, "%s could not be checked: %s", name,
                 g_strerror(-status));
    return status > 0 ? -EUCLEAN : status;
}
