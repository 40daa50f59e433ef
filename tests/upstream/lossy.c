// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * A disk with a cache that a power cut empties: lossy FILE MOUNTPOINT serves
 * MOUNTPOINT/disk, whose bytes reach FILE with an fsync and not before.
 *
 * Writing to MOUNTPOINT/control drops what was written since the last fsync, or,
 * with "fail", lets the next fsync do so, and fail;
 * reading it tells how many bytes were dropped so far.
 *
 * One thread: operations come one after the other.
 */
#define FUSE_USE_VERSION 314
#include <fuse_lowlevel.h>

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define BLOCK 512

enum { ROOT = FUSE_ROOT_ID, DISK, CONTROL };

static struct {
    int fd;
    size_t size;
    uint8_t *cached; /* as it is read */
    uint8_t *dirty;  /* a byte a block */
    unsigned long long dropped;
    bool fails; /* the next fsync */
} disk;

static void die(const char *what)
{
    perror(what);
    exit(1);
}

/* ---- the cache ---- */

static void disk_write(const char *data, size_t size, off_t offset)
{
    memcpy(disk.cached + offset, data, size);
    for (size_t b = (size_t)offset / BLOCK; b * BLOCK < (size_t)offset + size; b++)
        disk.dirty[b] = 1;
}

static void disk_drop(void)
{
    for (size_t b = 0; b * BLOCK < disk.size; b++) {
        if (!disk.dirty[b])
            continue;
        if (pread(disk.fd, disk.cached + b * BLOCK, BLOCK, (off_t)(b * BLOCK)) != BLOCK)
            die("pread");
        disk.dirty[b] = 0;
        disk.dropped += BLOCK;
    }
}

static void disk_sync(void)
{
    for (size_t b = 0; b * BLOCK < disk.size; b++) {
        if (!disk.dirty[b])
            continue;
        if (pwrite(disk.fd, disk.cached + b * BLOCK, BLOCK, (off_t)(b * BLOCK)) != BLOCK)
            die("pwrite");
        disk.dirty[b] = 0;
    }
}

/* ---- the files ---- */

static bool attributes(fuse_ino_t ino, struct stat *st)
{
    memset(st, 0, sizeof *st);
    st->st_ino = ino;
    st->st_nlink = 1;
    st->st_mode = ino == ROOT ? S_IFDIR | 0700 : S_IFREG | 0600;
    st->st_size = ino == DISK ? (off_t)disk.size : 0;
    return ino <= CONTROL;
}

static void do_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    struct stat st;

    if (attributes(ino, &st))
        fuse_reply_attr(req, &st, 3600);
    else
        fuse_reply_err(req, ENOENT);
}

static void do_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *st, int to_set,
                       struct fuse_file_info *fi)
{
    do_getattr(req, ino, fi);
}

static void do_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    struct fuse_entry_param e = {.attr_timeout = 3600, .entry_timeout = 3600};

    e.ino = strcmp(name, "disk") == 0 ? DISK : strcmp(name, "control") == 0 ? CONTROL : 0;
    if (e.ino && attributes(e.ino, &e.attr))
        fuse_reply_entry(req, &e);
    else
        fuse_reply_err(req, ENOENT);
}

static void do_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    fi->direct_io = 1; /* no other cache than ours */
    fuse_reply_open(req, fi);
}

static void do_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset,
                    struct fuse_file_info *fi)
{
    char text[32];

    if (ino == CONTROL) {
        int n = snprintf(text, sizeof text, "%llu\n", disk.dropped);

        fuse_reply_buf(req, text + (offset < n ? offset : n), offset < n ? (size_t)(n - offset) : 0);
        return;
    }
    if ((size_t)offset > disk.size)
        size = 0;
    else if (size > disk.size - (size_t)offset)
        size = disk.size - (size_t)offset;
    fuse_reply_buf(req, (const char *)disk.cached + offset, size);
}

static void do_write(fuse_req_t req, fuse_ino_t ino, const char *data, size_t size, off_t offset,
                     struct fuse_file_info *fi)
{
    if (ino == CONTROL) {
        disk.fails = size >= 4 && memcmp(data, "fail", 4) == 0;
        if (!disk.fails)
            disk_drop();
        fuse_reply_write(req, size);
    } else if ((size_t)offset > disk.size || size > disk.size - (size_t)offset) {
        fuse_reply_err(req, ENOSPC);
    } else {
        disk_write(data, size, offset);
        fuse_reply_write(req, size);
    }
}

static void do_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
    bool fails = disk.fails;

    disk.fails = false;
    if (fails)
        disk_drop();
    else
        disk_sync();
    fuse_reply_err(req, fails ? EIO : 0);
}

static const struct fuse_lowlevel_ops operations = {
    .lookup = do_lookup,
    .getattr = do_getattr,
    .setattr = do_setattr,
    .open = do_open,
    .read = do_read,
    .write = do_write,
    .fsync = do_fsync,
};

static void load(const char *path)
{
    struct stat st;

    disk.fd = open(path, O_RDWR | O_CLOEXEC);
    if (disk.fd < 0 || fstat(disk.fd, &st) != 0)
        die(path);
    disk.size = (size_t)st.st_size;
    disk.cached = mmap(NULL, disk.size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    disk.dirty = calloc(disk.size / BLOCK + 1, 1);
    if (disk.cached == MAP_FAILED || !disk.dirty ||
        pread(disk.fd, disk.cached, disk.size, 0) != (ssize_t)disk.size)
        die(path);
}

int main(int argc, char **argv)
{
    char *arguments[] = {argv[0], NULL};
    struct fuse_args args = FUSE_ARGS_INIT(1, arguments);
    struct fuse_session *session;

    if (argc != 3) {
        fprintf(stderr, "usage: lossy FILE MOUNTPOINT\n");
        return 2;
    }
    load(argv[1]);
    session = fuse_session_new(&args, &operations, sizeof operations, NULL);
    if (!session || fuse_set_signal_handlers(session) != 0 ||
        fuse_session_mount(session, argv[2]) != 0)
        return 1;
    fuse_session_loop(session);
    fuse_session_unmount(session);
    fuse_session_destroy(session);
    fuse_opt_free_args(&args);
    return 0;
}
