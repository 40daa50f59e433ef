// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The disk view: a folder with one file, `disk`, which is the volume as it is:
 * for mke2fs, e2fsck, dumpe2fs, qemu-img, dd.
 *
 * The file behaves like a block device: it has its size, which nothing changes,
 * and opening it with O_TRUNC leaves its bytes alone. So what writes only parts
 * of a file that it believes empty (cp of a sparse image) must be told that it
 * is not (dd; qemu-img convert -n).
 */
#ifndef ENCSAN_DISK_H
#define ENCSAN_DISK_H

#include <stdbool.h>

#define DISK_NAME "disk"

struct encsan;
struct disk;
struct fuse_lowlevel_ops;

extern const struct fuse_lowlevel_ops disk_ops; /* userdata: struct disk */

/* Does not close the volume. NULL and errno. */
struct disk *disk_new(struct encsan *volume, bool read_only);
/* When the session is gone. */
void disk_free(struct disk *disk);

#endif
