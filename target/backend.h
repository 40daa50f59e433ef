// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * What stores a LUN's bytes: a narrow table of functions. All may be called by
 * several threads at once and return 0 or -errno; ranges lie within `bytes`.
 *
 *   -EAGAIN            it is away; nothing was done, or what was done does not count
 *   -ENOSPC, -EDQUOT   no space
 *   -EROFS             write protected
 *   -EBUSY             reserved by another
 *   -EREMOTEIO         it does not do what it should
 *   another            the medium fails
 */
#ifndef TARGET_BACKEND_H
#define TARGET_BACKEND_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct backend;

/* Of a disk that may be away, for people. */
#define BACKEND_WHY_BYTES 512
struct backend_report {
    bool there;
    unsigned sessions; /* that are open */
    uint64_t reconnects;
    uint64_t away_us; /* for how long; 0: it is there */
    char why[BACKEND_WHY_BYTES]; /* what was wrong last; "": nothing yet */
};

struct backend_operations {
    int (*pread)(struct backend *backend, void *buf, size_t count, uint64_t offset);
    int (*pwrite)(struct backend *backend, const void *buf, size_t count, uint64_t offset);
    /* The range reads as zeros afterwards; unmap also gives its space back where it can. */
    int (*zero)(struct backend *backend, uint64_t count, uint64_t offset);
    int (*unmap)(struct backend *backend, uint64_t count, uint64_t offset);
    /* Is there space behind the byte at `offset`, and for how many of the *count
     * bytes from there on is it the same? NULL: there is behind all of them. */
    int (*extent)(struct backend *backend, uint64_t offset, uint64_t *count, bool *mapped);
    /* 0: what was written before the call is on stable storage, where `losses`
     * has not grown since. */
    int (*flush)(struct backend *backend);
    /* Who waits for a disk that is away shall have -EAGAIN, now and from now on. NULL: it is
     * always there. */
    void (*give_up)(struct backend *backend);
    /* Waits until it is known whether it is there, or until then (now_us). The same. */
    void (*await)(struct backend *backend, uint64_t until_us);
    void (*report)(struct backend *backend, struct backend_report *report); /* the same */
    /* From the next login on: the file with the password, NULL: none. NULL: it needs none. */
    void (*use_password)(struct backend *backend, const char *path);
    /* At least this large (0: as it is); `bytes` says then how large it is. -1, with one line
     * for the user in `message`, also where it would have to be made smaller. Nobody else
     * changes `bytes`. */
    int (*grow)(struct backend *backend, uint64_t bytes, char *message, size_t size);
    void (*close)(struct backend *backend);
};

struct backend {
    const struct backend_operations *operations;
    /* Grows when what was written and not flushed may be lost, though it was
     * answered, and though it may still be read: with a flush that failed, since
     * Linux takes such pages for clean and the next flush would succeed. Who
     * answers for a flush looks at it before and after. */
    atomic_uint losses;
    /* Never less than before. 0: it was not there yet, and neither is what follows. */
    _Atomic uint64_t bytes;
    uint32_t block_bytes; /* constant; offsets and counts are multiples of it; at most WIRE_BLOCK_BYTES */
    uint32_t physical_bytes; /* constant; what a device writes at once; 0: nobody knows */
};

/* A regular file or a block device, locked against a second target. bytes: 0,
 * or the size that it is to have: a file is made, sparse, or grows. NULL on
 * failure, with one line for the user in `message`. */
struct backend *backend_file_open(const char *path, uint64_t bytes, char *message, size_t size);

/* A LUN of another iSCSI target, on iSCSI sessions of our own, which come again
 * when they were lost. Calls wait for that for some seconds, then: -EAGAIN. It need not
 * be there yet: `bytes` is 0 until it is, and until then it must not be called for its data. NULL,
 * with one line for the user in `message`, only where something is wrong at this end. */
struct upstream_settings {
    const char *name; /* for the log */
    const char *url;  /* iscsi://[USER@]HOST[:PORT][,HOST[:PORT]...]/IQN/LUN */
    const char *password_file; /* for CHAP; NULL: none */
    const char *initiator;     /* our name */
    unsigned isid;             /* of 24 bits; no other LUN's, and the same at each start */
    uint64_t bytes_max;        /* a larger disk is none for us */
};
#define UPSTREAM_SCHEME "iscsi://"
#define UPSTREAM_WORKERS 32 /* threads that keep it busy */
struct backend *backend_iscsi_open(const struct upstream_settings *settings, char *message,
                                   size_t size);

static inline bool backend_is_upstream(const char *path)
{
    return strncmp(path, UPSTREAM_SCHEME, strlen(UPSTREAM_SCHEME)) == 0;
}

#endif
