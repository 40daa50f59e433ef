// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The tree that a crash left, as the kernel's ext4 shows it: by stream the sum of
 * its names and inodes (world.h), and its regular files, open for reading.
 */
#ifndef CRASH_TREE_H
#define CRASH_TREE_H

#include <stdint.h>
#include <glib.h>

struct tree {
    unsigned streams;
    uint64_t *sums;   /* by stream */
    GArray *files;    /* struct tree_file: each inode once */
    GHashTable *seen; /* inode numbers of those */
    GString *wrong;   /* what cannot be, whatever was done: a line each */
    GString *listing; /* a line for each name, if it is asked for; else NULL */
};

struct tree_file {
    unsigned stream;
    uint32_t ino;
    char *path;
};

/* All below `top`, but lost+found, which has to be empty. */
struct tree *tree_read(const char *top, unsigned streams, gboolean listing);
void tree_free(struct tree *tree);

/* All bytes of a file; false: it cannot be read. */
gboolean tree_read_file(const struct tree_file *file, GByteArray *bytes);

#endif
