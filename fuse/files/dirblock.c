// SPDX-License-Identifier: LGPL-2.1-or-later
/* Blocks of directories, and the entries in them. */
#include "dirblock.h"

#include <errno.h>
#include <string.h>

uint32_t dirblock_count(struct fs *fs, const struct inode *dir)
{
    return (uint32_t)(inode_size(dir) / fs->ext2->blocksize);
}

/* The checksum's tail looks like a free entry of a strange type. */
static uint32_t tail_bytes(struct fs *fs)
{
    return ext2fs_has_feature_metadata_csum(fs->ext2->super)
               ? (uint32_t)sizeof(struct ext2_dir_entry_tail)
               : 0;
}

uint32_t dirblock_end(struct fs *fs)
{
    return fs->ext2->blocksize - tail_bytes(fs);
}

int dirblock_place(struct fs *fs, struct inode *dir, uint32_t number, uint64_t *block)
{
    blk64_t physical;
    errcode_t err = ext2fs_bmap2(fs->ext2, dir->ino, EXT2_INODE(&dir->raw), NULL, 0, number, NULL,
                                 &physical);

    *block = physical;
    if (!err && physical == 0)
        return -EUCLEAN;
    return fs_errno(err);
}

int dirblock_read(struct fs *fs, struct inode *dir, uint32_t number, struct dirblock *b)
{
    uint64_t physical;
    int error = number < dirblock_count(fs, dir) ? dirblock_place(fs, dir, number, &physical) : -EUCLEAN;

    b->number = number;
    return error ? error : fs_errno(ext2fs_read_dir_block4(fs->ext2, physical, b->bytes, 0, dir->ino));
}

int dirblock_write(struct fs *fs, struct inode *dir, struct dirblock *b)
{
    uint64_t physical;
    int error = dirblock_place(fs, dir, b->number, &physical);

    return error ? error : fs_errno(ext2fs_write_dir_block4(fs->ext2, physical, b->bytes, 0, dir->ino));
}

/* ---- growth ---- */

static int find_block(struct fs *fs, struct inode *dir, uint32_t number, blk64_t *physical)
{
    uint64_t goal;
    int error = 0;

    if (number == 0)
        goal = ext2fs_find_inode_goal(fs->ext2, dir->ino, EXT2_INODE(&dir->raw), 0);
    else
        error = dirblock_place(fs, dir, number - 1, &goal);
    return error ? error : fs_errno(ext2fs_new_block2(fs->ext2, goal + (number > 0), NULL, physical));
}

int dirblock_append(struct fs *fs, struct inode *dir, struct dirblock *b)
{
    ext2_filsys e = fs->ext2;
    blk64_t physical;
    errcode_t err;
    int error;

    b->number = dirblock_count(fs, dir);
    error = find_block(fs, dir, b->number, &physical);
    if (error)
        return error;
    ext2fs_block_alloc_stats2(e, physical, +1); /* before the map takes blocks of its own */
    err = ext2fs_bmap2(e, dir->ino, EXT2_INODE(&dir->raw), NULL, BMAP_ALLOC | BMAP_SET, b->number,
                       NULL, &physical);
    if (err) {
        ext2fs_block_alloc_stats2(e, physical, -1);
        return fs_errno(err);
    }
    err = ext2fs_iblk_add_blocks(e, EXT2_INODE(&dir->raw), 1);
    if (!err)
        err = ext2fs_write_dir_block4(e, physical, b->bytes, 0, dir->ino);
    if (!err)
        inode_set_size(dir, inode_size(dir) + e->blocksize);
    return fs_errno(err);
}

/* ---- entries ---- */

void dirblock_clear(struct fs *fs, struct dirblock *b)
{
    memset(b->bytes, 0, sizeof b->bytes);
    (void)ext2fs_set_rec_len(fs->ext2, dirblock_end(fs), (struct ext2_dir_entry *)b->bytes);
    if (tail_bytes(fs))
        ext2fs_initialize_dirent_tail(fs->ext2, EXT2_DIRENT_TAIL(b->bytes, fs->ext2->blocksize));
}

uint32_t dirblock_entry_bytes(size_t name_len)
{
    return (uint32_t)(8 + name_len + 3) & ~3u;
}

bool dirblock_is_dot(const struct ext2_dir_entry *e)
{
    int len = ext2fs_dirent_name_len(e);

    return (len == 1 && e->name[0] == '.') || (len == 2 && e->name[0] == '.' && e->name[1] == '.');
}

struct ext2_dir_entry *dirblock_entry(struct fs *fs, struct dirblock *b, uint32_t at, uint32_t *len)
{
    struct ext2_dir_entry *e = (struct ext2_dir_entry *)(b->bytes + at);

    if (at + 8 > fs->ext2->blocksize || ext2fs_get_rec_len(fs->ext2, e, len) != 0 || *len < 8 ||
        *len % 4 || at + *len > fs->ext2->blocksize ||
        dirblock_entry_bytes((size_t)ext2fs_dirent_name_len(e)) > *len)
        return NULL;
    return e;
}

int dirblock_find(struct fs *fs, struct dirblock *b, const char *name,
                  struct ext2_dir_entry **entry, struct ext2_dir_entry **previous)
{
    uint32_t end = dirblock_end(fs), len;
    size_t name_len = strlen(name);

    *previous = NULL;
    for (uint32_t at = 0; at < end; at += len) {
        struct ext2_dir_entry *e = dirblock_entry(fs, b, at, &len);

        if (!e)
            return -EUCLEAN;
        if (e->inode && (size_t)ext2fs_dirent_name_len(e) == name_len &&
            memcmp(e->name, name, name_len) == 0) {
            *entry = e;
            return 0;
        }
        *previous = e;
    }
    return -ENOENT;
}

void dirblock_set(struct fs *fs, struct ext2_dir_entry *entry, ext2_ino_t ino, int type)
{
    entry->inode = ino;
    if (ext2fs_has_feature_filetype(fs->ext2->super))
        ext2fs_dirent_set_file_type(entry, type);
}

/* Lengths that are set here are multiples of 4 below 64 KiB: such always fit. */
int dirblock_insert(struct fs *fs, struct dirblock *b, const char *name, size_t name_len,
                    ext2_ino_t ino, int type)
{
    uint32_t need = dirblock_entry_bytes(name_len), end = dirblock_end(fs), len;

    for (uint32_t at = 0; at < end; at += len) {
        struct ext2_dir_entry *e = dirblock_entry(fs, b, at, &len);
        uint32_t used;

        if (!e)
            return -EUCLEAN;
        used = e->inode ? dirblock_entry_bytes((size_t)ext2fs_dirent_name_len(e)) : 0;
        if (len - used < need)
            continue;
        if (used) {
            (void)ext2fs_set_rec_len(fs->ext2, used, e);
            e = (struct ext2_dir_entry *)(b->bytes + at + used);
        }
        (void)ext2fs_set_rec_len(fs->ext2, len - used, e);
        e->name_len = 0;
        ext2fs_dirent_set_name_len(e, (int)name_len);
        memcpy(e->name, name, name_len);
        dirblock_set(fs, e, ino, type);
        return 0;
    }
    return -ENOSPC;
}

void dirblock_remove(struct fs *fs, struct ext2_dir_entry *entry, struct ext2_dir_entry *previous)
{
    uint32_t len, previous_len;

    if (previous) { /* which gets the room; dirblock_entry has checked both */
        (void)ext2fs_get_rec_len(fs->ext2, entry, &len);
        (void)ext2fs_get_rec_len(fs->ext2, previous, &previous_len);
        (void)ext2fs_set_rec_len(fs->ext2, previous_len + len, previous);
    } else {
        entry->inode = 0;
        ext2fs_dirent_set_name_len(entry, 0);
    }
}
