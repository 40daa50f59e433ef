// SPDX-License-Identifier: LGPL-2.1-or-later
/* The scout's parts to each other. fs->lock held, and let go of where something is brought. */
#ifndef ENCSAN_SCOUT_DATA_H
#define ENCSAN_SCOUT_DATA_H

#include "scout.h"

struct finds {
    struct fs *fs;
    GArray *inos;   /* ext2_ino_t */
    GArray *blocks; /* uint64_t, or what a look finds */
};

typedef int scout_note(void *finds, const char *name, ext2_ino_t ino, int type, uint64_t cookie);

/* What `note` takes of a directory that the kernel knows. */
void scout_find(struct finds *f, ext2_ino_t ino, scout_note *note);
/* The inodes with the numbers inos[from, to). */
void scout_bring_inodes(struct finds *f, guint from, guint to);
/* Looks at each of them, where it is there: what is missing then is not waited for. */
void scout_each(struct finds *f, guint from, guint to,
                void (*look)(struct finds *f, struct inode *inode));
/* The blocks that `look` finds of each. */
void scout_bring_from_each(struct finds *f, guint from, guint to,
                           void (*look)(struct finds *f, struct inode *inode));

/* ---- scout_data.c ---- */
/* Small files of this directory, or if they have been brought of those behind it. */
void scout_data(struct finds *f, void *ino);

#endif
