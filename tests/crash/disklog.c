// SPDX-License-Identifier: LGPL-2.1-or-later
/* Reads a recorder's log: which writes there are, and from where on each is durable. */
#include "disk.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "disklog.h"

/* While it is read: numbers are given in one sequence, so that an array does for all of them. */
struct progress {
    GArray *write_of; /* guint by id: index in `writes` + 1; 0: it is a flush */
    GArray *done;     /* uint64_t by id: where the write was done; 0: not yet */
    GArray *began;    /* uint64_t by id: where the flush began */
    GArray *open;     /* ids of writes that no flush has covered */
};

static bool map(struct disk_log *log, const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat st;
    void *bytes = MAP_FAILED;

    if (fd >= 0 && fstat(fd, &st) == 0 && st.st_size > 0)
        bytes = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
    if (bytes == MAP_FAILED) {
        fprintf(stderr, "check: %s: %s\n", path, strerror(errno));
    } else {
        log->bytes = bytes;
        log->size = (size_t)st.st_size;
    }
    if (fd >= 0)
        close(fd);
    return bytes != MAP_FAILED;
}

static bool fits(const struct progress *progress, const struct disklog_record *record,
                 uint64_t left)
{
    switch ((enum disklog_kind)record->kind) {
    case DISK_CLAIM:
        return true;
    case DISK_WRITE:
        return record->count <= left && record->id == progress->done->len;
    case DISK_ZERO:
    case DISK_FLUSH:
        return record->id == progress->done->len;
    case DISK_DONE:
    case DISK_FLUSHED:
        return record->id < progress->done->len;
    }
    return false;
}

/* False: there is no whole record at `position` that makes sense. */
static bool record_at(const struct disk_log *log, const struct progress *progress,
                      uint64_t position, struct disklog_record *record)
{
    if (log->size - position < sizeof *record)
        return false;
    memcpy(record, log->bytes + position, sizeof *record);
    return record->magic == DISKLOG_MAGIC &&
           fits(progress, record, log->size - position - sizeof *record);
}

static void new_id(struct progress *progress, guint write)
{
    uint64_t none = 0;

    g_array_append_val(progress->write_of, write);
    g_array_append_val(progress->done, none);
    g_array_append_val(progress->began, none);
}

static void add_write(struct disk_log *log, struct progress *progress,
                      const struct disklog_record *record, uint64_t end)
{
    struct disk_write write = {end, UINT64_MAX, record->offset, record->count, NULL};

    if (record->kind == DISK_WRITE)
        write.data = log->bytes + end - record->count;
    g_array_append_val(log->writes, write);
    new_id(progress, log->writes->len);
    g_array_append_val(progress->open, record->id);
}

/* What was done before the flush began is durable now that it returned. */
static void flushed(struct disk_log *log, struct progress *progress, uint64_t id, uint64_t end)
{
    uint64_t began = g_array_index(progress->began, uint64_t, id);

    for (guint i = progress->open->len; i-- > 0;) {
        uint64_t write = g_array_index(progress->open, uint64_t, i);
        uint64_t done = g_array_index(progress->done, uint64_t, write);

        if (done == 0 || done > began)
            continue;
        g_array_index(log->writes, struct disk_write,
                      g_array_index(progress->write_of, guint, write) - 1)
            .durable = end;
        g_array_remove_index_fast(progress->open, i);
    }
}

static void take(struct disk_log *log, struct progress *progress,
                 const struct disklog_record *record, uint64_t end)
{
    switch ((enum disklog_kind)record->kind) {
    case DISK_CLAIM:
        return;
    case DISK_WRITE:
    case DISK_ZERO:
        add_write(log, progress, record, end);
        break;
    case DISK_DONE:
        g_array_index(progress->done, uint64_t, record->id) = end;
        break;
    case DISK_FLUSH:
        new_id(progress, 0);
        g_array_index(progress->began, uint64_t, record->id) = end;
        g_array_append_val(log->flushes, end);
        break;
    case DISK_FLUSHED:
        flushed(log, progress, record->id, end);
        g_array_append_val(log->flushes, end);
        break;
    }
    g_array_append_val(log->ends, end);
}

static bool read_records(struct disk_log *log)
{
    struct progress progress = {
        .write_of = g_array_new(FALSE, FALSE, sizeof(guint)),
        .done = g_array_new(FALSE, FALSE, sizeof(uint64_t)),
        .began = g_array_new(FALSE, FALSE, sizeof(uint64_t)),
        .open = g_array_new(FALSE, FALSE, sizeof(uint64_t)),
    };
    struct disklog_record record;
    uint64_t position = 0;

    new_id(&progress, 0); /* ids begin with 1 */
    while (record_at(log, &progress, position, &record)) {
        position += sizeof record + (record.kind == DISK_WRITE ? record.count : 0);
        take(log, &progress, &record, position);
    }
    g_array_free(progress.write_of, TRUE);
    g_array_free(progress.done, TRUE);
    g_array_free(progress.began, TRUE);
    g_array_free(progress.open, TRUE);
    return position == log->size;
}

struct disk_log *disk_log_read(const char *path)
{
    struct disk_log *log = g_new0(struct disk_log, 1);

    log->writes = g_array_new(FALSE, FALSE, sizeof(struct disk_write));
    log->ends = g_array_new(FALSE, FALSE, sizeof(uint64_t));
    log->flushes = g_array_new(FALSE, FALSE, sizeof(uint64_t));
    if (map(log, path) && read_records(log))
        return log;
    if (log->bytes)
        fprintf(stderr, "check: %s: not the log of a recorder\n", path);
    disk_log_free(log);
    return NULL;
}

void disk_log_free(struct disk_log *log)
{
    if (log->bytes)
        munmap((void *)log->bytes, log->size);
    g_array_free(log->writes, TRUE);
    g_array_free(log->ends, TRUE);
    g_array_free(log->flushes, TRUE);
    g_free(log);
}
