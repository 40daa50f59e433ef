// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The extent tree of a file, changed by whole extents through libext2fs's
 * cursor. The cursor's position is not relied upon from one step to the next:
 * each step seeks anew, because deleting and splitting nodes moves it.
 */
#include "extents.h"

errcode_t extents_open(struct fs *fs, struct inode *inode, ext2_extent_handle_t *tree)
{
    return ext2fs_extent_open2(fs->ext2, inode->ino, EXT2_INODE(&inode->raw), tree);
}

static uint64_t extent_end(const struct ext2fs_extent *e)
{
    return e->e_lblk + e->e_len;
}

static bool is_unwritten(const struct ext2fs_extent *e)
{
    return e->e_flags & EXT2_EXTENT_FLAGS_UNINIT;
}

/* Puts the cursor on the extent that contains `logical`, or, where there is a
 * hole, on one beside it: the one before, or where a leaf begins after
 * `logical` the one after. An empty tree gives e_len = 0. */
static errcode_t seek(ext2_extent_handle_t tree, uint64_t logical, struct ext2fs_extent *e,
                      bool *inside)
{
    errcode_t err = ext2fs_extent_goto(tree, logical);

    if (err && err != EXT2_ET_EXTENT_NOT_FOUND)
        return err;
    *inside = !err;
    err = ext2fs_extent_get(tree, EXT2_EXTENT_CURRENT, e);
    if (err == EXT2_ET_NO_CURRENT_NODE) {
        e->e_len = 0;
        return 0;
    }
    return err;
}

/* Where the hole at `logical` ends, the cursor being on `e` beside it. */
static errcode_t hole_end(ext2_extent_handle_t tree, uint64_t logical,
                          const struct ext2fs_extent *e, uint64_t *end)
{
    struct ext2fs_extent next;
    errcode_t err;

    *end = UINT64_MAX;
    if (e->e_len == 0)
        return 0;
    if (e->e_lblk > logical) {
        *end = e->e_lblk;
        return 0;
    }
    do /* behind a node's last leaf the cursor goes through that leaf once more */
        err = ext2fs_extent_get(tree, EXT2_EXTENT_NEXT_LEAF, &next);
    while (!err && next.e_lblk <= logical);
    if (err == EXT2_ET_EXTENT_NO_NEXT)
        return 0;
    if (!err)
        *end = next.e_lblk;
    return err;
}

errcode_t extents_map(ext2_extent_handle_t tree, uint64_t logical, uint64_t count,
                      struct extent_run *run)
{
    struct ext2fs_extent e;
    uint64_t end;
    bool inside;
    errcode_t err = seek(tree, logical, &e, &inside);

    if (err)
        return err;
    if (inside) {
        end = extent_end(&e);
    } else {
        err = hole_end(tree, logical, &e, &end);
        if (err)
            return err;
    }
    run->logical = logical;
    run->physical = inside ? e.e_pblk + (logical - e.e_lblk) : 0;
    run->count = MIN(count, end - logical);
    run->hole = !inside;
    run->unwritten = inside && is_unwritten(&e);
    return 0;
}

/* As far behind (or before) the neighbour as it is in the file, so that a file
 * that is filled from several places can still become contiguous. */
errcode_t extents_goal(ext2_extent_handle_t tree, uint64_t logical, blk64_t *goal)
{
    struct ext2fs_extent e;
    bool inside;
    errcode_t err = seek(tree, logical, &e, &inside);

    *goal = 0;
    if (err || e.e_len == 0)
        return err;
    if (e.e_lblk <= logical)
        *goal = e.e_pblk + (logical - e.e_lblk);
    else if (e.e_pblk > e.e_lblk - logical)
        *goal = e.e_pblk - (e.e_lblk - logical);
    return 0;
}

/* The extent that reaches across `at` becomes two. */
static errcode_t split(ext2_extent_handle_t tree, uint64_t at)
{
    struct ext2fs_extent whole, front, rest;
    uint64_t n;
    bool inside;
    errcode_t err = seek(tree, at, &whole, &inside);

    if (err || !inside || whole.e_lblk == at)
        return err;
    n = at - whole.e_lblk;
    front = rest = whole;
    front.e_len = n;
    rest.e_lblk += n;
    rest.e_pblk += n;
    rest.e_len -= n;
    err = ext2fs_extent_replace(tree, 0, &front);
    if (err)
        return err;
    err = ext2fs_extent_insert(tree, EXT2_EXTENT_INSERT_AFTER, &rest);
    if (err && !ext2fs_extent_goto(tree, whole.e_lblk))
        ext2fs_extent_replace(tree, 0, &whole);
    return err;
}

/* Deletes the extent under the cursor. */
static errcode_t delete_current(ext2_extent_handle_t tree)
{
    errcode_t err = ext2fs_extent_delete(tree, 0);

    if (err)
        return err;
    err = ext2fs_extent_fix_parents(tree);
    return err == EXT2_ET_NO_CURRENT_NODE ? 0 : err; /* the tree is empty now */
}

static bool can_merge(const struct ext2fs_extent *a, const struct ext2fs_extent *b)
{
    uint32_t limit = is_unwritten(a) ? EXT_UNINIT_MAX_LEN : EXT_INIT_MAX_LEN;

    return is_unwritten(a) == is_unwritten(b) && extent_end(a) == b->e_lblk &&
           a->e_pblk + a->e_len == b->e_pblk && a->e_len + b->e_len <= limit;
}

/* The extent with `logical` and the one after it become one, if they can. */
static errcode_t merge_with_next(ext2_extent_handle_t tree, uint64_t logical)
{
    struct ext2fs_extent e, next;
    bool inside;
    errcode_t err = seek(tree, logical, &e, &inside);

    if (err || !inside)
        return err;
    err = ext2fs_extent_get(tree, EXT2_EXTENT_NEXT_LEAF, &next);
    if (err == EXT2_ET_EXTENT_NO_NEXT)
        return 0;
    if (err || !can_merge(&e, &next))
        return err;
    err = delete_current(tree);
    if (!err)
        err = ext2fs_extent_goto(tree, e.e_lblk);
    if (err)
        return err;
    e.e_len += next.e_len;
    return ext2fs_extent_replace(tree, 0, &e);
}

errcode_t extents_insert(ext2_extent_handle_t tree, uint64_t logical, blk64_t physical,
                         uint64_t count)
{
    struct ext2fs_extent fresh = {.e_lblk = logical,
                                  .e_pblk = physical,
                                  .e_len = count,
                                  .e_flags = EXT2_EXTENT_FLAGS_LEAF | EXT2_EXTENT_FLAGS_UNINIT};
    struct ext2fs_extent e;
    bool inside;
    errcode_t err = seek(tree, logical, &e, &inside);

    if (err)
        return err;
    if (e.e_len && e.e_lblk < logical) {
        if (!can_merge(&e, &fresh))
            return ext2fs_extent_insert(tree, EXT2_EXTENT_INSERT_AFTER, &fresh);
        e.e_len += count;
        return ext2fs_extent_replace(tree, 0, &e);
    }
    err = ext2fs_extent_insert(tree, 0, &fresh);
    return err ? err : ext2fs_extent_fix_parents(tree);
}

/* [logical, end), within one extent, becomes written if it was not, and unwritten if it was. */
static errcode_t change_state(ext2_extent_handle_t tree, uint64_t logical, uint64_t end)
{
    struct ext2fs_extent e;
    bool inside;
    errcode_t err = split(tree, logical);

    if (!err)
        err = split(tree, end);
    if (!err)
        err = seek(tree, logical, &e, &inside);
    if (err)
        return err;
    e.e_flags ^= EXT2_EXTENT_FLAGS_UNINIT;
    err = ext2fs_extent_replace(tree, 0, &e);
    if (!err)
        err = merge_with_next(tree, logical);
    if (!err && logical > 0)
        err = merge_with_next(tree, logical - 1);
    return err;
}

errcode_t extents_set_written(ext2_extent_handle_t tree, uint64_t logical, uint64_t count)
{
    uint64_t end = logical + count, next;
    struct ext2fs_extent e;
    bool inside;
    errcode_t err;

    for (; logical < end; logical = next) {
        err = seek(tree, logical, &e, &inside);
        if (err)
            return err;
        if (!inside)
            return EXT2_ET_EXTENT_NOT_FOUND;
        next = MIN(extent_end(&e), end);
        if (!is_unwritten(&e))
            continue;
        err = change_state(tree, logical, next);
        if (err)
            return err;
    }
    return 0;
}

errcode_t extents_set_unwritten(ext2_extent_handle_t tree, uint64_t *logical, uint64_t end)
{
    uint64_t most = MIN(end - *logical, EXT_UNINIT_MAX_LEN);
    struct extent_run run;
    errcode_t err = extents_map(tree, *logical, most, &run);

    if (!err && !run.hole && !run.unwritten)
        err = change_state(tree, *logical, *logical + run.count);
    if (!err)
        *logical += run.count;
    return err;
}

/* Puts the cursor on the last extent that begins before `end`; e_len = 0: there is none. */
static errcode_t seek_before(ext2_extent_handle_t tree, uint64_t end, struct ext2fs_extent *e)
{
    bool inside;
    errcode_t err = seek(tree, end - 1, e, &inside);

    if (err || e->e_len == 0 || e->e_lblk < end)
        return err;
    err = ext2fs_extent_get(tree, EXT2_EXTENT_PREV_LEAF, e);
    if (err != EXT2_ET_EXTENT_NO_PREV)
        return err;
    e->e_len = 0;
    return 0;
}

errcode_t extents_each_back(ext2_extent_handle_t tree, uint64_t logical, uint64_t end,
                            bool (*each)(void *opaque, const struct extent_run *run), void *opaque)
{
    struct ext2fs_extent e;
    errcode_t err = seek_before(tree, end, &e);

    while (!err && e.e_len && extent_end(&e) > logical) {
        uint64_t from = MAX(e.e_lblk, logical);
        struct extent_run run = {.logical = from,
                                 .physical = e.e_pblk + (from - e.e_lblk),
                                 .count = MIN(extent_end(&e), end) - from,
                                 .unwritten = is_unwritten(&e)};

        if (each(opaque, &run))
            break;
        err = ext2fs_extent_get(tree, EXT2_EXTENT_PREV_LEAF, &e);
    }
    return err == EXT2_ET_EXTENT_NO_PREV ? 0 : err;
}

/* What the extent under the cursor has from `logical` on goes. */
static errcode_t cut_current(ext2_extent_handle_t tree, struct ext2fs_extent *e, uint64_t logical)
{
    if (e->e_lblk >= logical)
        return delete_current(tree);
    e->e_len = logical - e->e_lblk;
    return ext2fs_extent_replace(tree, 0, e);
}

/* From the back, so that a leaf's entries needn't move nor its parents change. */
errcode_t extents_remove(ext2_extent_handle_t tree, uint64_t logical, uint64_t end,
                         errcode_t (*removed)(void *opaque, blk64_t physical, uint64_t count),
                         void *opaque)
{
    struct ext2fs_extent e;
    errcode_t err = split(tree, end);

    while (!err) {
        uint64_t from, count;

        err = seek_before(tree, end, &e);
        if (err || e.e_len == 0 || extent_end(&e) <= logical)
            break;
        from = MAX(e.e_lblk, logical);
        count = extent_end(&e) - from;
        err = cut_current(tree, &e, logical);
        if (!err)
            err = removed(opaque, e.e_pblk + (from - e.e_lblk), count);
    }
    return err;
}
