// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * One regular file through its life: what it may hold after a crash.
 *
 * It has versions, by the number of changes of its data. The crash leaves at
 * least the version that was fsynced, or that a rename has put in the place of
 * another file; at most the last change that had begun. Between these:
 * - its size, and what truncations and punched holes did, is that of one version,
 *   or on the way to the next where that makes the file longer;
 * - each sector holds what it held in any of these versions, but nothing from
 *   before a truncation or a punch that is there. What no version had there, in
 *   particular a zero where a write has been, is wrong.
 */
#ifndef CRASH_FILE_H
#define CRASH_FILE_H

#include <glib.h>

#include "history.h"

struct change {
    unsigned index; /* of the operation */
    uint64_t size;  /* of the file, afterwards */
};

struct promise {
    uint64_t position; /* of the log: from there on */
    unsigned moment;   /* or of the names: from there on; the other one is the largest number */
    unsigned version;
};

struct file {
    const struct stream *stream;
    unsigned created; /* index of the operation */
    GArray *changes;  /* struct change */
    GArray *promises; /* struct promise */
};

struct file *file_new(const struct stream *stream, unsigned created);
void file_free(gpointer file);

/* In the order in which it happened. */
void file_change(struct file *file, unsigned index);
void file_fsync(struct file *file, uint64_t position);
void file_replaces(struct file *file, unsigned index);

/* history_check_file. */
char *file_check(const struct file *file, const struct found_file *found, unsigned moment,
                 uint64_t position);

#endif
