// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Bitmaps are read when somebody looks into them, never all: an 1 TiB volume has
 * 64 MiB of them, most of which no mount ever needs. They are blocks of the cache like
 * others, which go when it is full, and belong to the running transaction when they are
 * changed. Whether a group has something free its descriptor says.
 *
 * With flex_bg the bitmaps of 16 groups lie side by side, so a miss brings those of the groups
 * around, too.
 *
 * A checksum in the descriptor is that of the bitmap as it was written last: groups.c sets it
 * when the transaction ends, so one that was changed in it needs no check.
 */
#include "bitmaps.h"

#include <string.h>

#include "log.h"

#define NEIGHBOURS 16u /* groups */

static bool is_uninit(const struct fs *fs, unsigned kind, dgrp_t group)
{
    return ext2fs_has_group_desc_csum(fs->ext2) &&
           ext2fs_bg_flags_test(fs->ext2, group,
                                kind == GROUP_BLOCKS ? EXT2_BG_BLOCK_UNINIT : EXT2_BG_INODE_UNINIT);
}

static blk64_t location(const struct fs *fs, unsigned kind, dgrp_t group)
{
    return kind == GROUP_BLOCKS ? ext2fs_block_bitmap_loc(fs->ext2, group)
                                : ext2fs_inode_bitmap_loc(fs->ext2, group);
}

static unsigned bits_used(const struct fs *fs, unsigned kind, dgrp_t group)
{
    return kind == GROUP_BLOCKS ? (unsigned)ext2fs_group_blocks_count(fs->ext2, group)
                                : fs->ext2->super->s_inodes_per_group;
}

/* ---- bits ---- */

unsigned bitmap_find(const struct bitmap *bitmap, unsigned from, unsigned end, bool set)
{
    uint64_t skip = set ? 0 : UINT64_MAX, word;

    for (unsigned at = from; at < end; at = (at | 63) + 1) {
        memcpy(&word, bitmap->bits + at / 64 * 8, 8);
        word = (word ^ skip) >> at % 64;
        if (word)
            return MIN(at + (unsigned)__builtin_ctzll(word), end);
    }
    return end;
}

void bitmap_fill(struct bitmap *bitmap, unsigned first, unsigned count, bool set)
{
    unsigned end = first + count;

    for (; first < end && first % 8; first++)
        set ? ext2fs_set_bit(first, bitmap->bits) : ext2fs_clear_bit(first, bitmap->bits);
    memset(bitmap->bits + first / 8, set ? 0xff : 0, (end - first) / 8);
    for (first += (end - first) / 8 * 8; first < end; first++)
        set ? ext2fs_set_bit(first, bitmap->bits) : ext2fs_clear_bit(first, bitmap->bits);
}

/* ---- reading ---- */

/* The group's own metadata is in use, as far as it lies in the group. */
static void mark_metadata(ext2_filsys ext2, dgrp_t group, ext2fs_block_bitmap marks)
{
    ext2fs_reserve_super_and_bgd(ext2, group, marks);
    ext2fs_mark_block_bitmap2(marks, ext2fs_block_bitmap_loc(ext2, group));
    ext2fs_mark_block_bitmap2(marks, ext2fs_inode_bitmap_loc(ext2, group));
    ext2fs_mark_block_bitmap_range2(marks, ext2fs_inode_table_loc(ext2, group),
                                    ext2->inode_blocks_per_group);
}

static errcode_t make_up(struct fs *fs, unsigned kind, dgrp_t group, struct bitmap *bitmap)
{
    unsigned used = bits_used(fs, kind, group);
    ext2fs_block_bitmap marks;
    errcode_t err;

    bitmap_fill(bitmap, 0, used, false);
    bitmap_fill(bitmap, used, BITMAP_BITS - used, true);
    if (kind == GROUP_INODES)
        return 0;
    err = ext2fs_allocate_block_bitmap(fs->ext2, "blocks with metadata", &marks);
    if (err)
        return err;
    mark_metadata(fs->ext2, group, marks);
    err = ext2fs_get_block_bitmap_range2(marks, ext2fs_group_first_block2(fs->ext2, group), used,
                                         bitmap->bits);
    ext2fs_free_block_bitmap(marks);
    return err;
}

static bool checksum_fits(struct fs *fs, unsigned kind, dgrp_t group, struct bitmap *bitmap)
{
    ext2_filsys ext2 = fs->ext2;

    return kind == GROUP_BLOCKS
               ? ext2fs_block_bitmap_csum_verify(ext2, group, (char *)bitmap->bits,
                                                 EXT2_CLUSTERS_PER_GROUP(ext2->super) / 8)
               : ext2fs_inode_bitmap_csum_verify(ext2, group, (char *)bitmap->bits,
                                                 EXT2_INODES_PER_GROUP(ext2->super) / 8);
}

static errcode_t refuse(struct fs *fs, unsigned kind, dgrp_t group)
{
    log_line(LOG_ERR, "the %s bitmap of block group %u is damaged",
             kind == GROUP_BLOCKS ? "block" : "inode", group);
    fs_fail(fs, -EUCLEAN);
    return kind == GROUP_BLOCKS ? EXT2_ET_BLOCK_BITMAP_CSUM_INVALID
                                : EXT2_ET_INODE_BITMAP_CSUM_INVALID;
}

static void add(const struct fs *fs, unsigned kind, dgrp_t group, GArray *list)
{
    uint64_t block = location(fs, kind, group);

    if (!is_uninit(fs, kind, group))
        g_array_append_val(list, block);
}

/* Begins to bring the bitmaps around, both kinds: who makes a file needs either. */
static void want_around(struct fs *fs, dgrp_t group)
{
    dgrp_t from = group - group % NEIGHBOURS;
    dgrp_t end = MIN(from + NEIGHBOURS, fs->ext2->group_desc_count);
    GArray *list = g_array_sized_new(FALSE, FALSE, sizeof(uint64_t), 2 * NEIGHBOURS);

    for (group = from; group < end; group++) {
        add(fs, GROUP_BLOCKS, group, list);
        add(fs, GROUP_INODES, group, list);
    }
    bufcache_want(fs->cache, list);
    g_array_free(list, TRUE);
}

errcode_t bitmap_read(struct fs *fs, unsigned kind, dgrp_t group, struct bitmap *bitmap)
{
    blk64_t at = location(fs, kind, group);
    errcode_t err;

    if (is_uninit(fs, kind, group))
        return make_up(fs, kind, group, bitmap);
    if (!bufcache_has(fs->cache, at))
        want_around(fs, group);
    err = io_channel_read_blk64(fs->ext2->io, at, 1, bitmap->bits);
    if (err || fs->group_changed[group] & kind || checksum_fits(fs, kind, group, bitmap))
        return err;
    return refuse(fs, kind, group);
}

void bitmaps_want_next(struct fs *fs, dgrp_t group)
{
    dgrp_t next = (group / NEIGHBOURS + 1) * NEIGHBOURS;

    if (fs->wanted_before == next)
        return;
    fs->wanted_before = next;
    while (next < fs->ext2->group_desc_count && ext2fs_bg_free_blocks_count(fs->ext2, next) == 0)
        next++;
    if (next < fs->ext2->group_desc_count)
        want_around(fs, next);
}

void bitmaps_of_blocks(struct fs *fs, blk64_t block, uint64_t count, GArray *list)
{
    dgrp_t first = ext2fs_group_of_blk2(fs->ext2, block);
    dgrp_t last = ext2fs_group_of_blk2(fs->ext2, block + count - 1);

    for (dgrp_t group = first; group <= last; group++)
        if (list->len == 0 ||
            g_array_index(list, uint64_t, list->len - 1) != location(fs, GROUP_BLOCKS, group))
            add(fs, GROUP_BLOCKS, group, list);
}

/* ---- writing ---- */

errcode_t bitmap_write(struct fs *fs, unsigned kind, dgrp_t group, const struct bitmap *bitmap)
{
    ext2_filsys ext2 = fs->ext2;
    errcode_t err = io_channel_write_blk64(ext2->io, location(fs, kind, group), 1, bitmap->bits);

    if (err)
        return err;
    ext2fs_bg_flags_clear(ext2, group,
                          kind == GROUP_BLOCKS ? EXT2_BG_BLOCK_UNINIT : EXT2_BG_INODE_UNINIT);
    fs->group_changed[group] |= kind;
    return 0;
}

errcode_t bitmap_begin(struct fs *fs, unsigned kind, dgrp_t group)
{
    struct bitmap bitmap;
    errcode_t err;

    if (!is_uninit(fs, kind, group))
        return 0;
    err = make_up(fs, kind, group, &bitmap);
    return err ? err : bitmap_write(fs, kind, group, &bitmap);
}

errcode_t bitmap_set_checksum(struct fs *fs, unsigned kind, dgrp_t group)
{
    ext2_filsys ext2 = fs->ext2;
    struct bitmap bitmap;
    errcode_t err = bitmap_read(fs, kind, group, &bitmap);

    if (err)
        return err;
    return kind == GROUP_BLOCKS
               ? ext2fs_block_bitmap_csum_set(ext2, group, (char *)bitmap.bits,
                                              EXT2_CLUSTERS_PER_GROUP(ext2->super) / 8)
               : ext2fs_inode_bitmap_csum_set(ext2, group, (char *)bitmap.bits,
                                              EXT2_INODES_PER_GROUP(ext2->super) / 8);
}
