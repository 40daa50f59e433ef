// SPDX-License-Identifier: LGPL-2.1-or-later
/* Flags of chattr(1), and what FUSE makes of them. */
#ifndef SIDE_INODE_FLAGS_H
#define SIDE_INODE_FLAGS_H

#include <stdbool.h>
#include <stdint.h>

#include "call.h"

uint32_t inode_flags_draw(void);
/* Those that are compared; 0 where there are none. */
uint32_t inode_flags_of(int fd);

/* A file's or directory's flags become these, but for those that tell its form. What there is of
 * `side` to stand on, its directory and that one's parent, stays as it is. As ioctl. */
int inode_flags_set(const struct side *side, int fd, uint32_t flags, bool by_fsxattr);

/* ext4 would not have opened it: FUSE does, and it is the write that fails. */
bool inode_flags_forbid_open(int fd, int open_flags);
/* The same for what was opened before it had these flags. Of nothing that is written FUSE does not
 * tell the file system. */
bool inode_flags_forbid_write(int fd, size_t length);
/* It is immutable or append-only: mapping is not for FUSE to refuse, nor is copying, of which it
 * hears when there are bytes to be written. */
bool inode_flags_keep(int fd);

#endif
