// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The data of small files, which are read one after the other in an order that is not the
 * disk's: that of a directory is asked for at once, as it lies. So that a reader of a tree needs
 * not stop at each directory, those that its parent lists next follow, as long as what is
 * brought and not read is not too much.
 */
#include <stdlib.h>

#include "scout_data.h"

#define AHEAD_BYTES (6u << 20) /* of the directories that are not being read yet */
#define FILES_MAX 4096u        /* of a directory */
#define GAP_BLOCKS 4           /* read through */

struct piece {
    uint64_t first, count; /* blocks on the volume */
};

static int note_file(void *opaque, const char *name, ext2_ino_t ino, int type, uint64_t cookie)
{
    struct finds *f = opaque;

    if (type == EXT2_FT_REG_FILE)
        g_array_append_val(f->inos, ino);
    return f->inos->len >= FILES_MAX;
}

static int note_dir(void *opaque, const char *name, ext2_ino_t ino, int type, uint64_t cookie)
{
    struct finds *f = opaque;

    if (type == EXT2_FT_DIR && cookie > 2)
        g_array_append_val(f->inos, ino);
    return 0;
}

/* Two numbers a piece; what has not left yet is nowhere else than here. */
static void note_pieces(struct finds *f, struct inode *inode)
{
    uint64_t end = (inode_size(inode) + ENCSAN_BLOCK_BYTES - 1) / ENCSAN_BLOCK_BYTES;
    struct extent_run run = {.count = 0};

    if (!LINUX_S_ISREG(inode->raw.i_mode) || inode->unordered ||
        inode_size(inode) > FS_SMALL_FILE_BYTES)
        return;
    for (uint64_t at = 0; at < end; at += run.count) {
        if (alloc_map(f->fs, inode, at, end - at, &run) != 0)
            return;
        if (!run.hole && !run.unwritten) {
            g_array_append_val(f->blocks, run.physical);
            g_array_append_val(f->blocks, run.count);
        }
    }
}

static int compare_pieces(const void *a, const void *b)
{
    const struct piece *x = a, *y = b;

    return x->first < y->first ? -1 : x->first > y->first;
}

/* As long runs. Returns their bytes. */
static uint64_t ask(struct encsan *volume, struct piece *pieces, size_t count)
{
    uint64_t bytes = 0, end;

    if (count == 0)
        return 0;
    qsort(pieces, count, sizeof *pieces, compare_pieces);
    for (size_t i = 0; i < count;) {
        uint64_t first = pieces[i].first;

        end = first;
        for (; i < count && pieces[i].first <= end + GAP_BLOCKS; i++)
            end = MAX(end, pieces[i].first + pieces[i].count);
        encsan_prefetch(volume, (end - first) * ENCSAN_BLOCK_BYTES, first * ENCSAN_BLOCK_BYTES);
        bytes += (end - first) * ENCSAN_BLOCK_BYTES;
    }
    return bytes;
}

static uint64_t bring_files(struct finds *f, ext2_ino_t ino)
{
    struct inode *dir = inode_find(f->fs, ino);

    if (!dir || dir->data_scouted)
        return dir ? dir->data_bytes : 0;
    dir->data_scouted = true;
    scout_find(f, ino, note_file);
    scout_bring_inodes(f, 0, f->inos->len);
    g_array_set_size(f->blocks, 0);
    scout_each(f, 0, f->inos->len, note_pieces);
    dir = inode_find(f->fs, ino);
    if (!dir)
        return 0;
    dir->data_bytes = ask(f->fs->volume, (struct piece *)f->blocks->data,
                          f->blocks->len / (sizeof(struct piece) / sizeof(uint64_t)));
    return dir->data_bytes;
}

/* The directories that its parent lists after it. */
static void bring_following(struct finds *f, ext2_ino_t ino)
{
    struct inode *dir = inode_find(f->fs, ino);
    g_autoptr(GArray) dirs = NULL;
    uint64_t bytes = 0;
    guint i = 0;

    if (!dir || !dir->parent)
        return;
    scout_find(f, dir->parent, note_dir);
    dirs = g_array_copy(f->inos);
    while (i < dirs->len && g_array_index(dirs, ext2_ino_t, i) != ino)
        i++;
    for (i++; i < dirs->len && bytes < AHEAD_BYTES; i++)
        bytes += bring_files(f, g_array_index(dirs, ext2_ino_t, i));
}

void scout_data(struct finds *f, void *ino)
{
    bring_files(f, GPOINTER_TO_UINT(ino));
    bring_following(f, GPOINTER_TO_UINT(ino));
}
