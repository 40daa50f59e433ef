// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The files view: an ext4 file system on a volume, through libext2fs.
 *
 * One lock, fs->lock, protects libext2fs's structures, bufcache and all that
 * is not said to have a lock of its own. File data never moves under it: an
 * operation on data maps its range under fs->lock, lets go, and then reads or
 * writes the volume. inode->data_lock (taken before fs->lock, never after)
 * makes writes, truncations and fallocations of one file follow each other, so
 * that a partial block can be read, changed and written; reads take it shared.
 *
 * There are as many of FUSE's threads as there are requests: they may wait for the network.
 */
#ifndef ENCSAN_FS_H
#define ENCSAN_FS_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <glib.h>
#include <ext2fs/ext2_fs.h>
#include <ext2fs/ext2fs.h>

#include "data_lock.h"
#include "encsan.h"
#include "idmap.h"

struct bufcache;
struct buffer;
struct deletion_thread;
struct held;
struct held_thread;
struct journal;
struct pruner;

struct fs {
    struct encsan *volume;
    pthread_mutex_t lock;
    ext2_filsys ext2;
    struct bufcache *cache; /* metadata blocks: bufcache.c */
    GThreadPool *forgets; /* ops.c */
    struct interrupts *interrupts; /* ops.c's, too */
    struct scout *scout;           /* the same */
    struct buffers *answers;       /* of reads: the same */
    struct pruner *pruner;         /* the same; NULL: nobody is asked to forget */
    int fuse_fd;                   /* to the kernel; set before the first request */
    pthread_mutex_t counts_lock; /* protects these, and is held for an instant only */
    unsigned requests;           /* that are being worked on */
    pthread_cond_t no_requests;
    unsigned forgets_queued;
    pthread_cond_t forgotten;
    GHashTable *inodes;     /* ext2_ino_t -> struct inode, those that the kernel knows */
    GQueue known;           /* the same, as they came; pruner.c asks for the oldest to be forgotten */
    size_t inodes_limit;    /* that there should be, at most */
    atomic_size_t known_count; /* for who does not hold the lock */
    bool read_only, no_atime, no_discard, sync, dirsync;
    struct idmap idmap;
    int error;              /* sticky -errno after a failed write-back: the mount has turned read-only */

    struct journal *journal; /* NULL: the mount was read-only at the beginning */
    ext2fs_block_bitmap kept; /* blocks.c */
    unsigned windows;        /* that are open: window.c */
    GQueue held;             /* inodes with data that has no blocks, the oldest first: held.c */
    uint64_t promised_blocks; /* to it */
    bool placing;             /* it gets them now */
    struct held_thread *held_thread;
    struct deletion_thread *deletion_thread;
    int64_t let_others_us;   /* super.c's: when it was let go of for others last */
    GQueue unordered;        /* inodes with data that has not left: unordered.c */

    /* ---- groups.c's own ---- */
    uint8_t *group_changed; /* by group: GROUP_BLOCKS, GROUP_INODES, since the last groups_write */
    dgrp_t wanted_before;   /* bitmaps.c's: the bitmaps behind this group were wanted last */
    struct ext2_super_block written_super;
};

#define FS_SMALL_FILE_BYTES (64u << 10) /* who reads such a one probably goes on with others */

/* An inode that the kernel knows (FUSE's nodeid; root 1 is ext4's 2). */
struct inode {
    ext2_ino_t ino;
    uint64_t lookups;       /* FUSE's lookup count; 0: freed, but not before its data has left, or without links before it is deleted */
    struct ext2_inode_large raw; /* the truth while the inode is here, but for the size; inode_write puts it into the cache */
    bool atime_changed;     /* in raw alone */
    GList known_link;
    uint64_t size;          /* the file's; the disk's may lag behind: unordered.c */
    struct held *held;      /* data that has no blocks yet: held.c; NULL: none */
    GArray *unordered;      /* the three are unordered.c's; NULL: nothing */
    uint64_t unordered_stamp;
    GList unordered_link;
    blk64_t window_start;   /* window.c's; count 0: none is open */
    uint64_t window_count;
    struct data_lock data_lock; /* inode.c initialises and destroys it, data.c takes it */
    int64_t unlinked_us;    /* ops_unlink.c's: when a name of several went last, and by which thread */
    pid_t unlinked_by;
    ext2_ino_t parent; /* where it was found last; 0: not known */
    /* scout.c's: this directory's subdirectories, and the data of its files, have been brought */
    bool scouted, data_scouted;
    unsigned small_reads; /* of files in it, from the beginning */
    uint64_t data_bytes;  /* that were brought */
};
#define INODE_BYTES (sizeof(struct inode) + 48) /* with the heap's and the table's part, or thereabouts */

/* ---- super.c ---- */
struct fs_options {
    bool read_only, no_atime;
    bool no_discard;    /* blocks that become free stay allocated on the far disk */
    bool dirsync;       /* what changes names is durable when it is answered, */
    bool sync;          /* and what changes sizes and attributes; after a write the kernel sends FSYNC */
    bool idmap_user;    /* who mounts is the owner of the root directory: idmap.h */
    unsigned commit_s;  /* between commits by itself */
    size_t cache_bytes; /* for metadata and inodes; more only where a transaction needs it */
    size_t answer_bytes; /* for answers to reads */
};
struct fs_head { /* the volume's first two blocks */
    uint8_t boot[SUPERBLOCK_OFFSET];
    struct ext2_super_block super;
    uint8_t unused[ENCSAN_BLOCK_BYTES - SUPERBLOCK_OFFSET - SUPERBLOCK_SIZE];
    union {
        struct ext2_group_desc first; /* ext4_group_desc begins like that */
        uint8_t descriptors[ENCSAN_BLOCK_BYTES];
    };
};
/* Opens a file system that fs_probe has just found clean, with this head. NULL with one line in
 * message. Unless read_only, says durably that it may need recovery. */
struct fs *fs_open(struct encsan *volume, struct fs_head *head, const struct fs_options *options,
                   char message[ENCSAN_MESSAGE_BYTES]);
/* Frees orphans, brings all home, marks clean, flushes: 0 or -errno. Does not close the volume. */
int fs_close(struct fs *fs);
/* What the caller could not write is lost for the volume: nothing follows it, the
 * mount turns read-only, with a line in the log. fs->lock not held. */
void fs_failed(struct fs *fs, int error);
void fs_fail(struct fs *fs, int error); /* the same, fs->lock held */
/* Between two parts of a long work: who waits for fs->lock gets it soon. Held, and let go of meanwhile. */
void fs_let_others(struct fs *fs);
/* All names, sizes and attributes are durable when it returns 0; and the data of `inode`,
 * if not NULL. fs->lock not held. */
int fs_sync(struct fs *fs, struct inode *inode);
int fs_statfs(struct fs *fs, struct statvfs *st); /* takes the lock */
int fs_errno(errcode_t err); /* libext2fs's error -> -errno */

/* ---- probe.c ---- */
/* What a mount finds before it opens: FS_CLEAN, FS_NEEDS_FSCK (not unmounted,
 * or a journal to replay), or FS_REFUSED with a line in message (no ext4, xfs
 * named as such, errors flag, features). Does not change anything. *head is
 * for fs_open. */
enum fs_state { FS_CLEAN, FS_NEEDS_FSCK, FS_REFUSED };
enum fs_state fs_probe(struct encsan *volume, struct fs_head *head,
                       char message[ENCSAN_MESSAGE_BYTES]);

/* ---- groups.c ---- (fs->lock held) */
#define GROUP_BLOCKS 1u /* its block bitmap, and its descriptor */
#define GROUP_INODES 2u
errcode_t groups_init(struct fs *fs);
void groups_free(struct fs *fs);
/* What changed in descriptors and the superblock, into the cache. 0 or -errno. */
int groups_write(struct fs *fs);
int groups_write_super(struct fs *fs); /* the superblock alone */

/* ---- overhead.c ---- */
/* Puts the number of blocks that ext4 has for itself into the superblock, if it is not there. */
errcode_t overhead_count(struct fs *fs);

/* ---- blocks.c ---- (fs->lock held) */
errcode_t blocks_init(struct fs *fs);
void blocks_exit(struct fs *fs);
/* The run at the goal itself, which prolongs what is there; else the first that
 * is long enough; else the longest among those looked at. At most `want` blocks. */
errcode_t blocks_find(struct fs *fs, blk64_t goal, uint64_t want, blk64_t *start, uint64_t *count);
void blocks_take(struct fs *fs, blk64_t block, blk64_t count);
/* Kept until the running transaction is durable. */
void blocks_free(struct fs *fs, blk64_t block, blk64_t count);
/* Nobody finds them, free as they are. */
void blocks_keep(struct fs *fs, blk64_t block, blk64_t count);
void blocks_let_go(struct fs *fs, blk64_t block, blk64_t count);

/* ---- inumbers.c ---- (fs->lock held); -errno */
/* A free one in this group, or in one behind it. */
int inumbers_find(struct fs *fs, dgrp_t group, ext2_ino_t *ino);
int inumbers_take(struct fs *fs, ext2_ino_t ino, bool is_dir);
int inumbers_free(struct fs *fs, ext2_ino_t ino, bool is_dir);
int inumbers_is_used(struct fs *fs, ext2_ino_t ino, bool *used);

/* ---- window.c ---- (fs->lock held) */
/* As blocks_find, for a file. One that grows, and has become file_blocks long with these,
 * gets more blocks behind them kept for it; 0: it does not grow. */
errcode_t window_find(struct fs *fs, struct inode *inode, blk64_t goal, uint64_t want,
                      uint64_t file_blocks, blk64_t *start, uint64_t *count);
void window_drop(struct fs *fs, struct inode *inode);
bool window_drop_all(struct fs *fs); /* whether there were any */

/* ---- bufcache.c ---- (fs->lock held, but for bufcache_new and _free) */
struct bufcache *bufcache_new(struct encsan *volume, size_t limit_bytes);
void bufcache_free(struct bufcache *cache);
io_manager bufcache_io_manager(struct bufcache *cache);
bool bufcache_has(const struct bufcache *cache, blk64_t block);
/* Begins to fetch those of these blocks (uint64_t; sorts them) that are not there, side by side, but
 * never very many. They stay until the next miss. */
void bufcache_want(struct bufcache *cache, GArray *blocks);
/* The same for all of them, and returns when they are there, or could not be read. May let go
 * of `lock`, which is fs->lock, unless that is NULL. */
void bufcache_bring(struct bufcache *cache, GArray *blocks, pthread_mutex_t *lock);
/* The same where nobody waits for them: who waits for others goes before. */
void bufcache_bring_ahead(struct bufcache *cache, GArray *blocks, pthread_mutex_t *lock);
/* What only reads is tried like this, and waits for what it misses without fs->lock:
 *     struct bufcache_tries tries = {0};
 *     do {
 *         bufcache_try(cache, &tries);
 *         error = ...;
 *     } while (bufcache_tried(cache, &fs->lock));
 * Whatever it found is to be looked for again: the lock was let go of. What changes something
 * ends the try before it does. */
struct bufcache_tries {
    unsigned count;
};
void bufcache_try(struct bufcache *cache, struct bufcache_tries *tries);
bool bufcache_tried(struct bufcache *cache, pthread_mutex_t *lock);
void bufcache_end_try(struct bufcache *cache);
/* Blocks that become free: nobody reads their copies any more. */
void bufcache_forget(struct bufcache *cache, blk64_t block, blk64_t count);
/* The same for the journal, when that is durable. */
void bufcache_drop_freed(struct bufcache *cache, blk64_t block, blk64_t count);
size_t bufcache_limit(const struct bufcache *cache); /* buffers that should be enough; what is lent is not counted */
/* Of the memory up to the limit, so much is used by others: this at most. */
void bufcache_lend(struct bufcache *cache, size_t bytes);
size_t bufcache_most_lent(const struct bufcache *cache);
size_t bufcache_running(const struct bufcache *cache); /* buffers that the running transaction changed */
size_t bufcache_logged(const struct bufcache *cache);  /* versions that the log has, and home has not */
/* Those of the running transaction, which becomes `tid`: struct buffer, by block. They stay
 * until they are home, or freed and that is durable. The array is the caller's. */
GPtrArray *bufcache_freeze(struct bufcache *cache, uint64_t tid);
GPtrArray *bufcache_not_at_home(struct bufcache *cache); /* the same: all that are not */
/* The oldest transaction of which a block is not at home; `running` if there is none. */
uint64_t bufcache_home_lacks(const struct bufcache *cache, uint64_t running);
uint64_t bufcache_block(const struct buffer *buffer);
/* The newest transaction that logged it. */
uint64_t bufcache_logged_by(const struct buffer *buffer);
/* The version that is in the log, or was frozen for it. */
void bufcache_copy_logged(struct buffer *buffer, uint8_t out[ENCSAN_BLOCK_BYTES]);
void bufcache_is_home(struct bufcache *cache, struct buffer *buffer); /* the version copied last is staged there */

/* ---- inode.c ---- (fs->lock held) */
int inode_get(struct fs *fs, ext2_ino_t ino, struct inode **inode); /* lookups + 1 */
/* The same for a number that an NFS client, or open_by_handle_at, kept: -ESTALE where it
 * has no name any more. The caller compares generations. */
int inode_get_by_handle(struct fs *fs, ext2_ino_t ino, struct inode **inode);
void inode_put(struct fs *fs, struct inode *inode, uint64_t lookups); /* the last one frees; deletes an unlinked file: deletion.h */
void inode_drop(struct fs *fs, struct inode *inode); /* from memory alone */
int inode_free(struct fs *fs, struct inode *inode); /* on the disk: one that has nothing any more */
struct inode *inode_find(struct fs *fs, ext2_ino_t ino); /* one that the kernel knows; NULL */
uint64_t inode_table_block(struct fs *fs, ext2_ino_t ino); /* where it lies on the volume */
int inode_write(struct fs *fs, struct inode *inode); /* raw -> cache, with checksum */
void inode_stat(struct fs *fs, const struct inode *inode, struct stat *st);
int inode_setattr(struct fs *fs, struct inode *inode, const struct stat *st, int to_set); /* all but size: FUSE_SET_ATTR_* */
void inode_touch(struct inode *inode, bool mtime); /* ctime, and mtime; in memory */
/* Somebody reads it: atime changes as with relatime, in memory; it is written with the next
 * change, or when the inode goes. */
void inode_was_read(struct fs *fs, struct inode *inode);
/* Deletes the files on ext4's orphan list and forgets all inodes: the file system closes. Lets go of fs->lock meanwhile. */
int inode_free_orphans(struct fs *fs);
uint64_t inode_size(const struct inode *inode);
void inode_set_size(struct inode *inode, uint64_t size);
void inode_set_disk_size(struct inode *inode, uint64_t size); /* unordered.c's */

/* A fresh inode in use, known with one lookup, with mode, owner, times; no links yet. */
int inode_new(struct fs *fs, struct inode *parent, mode_t mode, uid_t uid, gid_t gid, struct inode **made);
/* One that inode_new made and that got no name: freed. */
void inode_undo(struct fs *fs, struct inode *inode);
/* Reads raw anew, after the library changed the inode by its number. */
int inode_refresh(struct fs *fs, struct inode *inode);

/* ---- dir.c ---- (fs->lock held); names are NUL-terminated; -errno */
int dir_lookup(struct fs *fs, struct inode *dir, const char *name, ext2_ino_t *ino);
struct dir_new { /* what is to be made */
    mode_t mode, umask; /* the umask counts where the directory has no default ACL */
    dev_t rdev;
    uid_t uid;
    gid_t gid;
    const char *target; /* a symlink's */
};
int dir_create(struct fs *fs, struct inode *dir, const char *name, const struct dir_new *new,
               struct inode **made);
int dir_link(struct fs *fs, struct inode *inode, struct inode *dir, const char *name);
int dir_unlink(struct fs *fs, struct inode *dir, const char *name);
int dir_rmdir(struct fs *fs, struct inode *dir, const char *name);
int dir_rename(struct fs *fs, struct inode *dir, const char *name, struct inode *new_dir,
               const char *new_name, unsigned flags); /* RENAME_NOREPLACE, RENAME_EXCHANGE */

/* ---- dir_fill.c ---- (fs->lock held) */
int dir_readlink(struct fs *fs, struct inode *inode, char *buf, size_t size);

/* ---- names.c ---- (fs->lock held) */
/* Calls each for the entries behind the one with the cookie `after` (0: all), until it returns
 * nonzero. Who goes on behind a cookie meets an entry that stays exactly once (readdir(3)). */
int dir_iterate(struct fs *fs, struct inode *dir, uint64_t after,
                int (*each)(void *opaque, const char *name, ext2_ino_t ino, int file_type,
                            uint64_t cookie),
                void *opaque);

/* ---- xattr.c ---- (fs->lock held); ACLs as ext4 stores them */
ssize_t xattr_get(struct fs *fs, struct inode *inode, const char *name, void *value, size_t size);
int xattr_set(struct fs *fs, struct inode *inode, const char *name, const void *value, size_t size, int flags);
/* trusted.* is told to the privileged only. */
ssize_t xattr_list(struct fs *fs, struct inode *inode, bool privileged, char *list, size_t size);
int xattr_remove(struct fs *fs, struct inode *inode, const char *name);
int xattr_free_all(struct fs *fs, struct inode *inode); /* of a file that is deleted */

/* ---- acl.c ---- (fs->lock held); ACLs as the kernel speaks of them */
bool acl_is_name(const char *name); /* an attribute that is an ACL */
ssize_t acl_get(struct fs *fs, struct inode *inode, const char *name, void *value, size_t size);
/* `groups`, of gid_t, are those of who sets it: the set-group-id bit goes where the
 * inode's is not among them. NULL: it stays. */
int acl_set(struct fs *fs, struct inode *inode, const char *name, const void *value, size_t size,
            const GArray *groups);
bool acl_may_keep_sgid(const struct fs *fs, const struct inode *inode, const GArray *groups);
int acl_remove(struct fs *fs, struct inode *inode, const char *name); /* 0, too, where there is none */
/* The mode has changed: so does the access ACL, if there is one. */
int acl_follow_mode(struct fs *fs, struct inode *inode);
/* What `made`, new in `dir`, gets from its default ACL or loses by the umask. The caller writes it. */
int acl_inherit(struct fs *fs, struct inode *dir, struct inode *made, mode_t umask);

/* ---- alloc.c ---- (fs->lock held): ranges of blocks of one file */
struct extent_run { /* a mapped (or, with `hole`, unmapped) run */
    uint64_t logical;
    blk64_t physical;
    uint64_t count;
    bool hole, unwritten;
};
/* The run that begins at `logical`, at most `count` blocks of it. */
int alloc_map(struct fs *fs, struct inode *inode, uint64_t logical, uint64_t count,
              struct extent_run *run);
/* Gives blocks to the hole that begins at `logical` and is `count` long or
 * longer: at least one block, contiguous; -ENOSPC. file_blocks: see window_find. They are unwritten, but for a
 * block-mapped file, which knows no such state: see run->unwritten. */
int alloc_range(struct fs *fs, struct inode *inode, uint64_t logical, uint64_t count,
                uint64_t file_blocks, struct extent_run *run);
/* Whether so many more blocks can be promised to data that has none yet. */
bool alloc_can_promise(struct fs *fs, uint64_t count);
/* Unwritten blocks that now hold data. */
int alloc_written(struct fs *fs, struct inode *inode, uint64_t logical, uint64_t count);
/* Blocks of a file with extents that hold zeros now: whatever is on the disk. Holes stay. As many
 * as one operation may change; *logical: the first that was not. */
int alloc_unwritten(struct fs *fs, struct inode *inode, uint64_t *logical, uint64_t end);

/* ---- unordered.c ---- (fs->lock held, but for unordered_order) */
/* These bytes are staged: the file's, but not yet the disk's. */
void unordered_add(struct fs *fs, struct inode *inode, uint64_t from, uint64_t to);
void unordered_drop(struct fs *fs, struct inode *inode, uint64_t from, uint64_t to); /* and not the file's any more */
/* A run as the disk has it, as the file has it: staged blocks are not unwritten. */
void unordered_map(const struct inode *inode, struct extent_run *run);
uint64_t unordered_disk_size(const struct inode *inode);
/* What has left, of all files, becomes the disk's in the running transaction. 0 or -errno. */
int unordered_settle(struct fs *fs);
/* Makes the file's data leave, then the same for it. */
int unordered_order(struct fs *fs, struct inode *inode);

/* ---- data.c ---- (fs->lock not held; take data_lock and fs->lock themselves); -errno */
/* Done may come later, from another thread. buf must live until then. A read
 * ends at the file's size: *got says how much there is. */
void data_read(struct fs *fs, struct inode *inode, void *buf, size_t count, uint64_t offset,
               void (*done)(void *opaque, int error, size_t got), void *opaque);
/* The bytes written: fewer than count when the disk became full on the way, or at the largest size. */
ssize_t data_write(struct fs *fs, struct inode *inode, const void *buf, size_t count, uint64_t offset);
int data_truncate(struct fs *fs, struct inode *inode, uint64_t size);
int data_fallocate(struct fs *fs, struct inode *inode, int mode, uint64_t offset, uint64_t length);
int data_seek(struct fs *fs, struct inode *inode, uint64_t offset, int whence, uint64_t *found); /* SEEK_DATA, SEEK_HOLE */

/* ---- ops.c ---- */
struct fuse_lowlevel_ops;
struct fuse_session;
extern const struct fuse_lowlevel_ops files_ops; /* userdata: struct fs */

#endif
