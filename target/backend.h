// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * What stores a LUN's bytes: one narrow table. Offsets and counts in bytes;
 * 0 or -errno; all but open and close may be called by many threads at once.
 */
#ifndef TARGET_BACKEND_H
#define TARGET_BACKEND_H

#include <stddef.h>
#include <stdint.h>

struct backend;

struct backend_ops {
    int (*read)(struct backend *backend, void *buf, size_t count, uint64_t offset);
    int (*write)(struct backend *backend, const void *buf, size_t count, uint64_t offset);
    int (*zero)(struct backend *backend, uint64_t count, uint64_t offset);
    int (*unmap)(struct backend *backend, uint64_t count, uint64_t offset); /* reads as zeros */
    int (*flush)(struct backend *backend); /* 0: everything written before is on stable storage */
    void (*close)(struct backend *backend);
};

struct backend {
    const struct backend_ops *ops;
    uint64_t size_bytes;
};

/* A file, made sparse with `size_bytes` if it is not there (0: it must be), or
 * a block device. Locked against a second target. NULL with a line in `message`. */
struct backend *backend_file_open(const char *path, uint64_t size_bytes, char *message, size_t size);

#endif
