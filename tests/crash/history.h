// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * What all streams did, as the checker needs it: which moments of a stream a
 * crash may leave, and what may be in a file then.
 *
 * A crash at a position of the disk's log leaves of each stream the names and
 * attributes of one moment: all operations up to some number, none after it (a
 * journal's transactions follow each other). At least what was fsynced before
 * that position; at most what had begun. Bytes follow rules of their own:
 * history_check_file.
 */
#ifndef CRASH_HISTORY_H
#define CRASH_HISTORY_H

#include <stdbool.h>
#include <glib.h>

#include "op.h"

struct stream {
    unsigned number;
    const struct op *ops;
    unsigned count;
    uint64_t *sums;     /* of the world after that many operations: count + 1 */
    unsigned *promised; /* after that many: how many of them a crash leaves at least */
    GHashTable *files;  /* inode number -> GPtrArray of struct file, in their order */
    uint64_t unmounted; /* the log's length then: all is promised */
    char *bytes;        /* what `ops` lies in */
};

struct moments { /* by the number of operations: first … last */
    unsigned first, last;
};

struct found_file {
    uint32_t ino;
    uint64_t size;
    const uint8_t *bytes;
};

/* Streams 0, 1, … of a folder; NULL with a line on standard error. */
GPtrArray *history_read(const char *folder, uint64_t unmounted);

struct moments history_moments(const struct stream *stream, uint64_t position);

/* May the file hold these bytes, where the names are those after `moment`
 * operations and the crash was at `position`? NULL, or what is wrong: the caller's. */
char *history_check_file(const struct stream *stream, const struct found_file *found,
                         unsigned moment, uint64_t position);

#endif
