// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Names of directories, whatever their form. As in the kernel's ext4 a directory that
 * outgrows its first block becomes a hash tree, and one that has several blocks in no order
 * stays so, and is walked through (e2fsck -D makes it a tree).
 */
#include "names.h"

#include <errno.h>
#include <string.h>

#include "dirblock.h"
#include "htree.h"

static int file_type(mode_t mode)
{
    switch (mode & S_IFMT) {
    case S_IFREG:
        return EXT2_FT_REG_FILE;
    case S_IFDIR:
        return EXT2_FT_DIR;
    case S_IFCHR:
        return EXT2_FT_CHRDEV;
    case S_IFBLK:
        return EXT2_FT_BLKDEV;
    case S_IFIFO:
        return EXT2_FT_FIFO;
    case S_IFSOCK:
        return EXT2_FT_SOCK;
    case S_IFLNK:
        return EXT2_FT_SYMLINK;
    default:
        return EXT2_FT_UNKNOWN;
    }
}

struct place {
    struct dirblock block;
    struct ext2_dir_entry *entry, *previous; /* there */
};

static int walk(struct fs *fs, struct inode *dir, uint32_t blocks, const char *name,
                struct place *place)
{
    int error = -ENOENT;

    for (uint32_t n = 0; n < blocks && error == -ENOENT; n++) {
        error = dirblock_read(fs, dir, n, &place->block);
        if (!error)
            error = dirblock_find(fs, &place->block, name, &place->entry, &place->previous);
    }
    return error;
}

static int find(struct fs *fs, struct inode *dir, const char *name, struct place *place)
{
    if (strcmp(name, "..") == 0)
        return walk(fs, dir, 1, name, place);
    if (htree_is(dir))
        return htree_find(fs, dir, name, &place->block, &place->entry, &place->previous);
    return walk(fs, dir, dirblock_count(fs, dir), name, place);
}

int names_find(struct fs *fs, struct inode *dir, const char *name, ext2_ino_t *ino)
{
    struct place place;
    int error = find(fs, dir, name, &place);

    if (!error)
        *ino = place.entry->inode;
    return error;
}

/* ---- changes ---- */

static int append(struct fs *fs, struct inode *dir, const char *name, ext2_ino_t ino, int type)
{
    struct dirblock b;
    int error;

    dirblock_clear(fs, &b);
    error = dirblock_insert(fs, &b, name, strlen(name), ino, type);
    return error ? error : dirblock_append(fs, dir, &b);
}

static int add_in_no_order(struct fs *fs, struct inode *dir, const char *name, ext2_ino_t ino,
                           int type)
{
    uint32_t blocks = dirblock_count(fs, dir);
    struct dirblock b;
    int error = -ENOSPC;

    for (uint32_t n = 0; n < blocks && error == -ENOSPC; n++) {
        error = dirblock_read(fs, dir, n, &b);
        if (!error)
            error = dirblock_insert(fs, &b, name, strlen(name), ino, type);
    }
    if (!error)
        return dirblock_write(fs, dir, &b);
    if (error != -ENOSPC)
        return error;
    if (!htree_may_be(fs, dir))
        return append(fs, dir, name, ino, type);
    error = htree_make(fs, dir);
    return error ? error : htree_add(fs, dir, name, ino, type);
}

static int changed(struct fs *fs, struct inode *dir)
{
    inode_touch(dir, true);
    return inode_write(fs, dir);
}

int names_add(struct fs *fs, struct inode *dir, const char *name, ext2_ino_t ino, mode_t mode)
{
    int error = htree_is(dir) ? htree_add(fs, dir, name, ino, file_type(mode))
                              : add_in_no_order(fs, dir, name, ino, file_type(mode));

    if (!error)
        return changed(fs, dir);
    inode_write(fs, dir); /* it may have grown in vain */
    return error;
}

int names_remove(struct fs *fs, struct inode *dir, const char *name)
{
    struct place place;
    int error = find(fs, dir, name, &place);

    if (error)
        return error;
    dirblock_remove(fs, place.entry, place.previous);
    error = dirblock_write(fs, dir, &place.block);
    return error ? error : changed(fs, dir);
}

int names_set(struct fs *fs, struct inode *dir, const char *name, ext2_ino_t ino, mode_t mode)
{
    struct place place;
    int error = find(fs, dir, name, &place);

    if (error)
        return error;
    dirblock_set(fs, place.entry, ino, file_type(mode));
    error = dirblock_write(fs, dir, &place.block);
    if (error)
        return error;
    return strcmp(name, "..") == 0 ? inode_write(fs, dir) : changed(fs, dir);
}

/* ---- all of them ---- */

/* An inner node of a hash tree looks like one free entry. */
int names_check_empty(struct fs *fs, struct inode *dir)
{
    uint32_t blocks = dirblock_count(fs, dir), end = dirblock_end(fs), len;
    struct dirblock b;

    for (uint32_t n = 0; n < blocks; n++) {
        int error = dirblock_read(fs, dir, n, &b);

        if (error)
            return error;
        for (uint32_t at = 0; at < end; at += len) {
            struct ext2_dir_entry *e = dirblock_entry(fs, &b, at, &len);

            if (!e)
                return -EUCLEAN;
            if (e->inode && !dirblock_is_dot(e))
                return -ENOTEMPTY;
        }
    }
    return 0;
}

typedef int each_name(void *opaque, const char *name, ext2_ino_t ino, int file_type,
                      uint64_t cookie);

/* From the block's byte on that the cookie names; true: enough. */
static int list_block(struct fs *fs, struct dirblock *b, uint64_t after, each_name *each,
                      void *opaque, bool *enough)
{
    uint64_t first = (uint64_t)b->number * fs->ext2->blocksize;
    uint32_t end = dirblock_end(fs), len;
    char name[NAME_BYTES_MAX + 1];

    for (uint32_t at = 0; at < end && !*enough; at += len) {
        struct ext2_dir_entry *e = dirblock_entry(fs, b, at, &len);

        if (!e)
            return -EUCLEAN;
        if (!e->inode || first + at < after)
            continue;
        memcpy(name, e->name, (size_t)ext2fs_dirent_name_len(e));
        name[ext2fs_dirent_name_len(e)] = 0;
        /* a cookie inside the entry: stays before what is put behind it later */
        *enough = each(opaque, name, e->inode, ext2fs_dirent_file_type(e), first + at + 1);
    }
    return 0;
}

static int list_in_no_order(struct fs *fs, struct inode *dir, uint64_t after, each_name *each,
                            void *opaque)
{
    uint32_t blocks = dirblock_count(fs, dir);
    struct dirblock b;
    bool enough = false;
    int error = 0;

    for (uint64_t n = after / fs->ext2->blocksize; n < blocks && !error && !enough; n++) {
        error = dirblock_read(fs, dir, (uint32_t)n, &b);
        if (!error)
            error = list_block(fs, &b, after, each, opaque, &enough);
    }
    return error;
}

int dir_iterate(struct fs *fs, struct inode *dir, uint64_t after, each_name *each, void *opaque)
{
    ext2_ino_t parent;
    int error;

    if (!LINUX_S_ISDIR(dir->raw.i_mode))
        return -ENOTDIR;
    if (!htree_may_be(fs, dir))
        return list_in_no_order(fs, dir, after, each, opaque);
    error = names_find(fs, dir, "..", &parent);
    if (error)
        return error;
    if (after < 1 && each(opaque, ".", dir->ino, EXT2_FT_DIR, 1))
        return 0;
    if (after < 2 && each(opaque, "..", parent, EXT2_FT_DIR, 2))
        return 0;
    return htree_iterate(fs, dir, after, each, opaque);
}
