// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Makes an encsan-target record what reaches its disk: the linker puts this
 * before backend_file_open and lease_claim (--wrap), so that the target itself
 * knows nothing of it. ENCSAN_RECORD names the log (disklog.h); it serves one
 * LUN. ENCSAN_TEST_BREAK=barrier makes every `after` count as satisfied: the
 * crash tester has to find that.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "backend.h"
#include "disklog.h"
#include "lease.h"
#include "task.h"

struct backend *__real_backend_file_open(const char *path, uint64_t bytes, char *message,
                                         size_t size);
struct backend *__wrap_backend_file_open(const char *path, uint64_t bytes, char *message,
                                         size_t size);
enum lease_verdict __real_lease_claim(struct lease *lease, struct lease_write *write);
enum lease_verdict __wrap_lease_claim(struct lease *lease, struct lease_write *write);

struct recorder {
    struct backend backend;
    struct backend *disk;
};

static pthread_mutex_t log_lock = PTHREAD_MUTEX_INITIALIZER; /* the order of the log */
static int log_fd = -1;
static uint64_t last_id;
static bool without_barrier; /* constant once the log is open */

/* A log with a gap would prove nothing. */
static void give_up(const char *what)
{
    fprintf(stderr, "encsan-target-record: %s: %s\n", what, strerror(errno));
    abort();
}

static void append_all(struct iovec *iov, int count)
{
    while (count) {
        ssize_t n = writev(log_fd, iov, count);

        if (n < 0 && errno != EINTR)
            give_up("the log");
        while (count && n >= (ssize_t)iov->iov_len) {
            n -= (ssize_t)iov->iov_len;
            iov++;
            count--;
        }
        if (count && n > 0) {
            iov->iov_base = (char *)iov->iov_base + n;
            iov->iov_len -= (size_t)n;
        }
    }
}

/* Gives writes, zeros and flushes the next id. Returns the id. */
static uint64_t append(struct disklog_record record, const void *data)
{
    struct iovec iov[2] = {{&record, sizeof record}, {(void *)data, record.count}};

    record.magic = DISKLOG_MAGIC;
    pthread_mutex_lock(&log_lock);
    if (record.kind == DISK_WRITE || record.kind == DISK_ZERO || record.kind == DISK_FLUSH)
        record.id = ++last_id;
    append_all(iov, data ? 2 : 1);
    pthread_mutex_unlock(&log_lock);
    return record.id;
}

static struct backend *disk_of(struct backend *backend)
{
    return ((struct recorder *)backend)->disk;
}

static int record_pread(struct backend *backend, void *buf, size_t count, uint64_t offset)
{
    return disk_of(backend)->operations->pread(disk_of(backend), buf, count, offset);
}

/* After an error the bytes may be there or not: it stays one that is not done. */
static int done(uint64_t id, int error)
{
    if (!error)
        append((struct disklog_record){.kind = DISK_DONE, .id = id}, NULL);
    return error;
}

static int record_pwrite(struct backend *backend, const void *buf, size_t count, uint64_t offset)
{
    uint64_t id =
        append((struct disklog_record){.kind = DISK_WRITE, .offset = offset, .count = count}, buf);

    return done(id, disk_of(backend)->operations->pwrite(disk_of(backend), buf, count, offset));
}

static int record_zero(struct backend *backend, uint64_t count, uint64_t offset)
{
    uint64_t id =
        append((struct disklog_record){.kind = DISK_ZERO, .offset = offset, .count = count}, NULL);

    return done(id, disk_of(backend)->operations->zero(disk_of(backend), count, offset));
}

static int record_unmap(struct backend *backend, uint64_t count, uint64_t offset)
{
    uint64_t id =
        append((struct disklog_record){.kind = DISK_ZERO, .offset = offset, .count = count}, NULL);

    return done(id, disk_of(backend)->operations->unmap(disk_of(backend), count, offset));
}

static int record_flush(struct backend *backend)
{
    uint64_t id = append((struct disklog_record){.kind = DISK_FLUSH}, NULL);
    int error = disk_of(backend)->operations->flush(disk_of(backend));

    atomic_store(&backend->losses, atomic_load(&disk_of(backend)->losses));
    if (!error)
        append((struct disklog_record){.kind = DISK_FLUSHED, .id = id}, NULL);
    return error;
}

static void record_close(struct backend *backend)
{
    disk_of(backend)->operations->close(disk_of(backend));
    free(backend);
}

static const struct backend_operations operations = {
    .pread = record_pread,
    .pwrite = record_pwrite,
    .zero = record_zero,
    .unmap = record_unmap,
    .flush = record_flush,
    .close = record_close,
};

static void open_log(void)
{
    const char *path = getenv("ENCSAN_RECORD");
    const char *broken = getenv("ENCSAN_TEST_BREAK");

    if (!path || log_fd >= 0) {
        errno = EINVAL;
        give_up("ENCSAN_RECORD names the log of one LUN");
    }
    log_fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC, 0600);
    if (log_fd < 0)
        give_up(path);
    without_barrier = broken && strcmp(broken, "barrier") == 0;
}

struct backend *__wrap_backend_file_open(const char *path, uint64_t bytes, char *message,
                                         size_t size)
{
    struct backend *disk = __real_backend_file_open(path, bytes, message, size);
    struct recorder *recorder;

    if (!disk)
        return NULL;
    recorder = calloc(1, sizeof *recorder);
    if (!recorder)
        give_up("memory");
    open_log();
    recorder->backend = (struct backend){.operations = &operations, .bytes = disk->bytes};
    recorder->disk = disk;
    return &recorder->backend;
}

enum lease_verdict __wrap_lease_claim(struct lease *lease, struct lease_write *write)
{
    const struct task *task = task_of(write, write);

    append((struct disklog_record){.kind = DISK_CLAIM,
                                   .offset = task->lba * WIRE_BLOCK_BYTES,
                                   .count = task->blocks * WIRE_BLOCK_BYTES,
                                   .ordinal = write->ordinal,
                                   .after = write->after},
           NULL);
    if (without_barrier)
        write->after = 0;
    return __real_lease_claim(lease, write);
}
