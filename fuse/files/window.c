// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Reservation windows (ext3's name for them): blocks behind the end of a file that
 * grows, which are free on the disk and only this file may take. So a file stays in
 * one piece though others are written at the same time. A window is twice as long as
 * the file has become, up to a block group, so that there are few of them.
 *
 * A window is marked in fs->kept, in no bitmap of the disk. It ends when all data of
 * its file has left, when the file goes on elsewhere, and when blocks run short.
 *
 * fs->lock held.
 */
#include "fs.h"

#define WINDOW_MOST_BLOCKS 32768u /* what an extent holds */
#define WINDOW_SHARE 64u          /* of the free blocks, at most one in so many */

void window_drop(struct fs *fs, struct inode *inode)
{
    if (inode->window_count == 0)
        return;
    blocks_let_go(fs, inode->window_start, inode->window_count);
    inode->window_count = 0;
    fs->windows--;
}

bool window_drop_all(struct fs *fs)
{
    GHashTableIter iter;
    gpointer inode;

    if (fs->windows == 0)
        return false;
    g_hash_table_iter_init(&iter, fs->inodes);
    while (g_hash_table_iter_next(&iter, NULL, &inode))
        window_drop(fs, inode);
    return true;
}

/* A new window behind the `want` blocks that are for now. */
static errcode_t open_window(struct fs *fs, struct inode *inode, blk64_t goal, uint64_t want,
                             uint64_t file_blocks, blk64_t *start, uint64_t *count)
{
    uint64_t most = MIN(WINDOW_MOST_BLOCKS, ext2fs_free_blocks_count(fs->ext2->super) / WINDOW_SHARE);
    errcode_t err = blocks_find(fs, goal, want + MIN(2 * file_blocks, most), start, count);

    if (err || *count <= want)
        return err;
    inode->window_start = *start + want;
    inode->window_count = *count - want;
    fs->windows++;
    blocks_keep(fs, inode->window_start, inode->window_count);
    *count = want;
    return 0;
}

errcode_t window_find(struct fs *fs, struct inode *inode, blk64_t goal, uint64_t want,
                      uint64_t file_blocks, blk64_t *start, uint64_t *count)
{
    if (inode->window_count && inode->window_start == goal) {
        *start = goal;
        *count = MIN(want, inode->window_count);
        inode->window_start += *count;
        inode->window_count -= *count;
        fs->windows -= inode->window_count == 0;
        return 0;
    }
    if (file_blocks == 0)
        return blocks_find(fs, goal, want, start, count);
    window_drop(fs, inode);
    return open_window(fs, inode, goal, want, file_blocks, start, count);
}
