// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * encsanfs: mounts the file system on a disk far away.
 *
 * A mount goes through these phases, in main's thread:
 *
 *     CONNECTING  lock, target, volume, recovery   a signal ends the process at once
 *     OPENING     file system, FUSE                a signal is kept for later
 *     MOUNTED     until it is unmounted            a signal unmounts
 *     FINISHING   the rest to the far disk         a signal has no effect
 *
 * The command that the user typed returns at the end of OPENING, so it knows of
 * every error until then; what comes later is in the system's log.
 */
#define FUSE_USE_VERSION 314
#include <errno.h>
#include <malloc.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/prctl.h>
#include <fuse_lowlevel.h>
#include <glib.h>

#include "buffers.h"
#include "config.h"
#include "control.h"
#include "daemon.h"
#include "disk.h"
#include "embedded.h"
#include "encsan.h"
#include "files/fs.h"
#include "fsck.h"
#include "log.h"
#include "mountpoint.h"
#include "options.h"
#include "state.h"
#include "status.h"
#include "view.h"

#define COMMIT_S 5 /* as ext4 */
#define CACHE_BYTES (128u << 20)
#define METADATA_SHARE 2
#define ANSWERS_SHARE 16
#define ANSWERS_BYTES_MAX (16u << 20)

#define EMBEDDED_TIMEOUT_S 5 /* a target of our own that has died does not come back */

enum phase { CONNECTING, OPENING, MOUNTED, FINISHING };

struct mount {
    struct options options;
    const char *name; /* what users call the volume: its URL without password, or the image */
    struct control *control;
    struct state *state;
    struct embedded *embedded; /* where it is an image */
    struct encsan *volume;
    struct fs_head head; /* files view, and the next */
    struct fs *fs;
    struct disk *disk; /* disk view */
    struct view *view;

    _Atomic enum phase phase; /* changed by main's thread */
    atomic_bool stop;         /* a signal came while OPENING */
};

/* ---- signals, in control's thread ---- */

static void unmount(struct mount *mount)
{
    int error = mountpoint_unmount(mount->options.mountpoint, false, false);

    if (!error)
        return;
    log_line(LOG_WARNING, "%s is in use, and is taken away by a signal", mount->options.mountpoint);
    view_stop(mount->view);
}

static void on_signal(void *opaque)
{
    struct mount *mount = opaque;

    switch (atomic_load(&mount->phase)) {
    case CONNECTING:
        log_line(LOG_ERR, "interrupted");
        _exit(1);
    case OPENING:
        atomic_store(&mount->stop, true);
        break;
    case MOUNTED:
        unmount(mount);
        break;
    case FINISHING:
        log_line(LOG_NOTICE, "%s: still writing to the far disk", mount->name);
        break;
    }
}

/* A signal's action belongs to the phase in which it began. */
static void enter_phase(struct mount *mount, enum phase phase)
{
    control_on_signal(mount->control, NULL, NULL);
    atomic_store(&mount->phase, phase);
    control_on_signal(mount->control, on_signal, mount);
}

/* ---- connecting ---- */

static int complain(const char *message)
{
    log_line(LOG_ERR, "%s", message);
    return -1;
}

/* The source and its name; a lock on it; a target where it is an image. */
static int find_source(struct mount *mount)
{
    struct options *options = &mount->options;
    char message[ENCSAN_MESSAGE_BYTES];

    if (!options->source) {
        options->source = embedded_default_image(message);
        if (!options->source)
            return complain(message);
    }
    mount->name = options->is_url ? options->url.name : options->source;
    mount->state = state_lock(mount->name, options->mountpoint, message, sizeof(message));
    if (!mount->state)
        return complain(message);
    if (options->is_url)
        return 0;
    mount->embedded = embedded_start(options->source, message);
    if (!mount->embedded)
        return complain(message);
    return 0;
}

static int find_keys(const struct mount *mount, struct encsan_options *open)
{
    const struct options *options = &mount->options;
    char message[ENCSAN_MESSAGE_BYTES];

    if (mount->embedded) {
        embedded_keys(mount->embedded, open->key, open->target_key);
        return 0;
    }
    if (config_key(options->key_file, open->key, message, sizeof(message)))
        return complain(message);
    if (options->has_target_key)
        memcpy(open->target_key, options->target_key, sizeof(open->target_key));
    else if (config_target_key(options->url.target, open->target_key, message, sizeof(message)))
        return complain(message);
    return 0;
}

static size_t cache_bytes(const struct options *options)
{
    return options->cache_bytes ? options->cache_bytes : CACHE_BYTES;
}

/* The part of cache= that is for the metadata of files. */
static size_t metadata_bytes(const struct options *options)
{
    return options->disk_view ? 0 : cache_bytes(options) / METADATA_SHARE;
}

/* The part that is for answers to reads. */
static size_t answer_bytes(const struct options *options)
{
    size_t share = cache_bytes(options) / ANSWERS_SHARE;

    return options->disk_view ? 0 : MIN(share, ANSWERS_BYTES_MAX);
}

static int open_volume(struct mount *mount)
{
    const struct options *options = &mount->options;
    char message[ENCSAN_MESSAGE_BYTES];
    struct encsan_info info;
    struct encsan_options open = {
        .url = mount->embedded ? embedded_url(mount->embedded) : options->source,
        .suite = options->suite,
        .read_only = options->read_only,
        .steal = options->steal,
        .timeout_s = !options->timeout_s && mount->embedded ? EMBEDDED_TIMEOUT_S : options->timeout_s,
        .depth = options->depth,
        .readahead = options->readahead,
        .sessions = options->sessions,
        .workers = options->workers,
        .segment_bytes = options->segment_bytes,
        .cache_bytes = cache_bytes(options) - metadata_bytes(options) - answer_bytes(options),
        .log = log_volume,
    };

    if (find_keys(mount, &open))
        return -1;
    state_previous(mount->state, open.previous_mount_id);
    mount->volume = encsan_open(&open, message);
    explicit_bzero(open.key, sizeof(open.key));
    if (!mount->volume)
        return complain(message);
    encsan_get_info(mount->volume, &info);
    if (state_mounted(mount->state, info.mount_id, message, sizeof(message)))
        return complain(message);
    return 0;
}

/* ---- opening ---- */

static int complain_of_volume(const struct mount *mount, const char *message)
{
    log_line(LOG_ERR, "%s: %s", mount->name, message);
    return -1;
}

static int recover(const struct mount *mount)
{
    char message[ENCSAN_MESSAGE_BYTES];

    if (mount->options.read_only) {
        log_line(LOG_ERR,
                 "%s was not unmounted cleanly, and ro forbids to repair it: mount it once without "
                 "ro, or run encsan fsck %s",
                 mount->name, mount->name);
        return -1;
    }
    if (fsck_recover(mount->volume, mount->name, mount->control, message))
        return complain(message);
    return 0;
}

/* Nothing is opened before it is known to be whole. */
static int prepare_files(struct mount *mount)
{
    char message[ENCSAN_MESSAGE_BYTES];
    enum fs_state state = fs_probe(mount->volume, &mount->head, message);

    if (state == FS_NEEDS_FSCK) {
        if (recover(mount))
            return -1;
        state = fs_probe(mount->volume, &mount->head, message);
    }
    if (state == FS_NEEDS_FSCK)
        return complain_of_volume(
            mount, "the ext4 file system was not unmounted cleanly; run encsan fsck");
    return state == FS_CLEAN ? 0 : complain_of_volume(mount, message);
}

static int open_view(struct mount *mount)
{
    struct options *options = &mount->options;
    struct fs_options files = {.read_only = options->read_only,
                               .no_atime = options->no_atime,
                               .no_discard = options->no_discard,
                               .idmap_user = options->idmap_user,
                               .sync = options->sync,
                               .dirsync = options->dirsync || options->sync,
                               .commit_s = options->commit_s ? options->commit_s : COMMIT_S,
                               .cache_bytes = metadata_bytes(options),
                               .answer_bytes = answer_bytes(options)};
    char message[ENCSAN_MESSAGE_BYTES];

    if (options_finish_fuse(options, mount->name))
        return complain(g_strerror(ENOMEM));
    mountpoint_register(options->mountpoint, mount->name, options->is_url);
    if (options->disk_view) {
        mount->disk = disk_new(mount->volume, options->read_only);
        if (!mount->disk)
            return complain(g_strerror(errno));
        mount->view = view_mount(&disk_ops, mount->disk, &options->fuse, options->mountpoint);
    } else {
        mount->fs = fs_open(mount->volume, &mount->head, &files, message);
        if (!mount->fs)
            return complain_of_volume(mount, message);
        mount->view = view_mount(&files_ops, mount->fs, &options->fuse, options->mountpoint);
        if (mount->view)
            mount->fs->fuse_fd = view_fd(mount->view);
    }
    return mount->view ? 0 : -1;
}

/* From nothing to a folder that can be used. 0, or -1: it has been said why. */
static int set_up(struct mount *mount)
{
    int error;

    mount->control = control_start();
    if (!mount->control)
        return complain(g_strerror(errno));
    enter_phase(mount, CONNECTING);
    if (find_source(mount) || open_volume(mount))
        return -1;
    if (!mount->options.disk_view && prepare_files(mount))
        return -1;

    enter_phase(mount, OPENING);
    if (open_view(mount))
        return -1;
    error = control_listen(mount->control, mount->options.mountpoint);
    if (error) {
        log_line(LOG_ERR, "control socket: %s", g_strerror(-error));
        return -1;
    }
    if (!mount->options.foreground) {
        error = daemon_ready();
        if (error) {
            log_line(LOG_ERR, "going into the background: %s", g_strerror(-error));
            return -1;
        }
    }
    return 0;
}

/* ---- finishing ---- */

/* The rest to the far disk. 0 or -errno; what failed is said. */
static int write_back(struct mount *mount)
{
    const char *what = "writing the file system back";
    int error = 0, closing;

    if (mount->fs)
        error = fs_close(mount->fs);
    disk_free(mount->disk);
    if (mount->volume) {
        closing = encsan_close(mount->volume);
        if (!error && closing) {
            what = "the last flush";
            error = closing;
        }
    }
    if (error)
        log_line(LOG_ERR, "%s on %s: %s failed: %s; data may be missing on the far disk",
                 mount->name, mount->options.mountpoint, what, g_strerror(-error));
    closing = embedded_stop(mount->embedded);
    if (closing)
        log_line(LOG_ERR, "%s: its target ended with an error", mount->name);
    return error ? error : closing;
}

/* Undoes set_up, as far as it came. */
static int tear_down(struct mount *mount)
{
    char message[ENCSAN_MESSAGE_BYTES];
    int error;

    if (mount->control)
        enter_phase(mount, FINISHING);
    if (mount->volume && state_finishing(mount->state, message, sizeof(message)))
        log_line(LOG_WARNING, "%s", message);
    view_free(mount->view);
    error = write_back(mount);
    state_unlock(mount->state);
    return error;
}

static char *describe(void *opaque)
{
    struct mount *mount = opaque;

    return status_describe(mount->volume, mount->fs);
}

static int serve(struct mount *mount)
{
    const struct options *options = &mount->options;
    int error, finishing;

    enter_phase(mount, MOUNTED);
    control_on_status(mount->control, describe, mount);
    if (atomic_load(&mount->stop))
        kill(getpid(), SIGTERM);
    error = view_loop(mount->view);
    if (error)
        log_line(LOG_ERR, "%s on %s: FUSE failed: %s", mount->name, options->mountpoint,
                 g_strerror(-error));
    control_on_status(mount->control, NULL, NULL);
    finishing = tear_down(mount);
    if (!finishing)
        log_line(LOG_INFO, "%s is unmounted from %s: everything is on the far disk", mount->name,
                 options->mountpoint);
    control_finish(mount->control, finishing ? g_strerror(-finishing) : NULL);
    return error || finishing ? 1 : 0;
}

/* ---- */

/* Descriptors 0 to 2 exist, else a volume's socket could become standard error;
 * and no other is kept open for whoever waits for its end. */
static int own_files(void)
{
    int fd;

    if (close_range(STDERR_FILENO + 1, ~0U, 0))
        return -errno;
    do
        fd = open("/dev/null", O_RDWR);
    while (fd >= 0 && fd <= STDERR_FILENO);
    return fd < 0 ? -errno : close(fd);
}

int main(int argc, char *argv[])
{
    struct mount mount = {.phase = CONNECTING};
    int status;

    if (own_files())
        return 1;
    status = options_read(&mount.options, argc, argv);
    if (status != OPTIONS_GO) {
        options_clear(&mount.options);
        return status;
    }
    log_start(mount.options.foreground);
    if (!mount.options.foreground) {
        status = daemon_fork();
        if (status) {
            log_line(LOG_ERR, "fork: %s", g_strerror(-status));
            return 1;
        }
    }
    if (chdir("/") || signal(SIGPIPE, SIG_IGN) == SIG_ERR) {
        log_line(LOG_ERR, "%s", g_strerror(errno));
        return 1;
    }
    /* Memory that we ask for must not wait for dirty pages that only we can
     * write. Not everybody may: then it is as with any FUSE file system. */
    prctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0);

    /* Memory for a segment stays ours, since giving it back and touching it anew
     * costs more than the data's own way. Buffers of libfuse's threads (a request
     * and a page) go with their threads. */
    mallopt(M_MMAP_THRESHOLD, BUFFER_BYTES + 2048);
    mallopt(M_TRIM_THRESHOLD, 1 << 20);
    mallopt(M_ARENA_MAX, 2);

    if (set_up(&mount)) {
        tear_down(&mount);
        if (mount.control)
            control_finish(mount.control, "the mount failed");
        status = 1;
    } else {
        status = serve(&mount);
    }
    options_clear(&mount.options);
    return status;
}
