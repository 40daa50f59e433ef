// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * A LUN in a file or on a block device. Reads and writes go through the page
 * cache. The kernel is told to begin with writeback every few MiB, so that a
 * flush finds little to do.
 */
#include "backend.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#define WRITEBACK_BYTES (8u << 20)
#define BLOCK_BYTES 512 /* the page cache takes any */
#define ZEROS_BYTES (1u << 20)
#define FALLOCATE_BYTES_MAX (UINT64_C(1) << 40) /* an off_t has to take offset + count */

struct file {
    struct backend backend;
    int fd;
    atomic_size_t dirty; /* written since the last start of writeback */
    /* One flush at a time: an error of writeback is reported to one of those
     * that wait for it, and the others would believe that all is well. */
    pthread_mutex_t flushing;
    char *path;
};

static struct file *file_of(struct backend *backend)
{
    return (struct file *)backend;
}

static int file_pread(struct backend *backend, void *buf, size_t count, uint64_t offset)
{
    while (count) {
        ssize_t n = pread(file_of(backend)->fd, buf, count, (off_t)offset);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        if (n == 0)
            return -EIO; /* somebody has cut the file */
        buf = (char *)buf + n;
        count -= (size_t)n;
        offset += (uint64_t)n;
    }
    return 0;
}

static void start_writeback(struct file *file, size_t written)
{
    if (atomic_fetch_add(&file->dirty, written) + written < WRITEBACK_BYTES)
        return;
    atomic_store(&file->dirty, 0);
    /* Only a hint, and with this flag alone it does not take an error away from the next flush. */
    if (sync_file_range(file->fd, 0, 0, SYNC_FILE_RANGE_WRITE) != 0)
        return;
}

static int file_pwrite(struct backend *backend, const void *buf, size_t count, uint64_t offset)
{
    size_t all = count;

    while (count) {
        ssize_t n = pwrite(file_of(backend)->fd, buf, count, (off_t)offset);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        if (n == 0)
            return -ENOSPC;
        buf = (const char *)buf + n;
        count -= (size_t)n;
        offset += (uint64_t)n;
    }
    start_writeback(file_of(backend), all);
    return 0;
}

static int allocate(struct file *file, int mode, uint64_t count, uint64_t offset)
{
    while (count) {
        uint64_t n = count < FALLOCATE_BYTES_MAX ? count : FALLOCATE_BYTES_MAX;

        if (fallocate(file->fd, mode | FALLOC_FL_KEEP_SIZE, (off_t)offset, (off_t)n) != 0) {
            if (errno != EINTR)
                return -errno;
            continue;
        }
        count -= n;
        offset += n;
    }
    return 0;
}

static int write_zeros(struct backend *backend, uint64_t count, uint64_t offset)
{
    uint8_t *zeros = calloc(1, ZEROS_BYTES);
    int error = zeros ? 0 : -ENOMEM;

    while (count && !error) {
        size_t n = count < ZEROS_BYTES ? (size_t)count : ZEROS_BYTES;

        error = file_pwrite(backend, zeros, n, offset);
        count -= n;
        offset += n;
    }
    free(zeros);
    return error;
}

/* EINVAL: a device takes whole sectors of its own, which may be larger than our blocks. */
static bool is_refused(int error)
{
    return error == -EOPNOTSUPP || error == -EINVAL;
}

static int file_zero(struct backend *backend, uint64_t count, uint64_t offset)
{
    int error = allocate(file_of(backend), FALLOC_FL_ZERO_RANGE, count, offset);

    return is_refused(error) ? write_zeros(backend, count, offset) : error;
}

static int file_unmap(struct backend *backend, uint64_t count, uint64_t offset)
{
    int error = allocate(file_of(backend), FALLOC_FL_PUNCH_HOLE, count, offset);

    return is_refused(error) ? file_zero(backend, count, offset) : error;
}

/* Where the file system, or the device, knows no holes, all of it is data. */
static int file_extent(struct backend *backend, uint64_t offset, uint64_t *count, bool *mapped)
{
    int fd = file_of(backend)->fd;
    off_t end = lseek(fd, (off_t)offset, SEEK_DATA);

    *mapped = end == (off_t)offset || (end < 0 && errno == EINVAL);
    if (*mapped)
        end = lseek(fd, (off_t)offset, SEEK_HOLE);
    if (end >= 0 && (uint64_t)end - offset < *count)
        *count = (uint64_t)end - offset;
    return end < 0 && errno != ENXIO && errno != EINVAL ? -errno : 0;
}

static int file_flush(struct backend *backend)
{
    struct file *file = file_of(backend);
    int error;

    pthread_mutex_lock(&file->flushing);
    error = fdatasync(file->fd) == 0
                ? 0
                : -errno; /* never again after EINTR: it may have eaten an error */
    if (error)
        atomic_fetch_add(&backend->losses, 1);
    pthread_mutex_unlock(&file->flushing);
    return error;
}

static int file_grow(struct backend *backend, uint64_t bytes, char *message, size_t size);

static void file_close(struct backend *backend)
{
    struct file *file = file_of(backend);

    close(file->fd);
    pthread_mutex_destroy(&file->flushing);
    free(file->path);
    free(file);
}

static const struct backend_operations operations = {
    .pread = file_pread,
    .pwrite = file_pwrite,
    .zero = file_zero,
    .unmap = file_unmap,
    .extent = file_extent,
    .flush = file_flush,
    .grow = file_grow,
    .close = file_close,
};

/* ---- opening ---- */

static int fail(char *message, size_t size, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
static int fail(char *message, size_t size, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(message, size, format, args);
    va_end(args);
    return -1;
}

/* Of a block device O_EXCL keeps out whoever mounts it or opens it so, too: open(2). */
static int open_or_make(const char *path, bool make, char *message, size_t size)
{
    struct stat st;
    bool device = stat(path, &st) == 0 && S_ISBLK(st.st_mode);
    int fd = open(path, O_RDWR | O_CLOEXEC | (device ? O_EXCL : make ? O_CREAT : 0), 0600);

    if (fd >= 0)
        return fd;
    if (errno == EBUSY)
        return fail(message, size, "%s: in use: it is mounted, or another serves it", path);
    if (errno == ENOENT && !make)
        return fail(message, size, "%s: no such file; with a size=, it is made", path);
    return fail(message, size, "%s: %s", path, strerror(errno));
}

/* The size as it is; of a block device too. */
static int measure(int fd, const char *path, bool *regular, uint64_t *bytes, char *message,
                   size_t size)
{
    struct stat st;

    if (fstat(fd, &st) != 0)
        return fail(message, size, "%s: %s", path, strerror(errno));
    *regular = S_ISREG(st.st_mode);
    if (*regular)
        *bytes = (uint64_t)st.st_size;
    else if (!S_ISBLK(st.st_mode))
        return fail(message, size, "%s: neither a file nor a block device", path);
    else if (ioctl(fd, BLKGETSIZE64, bytes) != 0)
        return fail(message, size, "%s: its size: %s", path, strerror(errno));
    return 0;
}

static int sync_folder_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    char *folder = slash ? strndup(path, (size_t)(slash - path) + 1) : strdup(".");
    int fd = folder ? open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    int error = fd >= 0 && fsync(fd) == 0 ? 0 : -1;

    if (fd >= 0)
        close(fd);
    free(folder);
    return error;
}

/* Gives it the size that was asked for; never a smaller one. */
static int resize(int fd, const char *path, uint64_t wanted, uint64_t *bytes, char *message,
                  size_t size)
{
    bool regular;

    if (measure(fd, path, &regular, bytes, message, size) != 0)
        return -1;
    if (wanted == 0 || wanted == *bytes)
        return 0;
    if (!regular)
        return fail(message, size, "%s: a device of %llu bytes, whose size can't be set", path,
                    (unsigned long long)*bytes);
    if (wanted < *bytes)
        return fail(
            message, size,
            "%s: has %llu bytes, more than size=: a disk is never made smaller; leave size= away",
            path, (unsigned long long)*bytes);
    if (ftruncate(fd, (off_t)wanted) != 0 || fsync(fd) != 0 || sync_folder_of(path) != 0)
        return fail(message, size, "%s: %s", path, strerror(errno));
    *bytes = wanted;
    return 0;
}

static int file_grow(struct backend *backend, uint64_t bytes, char *message, size_t size)
{
    struct file *file = file_of(backend);
    uint64_t now;

    if (resize(file->fd, file->path, bytes, &now, message, size) != 0)
        return -1;
    if (now < backend->bytes)
        return fail(message, size, "%s: has become smaller: %llu bytes, and it had %llu",
                    file->path, (unsigned long long)now, (unsigned long long)backend->bytes);
    backend->bytes = now;
    return 0;
}

static int lock_alone(int fd, const char *path, char *message, size_t size)
{
    if (flock(fd, LOCK_EX | LOCK_NB) == 0)
        return 0;
    if (errno == EWOULDBLOCK)
        return fail(message, size, "%s: another encsan-target serves it", path);
    return fail(message, size, "%s: %s", path, strerror(errno));
}

/* Of a file its file system knows, but what is below it nobody. */
static uint32_t physical_bytes(int fd)
{
    unsigned bytes = 0;

    return ioctl(fd, BLKPBSZGET, &bytes) == 0 ? bytes : 0;
}

struct backend *backend_file_open(const char *path, uint64_t bytes, char *message, size_t size)
{
    struct file *file = calloc(1, sizeof *file);
    uint64_t now;

    if (!file) {
        fail(message, size, "out of memory");
        return NULL;
    }
    file->backend.operations = &operations;
    file->backend.block_bytes = BLOCK_BYTES;
    file->path = strdup(path);
    pthread_mutex_init(&file->flushing, NULL);
    file->fd = open_or_make(path, bytes > 0, message, size);
    if (file->path && file->fd >= 0 && lock_alone(file->fd, path, message, size) == 0 &&
        resize(file->fd, path, bytes, &now, message, size) == 0) {
        file->backend.bytes = now;
        file->backend.physical_bytes = physical_bytes(file->fd);
        return &file->backend;
    }
    if (file->fd >= 0)
        close(file->fd);
    pthread_mutex_destroy(&file->flushing);
    free(file->path);
    free(file);
    return NULL;
}
