// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The file system as a whole: opening, closing, and what libext2fs's errors mean.
 *
 * While we have it, the feature needs_recovery is set on the volume: a mount that
 * finds it lets e2fsck replay the journal first. After a failure to write nothing
 * is written any more, and it stays so.
 */
#include "fs.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "../buffers.h"
#include "deletion.h"
#include "held.h"
#include "journal.h"
#include "log.h"

#define INODES_MAX 1000000
#define HOLD_US 4000
#define PAUSE_US 200

G_GNUC_PRINTF(2, 3)
static void say(char message[ENCSAN_MESSAGE_BYTES], const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(message, ENCSAN_MESSAGE_BYTES, format, args);
    va_end(args);
}

void fs_fail(struct fs *fs, int error)
{
    if (fs->error)
        return;
    fs->error = error;
    fs->read_only = true;
    log_line(LOG_ERR,
             "cannot write to the volume: %s; the mount is now read-only, "
             "unmount it and mount it again",
             strerror(-error));
    if (fs->journal)
        journal_failed(fs->journal);
}

void fs_failed(struct fs *fs, int error)
{
    pthread_mutex_lock(&fs->lock);
    fs_fail(fs, error);
    pthread_mutex_unlock(&fs->lock);
}

/* A mutex goes to who asks first when it is free, not to who has waited for it. */
void fs_let_others(struct fs *fs)
{
    if (g_get_monotonic_time() - fs->let_others_us < HOLD_US)
        return;
    pthread_mutex_unlock(&fs->lock);
    g_usleep(PAUSE_US);
    pthread_mutex_lock(&fs->lock);
    fs->let_others_us = g_get_monotonic_time();
}

int fs_sync(struct fs *fs, struct inode *inode)
{
    int error = fs->error;

    if (!fs->journal || error)
        return error;
    if (inode)
        error = unordered_order(fs, inode);
    return error ? error : journal_commit(fs->journal);
}

/* ---- opening ---- */

/* The leaf of the journal's extent tree, by the copy of its root in the superblock; 0: there is
 * none, as far as is known. */
static uint64_t journal_leaf(const struct ext2_super_block *super)
{
    const struct ext3_extent_header *root = (const struct ext3_extent_header *)super->s_jnl_blocks;
    const struct ext3_extent_idx *index = (const struct ext3_extent_idx *)(root + 1);

    if (super->s_jnl_backup_type != EXT3_JNL_BACKUP_BLOCKS || root->eh_magic != EXT3_EXT_MAGIC ||
        root->eh_depth != 1)
        return 0;
    return (uint64_t)index->ei_leaf_hi << 32 | index->ei_leaf;
}

/* All that opening will look at, as far as it can be known, at once: libext2fs reads one after the
 * other. The superblock, the descriptors behind it, the first inodes, the journal's map. */
static void want_what_opening_reads(struct fs *fs, struct fs_head *head)
{
    struct ext2_super_block *super = &head->super;
    uint64_t groups = ext2fs_blocks_count(super) / MAX(super->s_blocks_per_group, 1) + 1;
    uint64_t last = groups * EXT2_DESC_SIZE(super) / ENCSAN_BLOCK_BYTES + 1;
    uint64_t inodes = head->first.bg_inode_table, leaf = journal_leaf(super);
    GArray *wanted = g_array_new(FALSE, FALSE, sizeof(uint64_t));

    if (ext2fs_has_feature_meta_bg(super)) /* those behind are elsewhere */
        last = super->s_first_meta_bg;
    for (uint64_t block = 0; block <= MIN(last, bufcache_limit(fs->cache)); block++)
        g_array_append_val(wanted, block);
    g_array_append_val(wanted, inodes);
    if (leaf)
        g_array_append_val(wanted, leaf);
    bufcache_want(fs->cache, wanted);
    g_array_free(wanted, TRUE);
}

static errcode_t open_ext2(struct fs *fs)
{
    int flags = EXT2_FLAG_64BITS | (fs->read_only ? 0 : EXT2_FLAG_RW);
    errcode_t err;

    initialize_ext2_error_table(); /* for error_message */
    err = ext2fs_open2("encsan", NULL, flags, 0, 0, bufcache_io_manager(fs->cache), &fs->ext2);
    if (!err)
        err = groups_init(fs);
    if (!err)
        err = blocks_init(fs);
    return err ? err : overhead_count(fs);
}

/* Who mounts is the owner of the root directory. */
static errcode_t map_user(struct fs *fs)
{
    struct ext2_inode root;
    errcode_t err = ext2fs_read_inode(fs->ext2, EXT2_ROOT_INO, &root);

    if (!err)
        fs->idmap = (struct idmap){{inode_uid(root), getuid()}, {inode_gid(root), getgid()}};
    return err;
}

static void fs_free(struct fs *fs)
{
    blocks_exit(fs);
    groups_free(fs);
    if (fs->ext2)
        ext2fs_free(fs->ext2);
    bufcache_free(fs->cache);
    buffers_free(fs->answers);
    g_hash_table_destroy(fs->inodes);
    pthread_cond_destroy(&fs->no_requests);
    pthread_cond_destroy(&fs->forgotten);
    pthread_mutex_destroy(&fs->counts_lock);
    pthread_mutex_destroy(&fs->lock);
    g_free(fs);
}

static struct fs *fs_new(struct encsan *volume, const struct fs_options *options)
{
    struct fs *fs = g_new0(struct fs, 1);

    fs->volume = volume;
    fs->read_only = options->read_only;
    fs->no_atime = options->no_atime;
    fs->no_discard = options->no_discard;
    fs->sync = options->sync;
    fs->dirsync = options->dirsync;
    pthread_mutex_init(&fs->lock, NULL);
    pthread_cond_init(&fs->no_requests, NULL);
    pthread_cond_init(&fs->forgotten, NULL);
    pthread_mutex_init(&fs->counts_lock, NULL);
    fs->inodes = g_hash_table_new(g_direct_hash, g_direct_equal);
    g_queue_init(&fs->known);
    g_queue_init(&fs->held);
    g_queue_init(&fs->unordered);
    fs->cache = bufcache_new(volume, options->cache_bytes);
    fs->inodes_limit = MIN(bufcache_most_lent(fs->cache) / INODE_BYTES, INODES_MAX);
    fs->answers = buffers_new(options->answer_bytes);
    return fs;
}

/* It is in use now: the journal's beginning brings that to the volume. */
static int begin_journal(struct fs *fs, unsigned commit_s, char message[ENCSAN_MESSAGE_BYTES])
{
    struct ext2_super_block *super = fs->ext2->super;
    int error;

    super->s_mtime = (uint32_t)time(NULL);
    super->s_mnt_count++;
    fs->journal = journal_open(fs, commit_s, message);
    if (!fs->journal)
        return -EIO;
    error = held_start(fs);
    if (!error)
        error = deletion_start(fs);
    if (!error)
        return 0;
    say(message, "cannot start a thread: %s", strerror(-error));
    held_stop(fs);
    journal_close(fs->journal);
    return error;
}

struct fs *fs_open(struct encsan *volume, struct fs_head *head, const struct fs_options *options,
                   char message[ENCSAN_MESSAGE_BYTES])
{
    struct fs *fs = fs_new(volume, options);
    errcode_t err;

    want_what_opening_reads(fs, head);
    err = fs->answers ? open_ext2(fs) : ENOMEM;
    if (!err && options->idmap_user)
        err = map_user(fs);
    if (err)
        say(message, "cannot open the ext4 file system: %s%s", error_message(err),
            fs_errno(err) == -EUCLEAN ? "; run encsan fsck" : "");
    if (err || (!options->read_only && begin_journal(fs, options->commit_s, message))) {
        fs_free(fs);
        return NULL;
    }
    return fs;
}

/* ---- closing ---- */

/* All data leaves, and all inodes go. */
static int forget_all(struct fs *fs)
{
    int error = held_place_all(fs);

    if (!error && fs->journal)
        error = encsan_flush(fs->volume);
    pthread_mutex_lock(&fs->lock);
    if (!error)
        error = unordered_settle(fs);
    if (!error)
        error = inode_free_orphans(fs);
    pthread_mutex_unlock(&fs->lock);
    return error;
}

int fs_close(struct fs *fs)
{
    int error;

    held_stop(fs);
    deletion_stop(fs);
    error = forget_all(fs);
    if (error) {
        fs_failed(fs, error); /* so it is read-only, and nothing is deleted: */
        pthread_mutex_lock(&fs->lock);
        inode_free_orphans(fs);
        pthread_mutex_unlock(&fs->lock);
    }
    error = fs->journal ? journal_close(fs->journal) : fs->error;
    fs_free(fs);
    return error;
}

/* ---- the rest ---- */

int fs_statfs(struct fs *fs, struct statvfs *st)
{
    struct ext2_super_block *super = fs->ext2->super;
    uint64_t reserved, overhead;

    memset(st, 0, sizeof(*st));
    pthread_mutex_lock(&fs->lock);
    reserved = ext2fs_r_blocks_count(super);
    overhead = super->s_overhead_clusters;
    st->f_bsize = st->f_frsize = fs->ext2->blocksize;
    st->f_blocks = ext2fs_blocks_count(super) - MIN(overhead, ext2fs_blocks_count(super));
    st->f_bfree = ext2fs_free_blocks_count(super) - fs->promised_blocks;
    st->f_bavail = st->f_bfree - MIN(reserved, st->f_bfree);
    st->f_files = super->s_inodes_count;
    st->f_ffree = st->f_favail = super->s_free_inodes_count;
    memcpy(&st->f_fsid, super->s_uuid, sizeof(st->f_fsid));
    st->f_namemax = EXT2_NAME_LEN;
    st->f_flag = fs->read_only ? ST_RDONLY : 0;
    pthread_mutex_unlock(&fs->lock);
    return 0;
}

int fs_errno(errcode_t err)
{
    if (err >= 0 && err < 256) /* what the io_manager returned */
        return -(int)err;
    switch (err) {
    case EXT2_ET_NO_MEMORY:
        return -ENOMEM;
    case EXT2_ET_BLOCK_ALLOC_FAIL:
    case EXT2_ET_INODE_ALLOC_FAIL:
    case EXT2_ET_DIR_NO_SPACE:
        return -ENOSPC;
    case EXT2_ET_FILE_NOT_FOUND:
        return -ENOENT;
    case EXT2_ET_FILE_EXISTS:
    case EXT2_ET_DIR_EXISTS:
        return -EEXIST;
    case EXT2_ET_NO_DIRECTORY:
        return -ENOTDIR;
    case EXT2_ET_RO_FILSYS:
        return -EROFS;
    case EXT2_ET_FILE_TOO_BIG:
        return -EFBIG;
    case EXT2_ET_SYMLINK_LOOP:
        return -ELOOP;
    case EXT2_ET_INVALID_ARGUMENT:
        return -EINVAL;
    case EXT2_ET_UNIMPLEMENTED:
    case EXT2_ET_OP_NOT_SUPPORTED:
    case EXT2_ET_UNSUPP_FEATURE:
    case EXT2_ET_RO_UNSUPP_FEATURE:
        return -EOPNOTSUPP;
    case EXT2_ET_EA_KEY_NOT_FOUND:
        return -ENODATA;
    case EXT2_ET_EA_NO_SPACE:
        return -ENOSPC;
    case EXT2_ET_SHORT_READ:
    case EXT2_ET_SHORT_WRITE:
        return -EIO;
    default: /* what ext4 calls EFSCORRUPTED */
        return -EUCLEAN;
    }
}
