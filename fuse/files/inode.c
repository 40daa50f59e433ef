// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The inodes that the kernel knows: their table, attributes, birth and death.
 *
 * While an inode is in the table, `raw` is the truth; inode_write brings it to
 * the cache at the end of each operation that changed it. An inode without
 * links is on the orphan list (orphans.h) until it is free.
 */
#include "fs.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <time.h>
#include <sys/random.h>
#include <sys/sysmacros.h>

#define FUSE_USE_VERSION 314
#include <fuse_lowlevel.h>

#include "deletion.h"
#include "flags.h"
#include "held.h"
#include "journal.h"
#include "pruner.h"
#include "punch.h"

#define ATIME_OLD_S (24 * 60 * 60) /* relatime's */
#define EXTRA_ISIZE 32 /* up to and with i_crtime_extra and i_projid */

uint64_t inode_size(const struct inode *inode)
{
    return inode->size;
}

void inode_set_disk_size(struct inode *inode, uint64_t size)
{
    inode->raw.i_size = (uint32_t)size;
    inode->raw.i_size_high = (uint32_t)(size >> 32);
}

void inode_set_size(struct inode *inode, uint64_t size)
{
    inode->size = size;
    inode_set_disk_size(inode, unordered_disk_size(inode));
}

/* ---- times: 34 bits of seconds, 30 of nanoseconds ---- */

static bool has_extra(const struct inode *inode, size_t end)
{
    return EXT2_GOOD_OLD_INODE_SIZE + inode->raw.i_extra_isize >= (int)end;
}

#define HAS(inode, field) \
    has_extra(inode, offsetof(struct ext2_inode_large, field) + sizeof((inode)->raw.field))

/* What lies outside of the range becomes its end, as in the kernel's ext4. */
static struct timespec clamp_time(struct timespec t, bool extra)
{
    const time_t first = INT32_MIN, last = extra ? ((time_t)1 << 34) - 1 + INT32_MIN : INT32_MAX;

    if (t.tv_sec > first && t.tv_sec < last)
        return t;
    return (struct timespec){CLAMP(t.tv_sec, first, last), 0};
}

static void encode_time(struct timespec t, uint32_t *seconds, uint32_t *extra)
{
    t = clamp_time(t, extra != NULL);
    *seconds = (uint32_t)t.tv_sec;
    if (extra)
        *extra = (uint32_t)(((t.tv_sec - (int32_t)t.tv_sec) >> 32) & 3) | (uint32_t)t.tv_nsec << 2;
}

static struct timespec decode_time(uint32_t seconds, const uint32_t *extra)
{
    struct timespec t = {(int32_t)seconds, 0};

    if (extra) {
        t.tv_sec += (time_t)(*extra & 3) << 32;
        t.tv_nsec = *extra >> 2;
    }
    return t;
}

static void set_atime(struct inode *inode, struct timespec t)
{
    encode_time(t, &inode->raw.i_atime, HAS(inode, i_atime_extra) ? &inode->raw.i_atime_extra : NULL);
}

static void set_mtime(struct inode *inode, struct timespec t)
{
    encode_time(t, &inode->raw.i_mtime, HAS(inode, i_mtime_extra) ? &inode->raw.i_mtime_extra : NULL);
}

static void set_ctime(struct inode *inode, struct timespec t)
{
    encode_time(t, &inode->raw.i_ctime, HAS(inode, i_ctime_extra) ? &inode->raw.i_ctime_extra : NULL);
}

static struct timespec now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_REALTIME, &t);
    return t;
}

void inode_touch(struct inode *inode, bool mtime)
{
    struct timespec t = now();

    set_ctime(inode, t);
    if (mtime)
        set_mtime(inode, t);
}

/* ---- attributes ---- */

static dev_t device(const struct inode *inode)
{
    uint32_t old = inode->raw.i_block[0], new = inode->raw.i_block[1];

    if (!LINUX_S_ISCHR(inode->raw.i_mode) && !LINUX_S_ISBLK(inode->raw.i_mode))
        return 0;
    if (old)
        return makedev(old >> 8 & 0xff, old & 0xff);
    return makedev(new >> 8 & 0xfff, (new & 0xff) | (new >> 12 & 0xfff00));
}

/* In units of 512 bytes, ext4's i_blocks */
static uint64_t sectors(struct fs *fs, const struct inode *inode)
{
    uint64_t n = inode->raw.i_blocks;

    if (!ext2fs_has_feature_huge_file(fs->ext2->super))
        return n;
    n |= (uint64_t)inode->raw.osd2.linux2.l_i_blocks_hi << 32;
    return inode->raw.i_flags & EXT4_HUGE_FILE_FL ? n * (fs->ext2->blocksize / 512) : n;
}

void inode_stat(struct fs *fs, const struct inode *inode, struct stat *st)
{
    const struct ext2_inode_large *r = &inode->raw;

    memset(st, 0, sizeof *st);
    st->st_ino = inode->ino;
    st->st_mode = r->i_mode;
    st->st_nlink = r->i_links_count;
    st->st_uid = idmap_swap(fs->idmap.user, inode_uid(*r));
    st->st_gid = idmap_swap(fs->idmap.group, inode_gid(*r));
    st->st_rdev = device(inode);
    st->st_size = (off_t)inode_size(inode);
    st->st_blksize = (blksize_t)fs->ext2->blocksize;
    st->st_blocks = (blkcnt_t)(sectors(fs, inode) + held_blocks(inode) * (fs->ext2->blocksize / 512));
    st->st_atim = decode_time(r->i_atime, HAS(inode, i_atime_extra) ? &r->i_atime_extra : NULL);
    st->st_mtim = decode_time(r->i_mtime, HAS(inode, i_mtime_extra) ? &r->i_mtime_extra : NULL);
    st->st_ctim = decode_time(r->i_ctime, HAS(inode, i_ctime_extra) ? &r->i_ctime_extra : NULL);
}

static void set_owner(struct inode *inode, uid_t uid, gid_t gid)
{
    inode->raw.i_uid = (uint16_t)uid;
    ext2fs_set_i_uid_high(inode->raw, (uint16_t)(uid >> 16));
    inode->raw.i_gid = (uint16_t)gid;
    ext2fs_set_i_gid_high(inode->raw, (uint16_t)(gid >> 16));
}

int inode_setattr(struct fs *fs, struct inode *inode, const struct stat *st, int to_set)
{
    uid_t uid = (uid_t)inode_uid(inode->raw);
    gid_t gid = (gid_t)inode_gid(inode->raw);

    if (to_set & FUSE_SET_ATTR_UID)
        uid = idmap_swap(fs->idmap.user, st->st_uid);
    if (to_set & FUSE_SET_ATTR_GID)
        gid = idmap_swap(fs->idmap.group, st->st_gid);
    if (to_set & FUSE_SET_ATTR_MODE)
        inode->raw.i_mode = (uint16_t)((inode->raw.i_mode & S_IFMT) | (st->st_mode & 07777));
    set_owner(inode, uid, gid);
    if (to_set & FUSE_SET_ATTR_ATIME)
        set_atime(inode, to_set & FUSE_SET_ATTR_ATIME_NOW ? now() : st->st_atim);
    if (to_set & FUSE_SET_ATTR_MTIME)
        set_mtime(inode, to_set & FUSE_SET_ATTR_MTIME_NOW ? now() : st->st_mtim);
    set_ctime(inode, to_set & FUSE_SET_ATTR_CTIME ? st->st_ctim : now());
    return inode_write(fs, inode);
}

static bool is_before(struct timespec a, struct timespec b)
{
    return a.tv_sec != b.tv_sec ? a.tv_sec < b.tv_sec : a.tv_nsec < b.tv_nsec;
}

void inode_was_read(struct fs *fs, struct inode *inode)
{
    struct timespec t = now();
    struct stat st;

    if (fs->read_only || fs->no_atime || inode->raw.i_flags & EXT2_NOATIME_FL)
        return;
    inode_stat(fs, inode, &st);
    if (is_before(st.st_mtim, st.st_atim) && is_before(st.st_ctim, st.st_atim) &&
        t.tv_sec - st.st_atim.tv_sec < ATIME_OLD_S)
        return;
    set_atime(inode, t);
    inode->atime_changed = true;
}

int inode_write(struct fs *fs, struct inode *inode)
{
    inode->atime_changed = false;
    inode_set_disk_size(inode, unordered_disk_size(inode));
    return fs_errno(ext2fs_write_inode_full(fs->ext2, inode->ino,
                                            (struct ext2_inode *)&inode->raw, sizeof inode->raw));
}

int inode_refresh(struct fs *fs, struct inode *inode)
{
    int error = fs_errno(ext2fs_read_inode_full(
        fs->ext2, inode->ino, (struct ext2_inode *)&inode->raw, sizeof inode->raw));

    if (!error && !inode->unordered)
        inode->size = EXT2_I_SIZE(&inode->raw);
    return error;
}

uint64_t inode_table_block(struct fs *fs, ext2_ino_t ino)
{
    const struct ext2_super_block *super = fs->ext2->super;
    uint64_t index = (ino - 1) % super->s_inodes_per_group;

    return ext2fs_inode_table_loc(fs->ext2, ext2fs_group_of_ino(fs->ext2, ino)) +
           index * EXT2_INODE_SIZE(super) / fs->ext2->blocksize;
}

/* ---- the table ---- */

/* As many as the kernel knows: they leave less to the cache. */
static void table_changed(struct fs *fs)
{
    fs->known_count = g_hash_table_size(fs->inodes);
    bufcache_lend(fs->cache, fs->known_count * INODE_BYTES);
    if (fs->pruner)
        pruner_look(fs->pruner);
}

struct inode *inode_find(struct fs *fs, ext2_ino_t ino)
{
    return g_hash_table_lookup(fs->inodes, GUINT_TO_POINTER(ino));
}

static struct inode *table_add(struct fs *fs, ext2_ino_t ino)
{
    struct inode *inode = g_new0(struct inode, 1);

    inode->ino = ino;
    inode->lookups = 1;
    data_lock_init(&inode->data_lock);
    g_hash_table_insert(fs->inodes, GUINT_TO_POINTER(ino), inode);
    inode->known_link.data = inode;
    g_queue_push_tail_link(&fs->known, &inode->known_link);
    table_changed(fs);
    return inode;
}

void inode_drop(struct fs *fs, struct inode *inode)
{
    unordered_drop(fs, inode, 0, UINT64_MAX);
    held_drop(fs, inode);
    window_drop(fs, inode);
    g_hash_table_remove(fs->inodes, GUINT_TO_POINTER(inode->ino));
    g_queue_unlink(&fs->known, &inode->known_link);
    table_changed(fs);
    data_lock_destroy(&inode->data_lock);
    g_free(inode);
}

int inode_get(struct fs *fs, ext2_ino_t ino, struct inode **inode)
{
    int error;

    *inode = inode_find(fs, ino);
    if (*inode && (*inode)->lookups == 0 && (*inode)->raw.i_links_count == 0)
        return -EUCLEAN; /* it is being deleted */
    if (*inode) {
        (*inode)->lookups++;
        return 0;
    }
    if (ino != EXT2_ROOT_INO && (ino < EXT2_FIRST_INODE(fs->ext2->super) ||
                                 ino > fs->ext2->super->s_inodes_count))
        return -EUCLEAN;
    *inode = table_add(fs, ino);
    error = inode_refresh(fs, *inode);
    if (!error && (*inode)->raw.i_links_count == 0)
        error = -EUCLEAN; /* it is free: nobody who let go of it may delete it again */
    if (error)
        inode_drop(fs, *inode);
    return error;
}

int inode_get_by_handle(struct fs *fs, ext2_ino_t ino, struct inode **inode)
{
    const struct ext2_super_block *super = fs->ext2->super;
    const struct inode *known = inode_find(fs, ino);
    bool used;
    int error;

    if (known && known->raw.i_links_count == 0)
        return -ESTALE;
    if (ino != EXT2_ROOT_INO && (ino < EXT2_FIRST_INODE(super) || ino > super->s_inodes_count))
        return -ESTALE;
    error = inumbers_is_used(fs, ino, &used);
    if (error)
        return error;
    return used ? inode_get(fs, ino, inode) : -ESTALE;
}

/* ---- birth ---- */

/* The table's block with this inode, where no inode was in use yet, needs not be
 * fetched to be changed: what is there counts for nothing. Where lazy_itable_init
 * left the table as it was found, old bytes would look like inodes: everything
 * unused before the new one in this group is wiped, too. */
static int prepare_table(struct fs *fs, ext2_ino_t ino)
{
    ext2_filsys e = fs->ext2;
    dgrp_t group = ext2fs_group_of_ino(e, ino);
    uint32_t per_group = e->super->s_inodes_per_group, size = EXT2_INODE_SIZE(e->super);
    uint32_t per_block = e->blocksize / size, index = (ino - 1) % per_group;
    uint32_t used = per_group - ext2fs_bg_itable_unused(e, group);
    uint8_t block[ENCSAN_BLOCK_BYTES];
    bool changed = false;

    if (!ext2fs_has_group_desc_csum(e))
        return 0;
    if (ext2fs_bg_flags_test(e, group, EXT2_BG_INODE_ZEROED)) /* but for this block */
        used = MAX((used + per_block - 1) / per_block * per_block, index / per_block * per_block);
    for (uint32_t i = used; i <= index;) {
        uint32_t within = i % per_block;
        blk64_t at = ext2fs_inode_table_loc(e, group) + i / per_block;
        errcode_t err = 0;

        if (within)
            err = io_channel_read_blk64(e->io, at, 1, block);
        if (err)
            return fs_errno(err);
        memset(block + within * size, 0, (per_block - within) * size);
        err = io_channel_write_blk64(e->io, at, 1, block);
        if (err)
            return fs_errno(err);
        changed = true;
        i += per_block - within;
    }
    return changed ? fs_errno(ext2fs_flush_icache(e)) : 0;
}

/* Directories are spread over the groups; what is in them stays near them. */
static dgrp_t wanted_group(struct fs *fs, const struct inode *parent, mode_t mode)
{
    ext2_filsys e = fs->ext2;
    dgrp_t best = ext2fs_group_of_ino(e, parent->ino);

    if (!S_ISDIR(mode) ||
        (parent->ino != EXT2_ROOT_INO && !(parent->raw.i_flags & EXT2_TOPDIR_FL)))
        return best;
    for (dgrp_t g = 0; g < e->group_desc_count; g++)
        if (ext2fs_bg_used_dirs_count(e, g) < ext2fs_bg_used_dirs_count(e, best) &&
            ext2fs_bg_free_inodes_count(e, g) > 0 && ext2fs_bg_free_blocks_count(e, g) > 0)
            best = g;
    return best;
}

static void init_raw(struct fs *fs, struct inode *inode, const struct inode *parent, mode_t mode)
{
    struct ext2_inode_large *r = &inode->raw;
    struct ext3_extent_header *header = (struct ext3_extent_header *)r->i_block;
    struct timespec t = now();

    r->i_mode = (uint16_t)mode;
    r->i_flags = flags_inherited(parent, mode);
    if (EXT2_INODE_SIZE(fs->ext2->super) > EXT2_GOOD_OLD_INODE_SIZE)
        r->i_extra_isize = EXTRA_ISIZE;
    if (getrandom(&r->i_generation, sizeof r->i_generation, 0) != sizeof r->i_generation)
        r->i_generation = (uint32_t)t.tv_nsec; /* only has to differ from the last one's */
    set_atime(inode, t);
    set_mtime(inode, t);
    set_ctime(inode, t);
    if (HAS(inode, i_crtime_extra))
        encode_time(t, &r->i_crtime, &r->i_crtime_extra);
    if (ext2fs_has_feature_extents(fs->ext2->super) && (S_ISREG(mode) || S_ISDIR(mode))) {
        r->i_flags |= EXT4_EXTENTS_FL;
        header->eh_magic = ext2fs_cpu_to_le16(EXT3_EXT_MAGIC);
        header->eh_max = ext2fs_cpu_to_le16(4);
    }
}

int inode_new(struct fs *fs, struct inode *parent, mode_t mode, uid_t uid, gid_t gid,
              struct inode **made)
{
    struct inode *inode;
    ext2_ino_t ino;
    int error = inumbers_find(fs, wanted_group(fs, parent, mode), &ino);

    if (!error)
        error = prepare_table(fs, ino);
    if (error)
        return error;
    inode = table_add(fs, ino);
    if (parent->raw.i_mode & S_ISGID) {
        gid = (gid_t)inode_gid(parent->raw);
        if (S_ISDIR(mode))
            mode |= S_ISGID;
    }
    init_raw(fs, inode, parent, mode);
    set_owner(inode, uid, gid);
    error = inumbers_take(fs, ino, S_ISDIR(mode));
    if (!error)
        error = fs_errno(ext2fs_write_new_inode(fs->ext2, ino, (struct ext2_inode *)&inode->raw));
    if (!error)
        error = inode_write(fs, inode);
    if (error) {
        inode_undo(fs, inode);
        return error;
    }
    *made = inode;
    return 0;
}

/* ---- death ---- */

int inode_free(struct fs *fs, struct inode *inode)
{
    bool is_dir = LINUX_S_ISDIR(inode->raw.i_mode);
    int error;

    inode_set_size(inode, 0);
    inode->raw.i_links_count = 0;
    inode->raw.i_dtime = (uint32_t)time(NULL);
    error = inode_write(fs, inode);
    return error ? error : inumbers_free(fs, inode->ino, is_dir);
}

void inode_undo(struct fs *fs, struct inode *inode)
{
    int error = xattr_free_all(fs, inode);

    if (!error && ext2fs_inode_has_valid_blocks2(fs->ext2, EXT2_INODE(&inode->raw)))
        error = punch_at_once(fs, inode, 0, UINT64_MAX);
    if (!error)
        error = inode_free(fs, inode);
    if (error)
        fs_fail(fs, -EIO); /* a slot that nobody has a name for: for e2fsck */
    inode_drop(fs, inode);
}

/* The inode goes. An atime that can't be written is lost, and nothing else. */
static void write_atime(struct fs *fs, struct inode *inode)
{
    if (inode->atime_changed && inode->raw.i_links_count > 0 && !fs->read_only && !fs->error)
        inode_write(fs, inode);
}

void inode_put(struct fs *fs, struct inode *inode, uint64_t lookups)
{
    inode->lookups -= MIN(lookups, inode->lookups);
    if (inode->lookups > 0)
        return;
    if (inode->raw.i_links_count > 0 && inode->unordered && !fs->error)
        return; /* it goes when its data has left */
    if (inode->raw.i_links_count == 0 && !fs->read_only) {
        deletion_begin(fs, inode);
        return;
    }
    write_atime(fs, inode);
    inode_drop(fs, inode);
}

int inode_free_orphans(struct fs *fs)
{
    int error = 0;

    for (;;) {
        struct inode *inode;

        if (!fs->read_only && !fs->error)
            journal_admit(fs->journal);
        inode = g_queue_peek_head(&fs->known);
        if (!inode)
            return error;
        if (inode->raw.i_links_count == 0 && !fs->read_only) {
            /* the head of the list first: then each is the head */
            struct inode *head = inode_find(fs, fs->ext2->super->s_last_orphan);

            inode = head ? head : inode;
            if (deletion_finish(fs, inode) != 0)
                error = -EIO;
        }
        write_atime(fs, inode);
        inode_drop(fs, inode);
    }
}
