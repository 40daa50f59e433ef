// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The disk of a recorded run, as a crash at some point of the log may leave it.
 *
 * What is durable at that point is kept in memory and only grows. The image file
 * is made from it for each crash anew: with some of the other writes on top,
 * and without what e2fsck and the kernel did to the image of the last crash.
 */
#ifndef CRASH_DISK_H
#define CRASH_DISK_H

#include <stddef.h>
#include <stdint.h>
#include <glib.h>

struct disk;

struct disk_log { /* shared by all that replay it */
    const uint8_t *bytes;
    size_t size;
    GArray *writes; /* struct disk_write, in the order of the log */
    GArray *ends; /* uint64_t: where each record but a claim ends; a crash may be at any of them */
    GArray *flushes; /* uint64_t: of those, where flushes begin and return */
};

struct disk_write {
    uint64_t end;     /* of its record in the log: it may be on the disk from here on */
    uint64_t durable; /* it is on the disk from here on; UINT64_MAX: never for sure */
    uint64_t offset, count;
    const uint8_t *data; /* NULL: zeros */
};

/* NULL with a line on standard error: no log of a recorder, or torn. */
struct disk_log *disk_log_read(const char *path);
void disk_log_free(struct disk_log *log);

/* base: the image as it was when the log began. The image of a crash is made in the file `image`.
 */
struct disk *disk_new(const struct disk_log *log, const char *base, const char *image);
void disk_free(struct disk *disk);

/* Makes the image of a crash after `position`, not before the last one. Which
 * writes are on it, and which sectors of them, follows from `random`. */
void disk_crash(struct disk *disk, uint64_t position, uint64_t random);

#endif
