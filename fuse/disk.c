// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The disk view: disk.h.
 *
 * Whole blocks go straight to the volume, asynchronously, and are answered by
 * its callbacks. What is not (a write of half a block, a hole with ragged
 * edges) reads, changes and writes blocks, and must be alone then: one thread
 * does all of these, one after the other, when no other change is running; what
 * comes in meanwhile queues behind it. Reads go past all this: a read beside a
 * write that has not been answered may see either.
 */
#define FUSE_USE_VERSION 314
#include "disk.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <linux/falloc.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <fuse_lowlevel.h>
#include <glib.h>

#include "encsan.h"
#include "interrupt.h"

#define BLOCK ((uint64_t)ENCSAN_BLOCK_BYTES)
#define DISK_INO 2
#define FOREVER 1e9 /* seconds: nothing changes behind the kernel's back */

enum change_kind { CHANGE_WRITE, CHANGE_ZERO, CHANGE_DISCARD };

/* A request that changes the disk. */
struct change {
    struct disk *disk;
    fuse_req_t req;
    struct interruptible interruptible;
    enum change_kind kind;
    uint64_t offset, count;
    void *data; /* CHANGE_WRITE: `count` bytes */
};

struct disk {
    struct encsan *volume;
    uint64_t size;
    bool read_only;
    struct timespec since; /* the times that the file shows */
    struct interrupts *interrupts; /* NULL: none */

    pthread_t thread;     /* makes changes one by one */
    pthread_mutex_t lock; /* protects: */
    pthread_cond_t changed;
    GQueue queue;      /* struct change, for the thread; it has the first one until it is made */
    unsigned running;  /* changes in the volume that are not the thread's, and reads and flushes */
    unsigned changing; /* changes among them */
    bool ending;
};

struct transfer { /* a read or a flush */
    struct disk *disk;
    fuse_req_t req;
    struct interruptible interruptible;
    uint8_t *data;
    uint64_t skip, count;
};

static struct disk *disk_of(fuse_req_t req)
{
    return fuse_req_userdata(req);
}

static void enter(struct disk *disk)
{
    pthread_mutex_lock(&disk->lock);
    disk->running++;
    pthread_mutex_unlock(&disk->lock);
}

static void leave(struct disk *disk, bool change)
{
    pthread_mutex_lock(&disk->lock);
    disk->running--;
    if (change)
        disk->changing--;
    if (!disk->running || (change && !disk->changing))
        pthread_cond_broadcast(&disk->changed);
    pthread_mutex_unlock(&disk->lock);
}

/* ---- changes ---- */

static void change_answer(struct change *change, int error)
{
    bool may = interrupts_leave(change->disk->interrupts, &change->interruptible);

    if (may && !error && change->kind == CHANGE_WRITE)
        fuse_reply_write(change->req, change->count);
    else if (may)
        fuse_reply_err(change->req, -error);
    free(change->data);
    g_free(change);
}

static void change_done(void *opaque, int error)
{
    struct change *change = opaque;
    struct disk *disk = change->disk;

    change_answer(change, error);
    leave(disk, true);
}

/* Whole blocks. */
static void change_start(struct change *change)
{
    struct encsan *volume = change->disk->volume;

    switch (change->kind) {
    case CHANGE_WRITE:
        encsan_write_async(volume, change->data, change->count, change->offset, 0, change_done,
                           change);
        break;
    case CHANGE_ZERO:
        encsan_zero_async(volume, change->count, change->offset, change_done, change);
        break;
    case CHANGE_DISCARD:
        encsan_discard_async(volume, change->count, change->offset, change_done, change);
        break;
    }
}

static int change_blocks(struct encsan *volume, enum change_kind kind, const void *data,
                         uint64_t count, uint64_t offset)
{
    switch (kind) {
    case CHANGE_WRITE:
        return encsan_write(volume, data, count, offset, 0);
    case CHANGE_ZERO:
        return encsan_zero(volume, count, offset);
    case CHANGE_DISCARD:
        return encsan_discard(volume, count, offset);
    }
    return -EINVAL;
}

/* A part of one block; `data` NULL: zeros. */
static int change_part(struct encsan *volume, const void *data, uint64_t count, uint64_t offset)
{
    uint8_t block[ENCSAN_BLOCK_BYTES];
    uint64_t start = offset / BLOCK * BLOCK;
    int error = encsan_read(volume, block, BLOCK, start);

    if (error)
        return error;
    if (data)
        memcpy(block + (offset - start), data, count);
    else
        memset(block + (offset - start), 0, count);
    return encsan_write(volume, block, BLOCK, start, 0);
}

/* Any range, by the thread. */
static int change_make(const struct change *change)
{
    struct encsan *volume = change->disk->volume;
    const uint8_t *data = change->data;
    uint64_t at = change->offset, end = change->offset + change->count;

    while (at < end) {
        uint64_t count = MIN(BLOCK - at % BLOCK, end - at);
        int error;

        if (count == BLOCK) {
            count = (end - at) / BLOCK * BLOCK;
            error = change_blocks(volume, change->kind, data, count, at);
        } else {
            error = change_part(volume, data, count, at);
        }
        if (error)
            return error;
        at += count;
        if (data)
            data += count;
    }
    return 0;
}

static void *make_changes(void *opaque)
{
    struct disk *disk = opaque;
    struct change *change;

    pthread_mutex_lock(&disk->lock);
    for (;;) {
        change = g_queue_peek_head(&disk->queue);
        if (!change && disk->ending)
            break;
        if (!change || disk->changing) {
            pthread_cond_wait(&disk->changed, &disk->lock);
            continue;
        }
        pthread_mutex_unlock(&disk->lock);
        change_answer(change, change_make(change));
        pthread_mutex_lock(&disk->lock);
        g_queue_pop_head(&disk->queue);
        pthread_cond_broadcast(&disk->changed);
    }
    pthread_mutex_unlock(&disk->lock);
    return NULL;
}

/* Takes `data`, which is from malloc. */
static void change_submit(fuse_req_t req, enum change_kind kind, void *data, uint64_t count,
                          uint64_t offset)
{
    struct disk *disk = disk_of(req);
    struct change *change = g_new(struct change, 1);
    bool at_once;

    *change = (struct change){.disk = disk,
                              .req = req,
                              .kind = kind,
                              .offset = offset,
                              .count = count,
                              .data = data};
    interrupts_enter(disk->interrupts, &change->interruptible, req);
    pthread_mutex_lock(&disk->lock);
    at_once = (offset | count) % BLOCK == 0 && g_queue_is_empty(&disk->queue);
    if (at_once) {
        disk->running++;
        disk->changing++;
    } else {
        g_queue_push_tail(&disk->queue, change);
        pthread_cond_broadcast(&disk->changed);
    }
    pthread_mutex_unlock(&disk->lock);
    if (at_once)
        change_start(change);
}

/* ---- FUSE: attributes and names ---- */

static void fill(const struct disk *disk, fuse_ino_t ino, struct stat *st)
{
    memset(st, 0, sizeof(*st));
    st->st_ino = ino;
    st->st_uid = geteuid();
    st->st_gid = getegid();
    st->st_blksize = ENCSAN_BLOCK_BYTES;
    st->st_atim = st->st_mtim = st->st_ctim = disk->since;
    if (ino == FUSE_ROOT_ID) {
        st->st_mode = S_IFDIR | 0700;
        st->st_nlink = 2;
    } else {
        st->st_mode = S_IFREG | (disk->read_only ? 0400 : 0600);
        st->st_nlink = 1;
        st->st_size = (off_t)disk->size;
        st->st_blocks = (blkcnt_t)(disk->size / 512);
    }
}

static void disk_init(void *userdata, struct fuse_conn_info *conn)
{
    /* O_TRUNC shall come as a setattr, which can be answered with the true size. */
    conn->want &= ~(FUSE_CAP_ATOMIC_O_TRUNC | FUSE_CAP_AUTO_INVAL_DATA);
    ((struct disk *)userdata)->interrupts = interrupts_new();
}

/* The session is about to end: its requests must be answered first. */
static void disk_drain(void *userdata)
{
    struct disk *disk = userdata;

    pthread_mutex_lock(&disk->lock);
    while (disk->running || !g_queue_is_empty(&disk->queue))
        pthread_cond_wait(&disk->changed, &disk->lock);
    pthread_mutex_unlock(&disk->lock);
    interrupts_free(disk->interrupts);
    disk->interrupts = NULL;
}

static void disk_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    struct fuse_entry_param entry = {
        .ino = DISK_INO, .attr_timeout = FOREVER, .entry_timeout = FOREVER};

    if (parent != FUSE_ROOT_ID || strcmp(name, DISK_NAME)) {
        fuse_reply_err(req, ENOENT);
        return;
    }
    fill(disk_of(req), DISK_INO, &entry.attr);
    fuse_reply_entry(req, &entry);
}

static void reply_attr(fuse_req_t req, fuse_ino_t ino)
{
    struct stat st;

    fill(disk_of(req), ino, &st);
    fuse_reply_attr(req, &st, FOREVER);
}

static void disk_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    reply_attr(req, ino);
}

static void disk_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *st, int to_set,
                         struct fuse_file_info *fi)
{
    const int times = FUSE_SET_ATTR_ATIME | FUSE_SET_ATTR_MTIME | FUSE_SET_ATTR_CTIME |
                      FUSE_SET_ATTR_ATIME_NOW | FUSE_SET_ATTR_MTIME_NOW;

    /* Size 0 is what O_TRUNC asks for (dd of=disk): a block device ignores it,
     * and so do we; the answer has the size that stays. The times are not kept. */
    if (ino != DISK_INO || to_set & ~(times | FUSE_SET_ATTR_SIZE) ||
        (to_set & FUSE_SET_ATTR_SIZE && st->st_size && (uint64_t)st->st_size != disk_of(req)->size))
        fuse_reply_err(req, EPERM);
    else
        reply_attr(req, ino);
}

static void disk_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset,
                         struct fuse_file_info *fi)
{
    static const struct {
        const char *name;
        fuse_ino_t ino;
    } entries[] = {{".", FUSE_ROOT_ID}, {"..", FUSE_ROOT_ID}, {DISK_NAME, DISK_INO}};
    g_autofree char *buf = g_malloc(size);
    size_t used = 0;

    if (ino != FUSE_ROOT_ID) {
        fuse_reply_err(req, ENOTDIR);
        return;
    }
    for (size_t i = (size_t)offset; i < G_N_ELEMENTS(entries); i++) {
        struct stat st;

        fill(disk_of(req), entries[i].ino, &st);
        size_t need =
            fuse_add_direntry(req, buf + used, size - used, entries[i].name, &st, (off_t)i + 1);
        if (need > size - used)
            break;
        used += need;
    }
    fuse_reply_buf(req, buf, used);
}

static void disk_statfs(fuse_req_t req, fuse_ino_t ino)
{
    const struct statvfs st = {
        .f_bsize = ENCSAN_BLOCK_BYTES,
        .f_frsize = ENCSAN_BLOCK_BYTES,
        .f_blocks = disk_of(req)->size / BLOCK,
        .f_files = 1,
        .f_namemax = 255,
    };

    fuse_reply_statfs(req, &st);
}

/* ---- FUSE: data ---- */

static void disk_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    if (disk_of(req)->read_only && (fi->flags & O_ACCMODE) != O_RDONLY) {
        fuse_reply_err(req, EROFS);
        return;
    }
    fi->keep_cache = 1;
    fuse_reply_open(req, fi);
}

static void read_done(void *opaque, int error)
{
    struct transfer *transfer = opaque;
    bool may = interrupts_leave(transfer->disk->interrupts, &transfer->interruptible);

    if (may && error)
        fuse_reply_err(transfer->req, -error);
    else if (may)
        fuse_reply_buf(transfer->req, (char *)transfer->data + transfer->skip, transfer->count);
    leave(transfer->disk, false);
    free(transfer->data);
    g_free(transfer);
}

static void disk_read(fuse_req_t req, fuse_ino_t ino, size_t count, off_t offset,
                      struct fuse_file_info *fi)
{
    struct disk *disk = disk_of(req);
    uint64_t at = (uint64_t)offset;
    uint64_t end = MIN(at + count, disk->size);
    struct transfer *transfer;

    if (at >= end) {
        fuse_reply_buf(req, NULL, 0);
        return;
    }

    uint64_t first = at / BLOCK * BLOCK;
    uint64_t bytes = (end + BLOCK - 1) / BLOCK * BLOCK - first;
    uint8_t *data = aligned_alloc(BLOCK, bytes);

    if (!data) {
        fuse_reply_err(req, ENOMEM);
        return;
    }
    transfer = g_new(struct transfer, 1);
    *transfer = (struct transfer){
        .disk = disk, .req = req, .data = data, .skip = at - first, .count = end - at};
    enter(disk);
    interrupts_enter(disk->interrupts, &transfer->interruptible, req);
    encsan_read_async(disk->volume, data, bytes, first, read_done, transfer);
}

static void disk_write(fuse_req_t req, fuse_ino_t ino, const char *buf, size_t count, off_t offset,
                       struct fuse_file_info *fi)
{
    uint64_t size = disk_of(req)->size;
    uint64_t at = (uint64_t)offset;
    void *data;

    if (at >= size) {
        fuse_reply_err(req, ENOSPC);
        return;
    }
    count = MIN(count, size - at);
    if (!count) {
        fuse_reply_write(req, 0);
        return;
    }
    data = malloc(count); /* libfuse uses its buffer again when we return */
    if (!data) {
        fuse_reply_err(req, ENOMEM);
        return;
    }
    memcpy(data, buf, count);
    change_submit(req, CHANGE_WRITE, data, count, at);
}

static void flush_done(void *opaque, int error)
{
    struct transfer *transfer = opaque;

    if (interrupts_leave(transfer->disk->interrupts, &transfer->interruptible))
        fuse_reply_err(transfer->req, -error);
    leave(transfer->disk, false);
    g_free(transfer);
}

/* What was answered before this fsync came in is in the volume, so the queue is not waited for. */
static void disk_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
    struct disk *disk = disk_of(req);
    struct transfer *transfer = g_new0(struct transfer, 1);

    transfer->disk = disk;
    transfer->req = req;
    enter(disk);
    interrupts_enter(disk->interrupts, &transfer->interruptible, req);
    encsan_flush_async(disk->volume, 0, flush_done, transfer);
}

static void disk_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t offset, off_t length,
                           struct fuse_file_info *fi)
{
    uint64_t size = disk_of(req)->size;
    uint64_t at = (uint64_t)offset;
    uint64_t end = at + (uint64_t)length;

    if (mode != (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE) &&
        (mode & ~FALLOC_FL_KEEP_SIZE) != FALLOC_FL_ZERO_RANGE) {
        fuse_reply_err(req, EOPNOTSUPP);
        return;
    }
    if (!(mode & FALLOC_FL_KEEP_SIZE) && end > size) {
        fuse_reply_err(req, EFBIG);
        return;
    }
    end = MIN(end, size);
    if (at >= end) {
        fuse_reply_err(req, 0);
        return;
    }
    change_submit(req, mode & FALLOC_FL_PUNCH_HOLE ? CHANGE_DISCARD : CHANGE_ZERO, NULL, end - at,
                  at);
}

const struct fuse_lowlevel_ops disk_ops = {
    .init = disk_init,
    .destroy = disk_drain,
    .lookup = disk_lookup,
    .getattr = disk_getattr,
    .setattr = disk_setattr,
    .readdir = disk_readdir,
    .statfs = disk_statfs,
    .open = disk_open,
    .read = disk_read,
    .write = disk_write,
    .fsync = disk_fsync,
    .fallocate = disk_fallocate,
};

/* ---- */

struct disk *disk_new(struct encsan *volume, bool read_only)
{
    struct disk *disk = g_new0(struct disk, 1);
    struct encsan_info info;
    int error;

    encsan_get_info(volume, &info);
    disk->volume = volume;
    disk->size = info.size_bytes;
    disk->read_only = read_only;
    clock_gettime(CLOCK_REALTIME, &disk->since);
    pthread_mutex_init(&disk->lock, NULL);
    pthread_cond_init(&disk->changed, NULL);
    g_queue_init(&disk->queue);
    error = pthread_create(&disk->thread, NULL, make_changes, disk);
    if (error) {
        g_free(disk);
        errno = error;
        return NULL;
    }
    return disk;
}

void disk_free(struct disk *disk)
{
    if (!disk)
        return;
    pthread_mutex_lock(&disk->lock);
    disk->ending = true;
    pthread_cond_broadcast(&disk->changed);
    pthread_mutex_unlock(&disk->lock);
    pthread_join(disk->thread, NULL);
    pthread_cond_destroy(&disk->changed);
    pthread_mutex_destroy(&disk->lock);
    g_free(disk);
}
