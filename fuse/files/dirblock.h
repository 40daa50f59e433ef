// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * A block of a directory, in memory: entries one behind the other, and behind them the
 * checksum where the volume has some. fs->lock held; -errno.
 */
#ifndef ENCSAN_DIRBLOCK_H
#define ENCSAN_DIRBLOCK_H

#include "fs.h"

#define NAME_BYTES_MAX 255

struct dirblock {
    uint32_t number; /* in the directory */
    uint8_t bytes[ENCSAN_BLOCK_BYTES];
};

uint32_t dirblock_count(struct fs *fs, const struct inode *dir);
/* Where its last entry ends. */
uint32_t dirblock_end(struct fs *fs);
/* On the volume. */
int dirblock_place(struct fs *fs, struct inode *dir, uint32_t number, uint64_t *block);
int dirblock_read(struct fs *fs, struct inode *dir, uint32_t number, struct dirblock *b);
int dirblock_write(struct fs *fs, struct inode *dir, struct dirblock *b);
/* The directory becomes one block longer, and b that block. The caller writes the inode. */
int dirblock_append(struct fs *fs, struct inode *dir, struct dirblock *b);

/* No entries. */
void dirblock_clear(struct fs *fs, struct dirblock *b);
/* The entry at `at`, which may be free (inode 0), and its length; NULL where the block does
 * not make sense. */
struct ext2_dir_entry *dirblock_entry(struct fs *fs, struct dirblock *b, uint32_t at, uint32_t *len);
/* -ENOENT, or the entry, and the one before it (NULL: it is the first). */
int dirblock_find(struct fs *fs, struct dirblock *b, const char *name,
                  struct ext2_dir_entry **entry, struct ext2_dir_entry **previous);
/* -ENOSPC: no room. */
int dirblock_insert(struct fs *fs, struct dirblock *b, const char *name, size_t name_len,
                    ext2_ino_t ino, int type);
void dirblock_remove(struct fs *fs, struct ext2_dir_entry *entry, struct ext2_dir_entry *previous);
void dirblock_set(struct fs *fs, struct ext2_dir_entry *entry, ext2_ino_t ino, int type);

bool dirblock_is_dot(const struct ext2_dir_entry *e); /* "." or ".." */
uint32_t dirblock_entry_bytes(size_t name_len);

#endif
