// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The log of a recording target: what reached the disk, in its order. record.c
 * writes it, diskimage.c replays it, and the workload only looks at its length,
 * which is the time of this game: what a program did when the log had n bytes
 * cannot have caused what stands in it before n.
 *
 * A write is logged before it is handed to the disk and once more when it is
 * done. So a flush that has returned made durable the writes whose DISK_DONE
 * stands before its DISK_FLUSH, and perhaps others.
 */
#ifndef CRASH_DISKLOG_H
#define CRASH_DISKLOG_H

#include <stdint.h>

#define DISKLOG_MAGIC 0x53494445u

enum disklog_kind {
    DISK_CLAIM = 1, /* a sealed write with its ordinal and `after`; the bytes come later, or wait */
    DISK_WRITE,     /* `count` bytes of data follow */
    DISK_ZERO,      /* and unmap: the range reads as zeros */
    DISK_DONE,      /* of the write or zero `id` */
    DISK_FLUSH,     /* begins */
    DISK_FLUSHED,   /* the flush `id` returned, well */
};

struct disklog_record {
    uint32_t magic, kind;
    uint64_t id; /* of writes, zeros and flushes: 1, 2, 3… */
    uint64_t offset, count;
    uint64_t ordinal, after; /* of a claim */
};

#endif
