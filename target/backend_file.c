// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * A LUN in a file or on a block device. Writeback is started as data comes, so
 * that a flush finds little to do.
 */
#include "backend.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <linux/falloc.h>
#include <linux/fs.h>

#define WRITEBACK_BYTES (8u << 20) /* start it each time that so much was written */

struct file {
    struct backend backend;
    int fd;
    atomic_uint_fast64_t unstarted_bytes;
};

static struct file *file_of(struct backend *backend)
{
    return (struct file *)backend;
}

static int file_read(struct backend *backend, void *buf, size_t count, uint64_t offset)
{
    uint8_t *p = buf;

    while (count > 0) {
        ssize_t n = pread(file_of(backend)->fd, p, count, (off_t)offset);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? -errno : -EIO;
        p += n;
        offset += (uint64_t)n;
        count -= (size_t)n;
    }
    return 0;
}

static int file_write(struct backend *backend, const void *buf, size_t count, uint64_t offset)
{
    struct file *f = file_of(backend);
    const uint8_t *p = buf;
    size_t left = count;

    while (left > 0) {
        ssize_t n = pwrite(f->fd, p, left, (off_t)offset);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? -errno : -EIO;
        p += n;
        offset += (uint64_t)n;
        left -= (size_t)n;
    }
    if (atomic_fetch_add(&f->unstarted_bytes, count) + count >= WRITEBACK_BYTES) {
        atomic_store(&f->unstarted_bytes, 0);
        /* only a hint: what fails here fails again, and counts, at the flush */
        (void)sync_file_range(f->fd, 0, 0, SYNC_FILE_RANGE_WRITE);
    }
    return 0;
}

static int write_zeros(struct backend *backend, uint64_t count, uint64_t offset)
{
    static const uint8_t zeros[65536];

    while (count > 0) {
        size_t n = count < sizeof zeros ? (size_t)count : sizeof zeros;
        int error = file_write(backend, zeros, n, offset);

        if (error)
            return error;
        offset += n;
        count -= n;
    }
    return 0;
}

static int file_zero(struct backend *backend, uint64_t count, uint64_t offset)
{
    if (fallocate(file_of(backend)->fd, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, (off_t)offset,
                  (off_t)count) == 0)
        return 0;
    return errno == EOPNOTSUPP ? write_zeros(backend, count, offset) : -errno;
}

static int file_unmap(struct backend *backend, uint64_t count, uint64_t offset)
{
    if (fallocate(file_of(backend)->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)offset,
                  (off_t)count) == 0)
        return 0;
    return errno == EOPNOTSUPP ? file_zero(backend, count, offset) : -errno;
}

static int file_flush(struct backend *backend)
{
    return fdatasync(file_of(backend)->fd) == 0 ? 0 : -errno;
}

static void file_close(struct backend *backend)
{
    close(file_of(backend)->fd);
    free(backend);
}

static const struct backend_ops file_ops = {file_read,  file_write, file_zero,
                                            file_unmap, file_flush, file_close};

static int complain(char *message, size_t size, const char *path, const char *what)
{
    snprintf(message, size, "%s: %s", path, what);
    return -1;
}

static int set_size(struct file *f, const char *path, uint64_t wanted, char *message, size_t size)
{
    struct stat st;

    if (fstat(f->fd, &st) != 0)
        return complain(message, size, path, strerror(errno));
    if (S_ISBLK(st.st_mode)) {
        if (ioctl(f->fd, BLKGETSIZE64, &f->backend.size_bytes) != 0)
            return complain(message, size, path, strerror(errno));
        return wanted && wanted != f->backend.size_bytes
                   ? complain(message, size, path, "size=: a block device has its own")
                   : 0;
    }
    if (!S_ISREG(st.st_mode))
        return complain(message, size, path, "neither a file nor a block device");
    if (wanted && wanted < (uint64_t)st.st_size)
        return complain(message, size, path, "is larger than size=; it is never cut off");
    if (wanted > (uint64_t)st.st_size && ftruncate(f->fd, (off_t)wanted) != 0)
        return complain(message, size, path, strerror(errno));
    f->backend.size_bytes = wanted ? wanted : (uint64_t)st.st_size;
    return 0;
}

struct backend *backend_file_open(const char *path, uint64_t size_bytes, char *message, size_t size)
{
    struct file *f = calloc(1, sizeof *f);

    if (!f) {
        complain(message, size, path, "out of memory");
        return NULL;
    }
    f->backend.ops = &file_ops;
    f->fd = open(path, O_RDWR | O_CLOEXEC | (size_bytes ? O_CREAT : 0), 0600);
    if (f->fd < 0) {
        snprintf(message, size, "%s: %s%s", path, strerror(errno),
                 errno == ENOENT && !size_bytes ? "; with size= it would be made" : "");
        free(f);
        return NULL;
    }
    if (flock(f->fd, LOCK_EX | LOCK_NB) != 0)
        complain(message, size, path, "another encsan-target serves it");
    else if (set_size(f, path, size_bytes, message, size) == 0)
        return &f->backend;
    file_close(&f->backend);
    return NULL;
}
