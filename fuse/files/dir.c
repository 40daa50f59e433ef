// SPDX-License-Identifier: LGPL-2.1-or-later
/* Directories: what is made in them, linked, removed and renamed. fs->lock held. */
#include <errno.h>
#include <linux/fs.h>
#include <string.h>

#include "dir_fill.h"
#include "dirblock.h"
#include "flags.h"
#include "names.h"
#include "orphans.h"

#define LINKS_MAX 65000

static int check_name(const char *name)
{
    return strlen(name) > NAME_BYTES_MAX ? -ENAMETOOLONG : 0;
}

static int check_dir(const struct inode *dir)
{
    return LINUX_S_ISDIR(dir->raw.i_mode) ? 0 : -ENOTDIR;
}

int dir_lookup(struct fs *fs, struct inode *dir, const char *name, ext2_ino_t *ino)
{
    int error = check_name(name);

    if (!error)
        error = check_dir(dir);
    if (!error && strcmp(name, ".") == 0)
        *ino = dir->ino;
    else if (!error)
        error = names_find(fs, dir, name, ino);
    return error;
}

/* What is about to be made there is not there yet. */
static int check_new(struct fs *fs, struct inode *dir, const char *name)
{
    ext2_ino_t ino;
    int error = check_name(name);

    if (!error)
        error = check_dir(dir);
    if (!error && dir->raw.i_links_count == 0)
        return -ENOENT; /* removed, but somebody's working directory */
    if (!error)
        error = names_find(fs, dir, name, &ino);
    return error == -ENOENT ? 0 : error ? error : -EEXIST;
}

/* ---- creation ---- */

/* A directory has a link from itself and one from each subdirectory; past
 * LINKS_MAX ext4 says 1 (dir_nlink), which means "many". */
static void add_subdirectory(struct fs *fs, struct inode *dir)
{
    if (dir->raw.i_links_count == 1)
        return;
    if (++dir->raw.i_links_count > LINKS_MAX) {
        dir->raw.i_links_count = 1;
        ext2fs_set_feature_dir_nlink(fs->ext2->super);
    }
}

static void remove_subdirectory(struct inode *dir)
{
    if (dir->raw.i_links_count > 2)
        dir->raw.i_links_count--;
}

int dir_create(struct fs *fs, struct inode *dir, const char *name, const struct dir_new *new,
               struct inode **made)
{
    int error = check_new(fs, dir, name);

    if (!error)
        error = flags_check_add(dir);
    if (error)
        return error;
    bufcache_end_try(fs->cache);
    error = inode_new(fs, dir, new->mode, new->uid, new->gid, made);
    if (error)
        return error;
    error = dir_fill(fs, *made, dir, new);
    if (!error)
        error = names_add(fs, dir, name, (*made)->ino, new->mode);
    if (error) {
        inode_undo(fs, *made);
        return error;
    }
    if (S_ISDIR(new->mode)) {
        add_subdirectory(fs, dir);
        error = inode_write(fs, dir);
    }
    return error;
}

int dir_link(struct fs *fs, struct inode *inode, struct inode *dir, const char *name)
{
    int error = check_new(fs, dir, name);

    if (!error)
        error = flags_check_add(dir);
    if (!error)
        error = flags_check_link(inode);
    if (error && error != -EEXIST)
        return error;
    if (inode->raw.i_links_count == 0)
        return -ENOENT;
    if (inode->raw.i_links_count >= LINKS_MAX)
        return -EMLINK;
    if (error)
        return error;
    bufcache_end_try(fs->cache);
    error = names_add(fs, dir, name, inode->ino, inode->raw.i_mode);
    if (error)
        return error;
    inode->raw.i_links_count++;
    inode_touch(inode, false);
    return inode_write(fs, inode);
}

/* ---- removal ---- */

/* One name less. Without any the inode waits on the orphan list until the
 * kernel forgets it. */
static int drop_link(struct fs *fs, struct inode *inode)
{
    if (LINUX_S_ISDIR(inode->raw.i_mode))
        inode->raw.i_links_count = 0;
    else
        inode->raw.i_links_count--;
    inode_touch(inode, false);
    return inode->raw.i_links_count == 0 ? orphans_add(fs, inode) : inode_write(fs, inode);
}

/* The inode behind a name, with a lookup to be put back. */
static int get_named(struct fs *fs, struct inode *dir, const char *name, struct inode **inode)
{
    ext2_ino_t ino;
    int error = dir_lookup(fs, dir, name, &ino);

    return error ? error : inode_get(fs, ino, inode);
}

static int unlink_inode(struct fs *fs, struct inode *dir, const char *name, struct inode *inode)
{
    bool is_dir = LINUX_S_ISDIR(inode->raw.i_mode);
    int error;

    bufcache_end_try(fs->cache);
    error = names_remove(fs, dir, name);
    if (error)
        return error;
    if (is_dir) {
        remove_subdirectory(dir);
        error = inode_write(fs, dir);
    }
    return error ? error : drop_link(fs, inode);
}

static int remove_entry(struct fs *fs, struct inode *dir, const char *name, bool want_dir)
{
    struct inode *inode;
    int error = get_named(fs, dir, name, &inode);
    bool is_dir;

    if (error)
        return error;
    is_dir = LINUX_S_ISDIR(inode->raw.i_mode);
    error = flags_check_remove(dir, inode);
    if (!error && is_dir != want_dir)
        error = want_dir ? -ENOTDIR : -EISDIR;
    else if (!error && is_dir)
        error = names_check_empty(fs, inode);
    if (!error)
        error = unlink_inode(fs, dir, name, inode);
    inode_put(fs, inode, 1);
    return error;
}

int dir_unlink(struct fs *fs, struct inode *dir, const char *name)
{
    return remove_entry(fs, dir, name, false);
}

int dir_rmdir(struct fs *fs, struct inode *dir, const char *name)
{
    return remove_entry(fs, dir, name, true);
}

/* ---- rename ---- */

/* A directory came from one parent to another. */
static int reparent(struct fs *fs, struct inode *moved, struct inode *from, struct inode *to)
{
    int error;

    if (from == to || !LINUX_S_ISDIR(moved->raw.i_mode))
        return 0;
    error = names_set(fs, moved, "..", to->ino, S_IFDIR);
    if (error)
        return error;
    remove_subdirectory(from);
    add_subdirectory(fs, to);
    error = inode_write(fs, from);
    return error ? error : inode_write(fs, to);
}

static int check_replace(struct fs *fs, const struct inode *moved, struct inode *victim)
{
    if (!LINUX_S_ISDIR(victim->raw.i_mode))
        return LINUX_S_ISDIR(moved->raw.i_mode) ? -ENOTDIR : 0;
    return LINUX_S_ISDIR(moved->raw.i_mode) ? names_check_empty(fs, victim) : -EISDIR;
}

static int rename_over(struct fs *fs, struct inode *moved, struct inode *dir, const char *name,
                       struct inode *new_dir, const char *new_name, struct inode *victim)
{
    int error = check_replace(fs, moved, victim);

    if (error)
        return error;
    bufcache_end_try(fs->cache);
    error = names_set(fs, new_dir, new_name, moved->ino, moved->raw.i_mode);
    if (!error)
        error = names_remove(fs, dir, name);
    if (error)
        return error;
    if (LINUX_S_ISDIR(victim->raw.i_mode)) {
        remove_subdirectory(new_dir);
        error = inode_write(fs, new_dir);
    }
    if (!error)
        error = reparent(fs, moved, dir, new_dir);
    return error ? error : drop_link(fs, victim);
}

static int rename_new(struct fs *fs, struct inode *moved, struct inode *dir, const char *name,
                      struct inode *new_dir, const char *new_name)
{
    int error;

    bufcache_end_try(fs->cache);
    error = names_add(fs, new_dir, new_name, moved->ino, moved->raw.i_mode);

    if (!error)
        error = names_remove(fs, dir, name);
    return error ? error : reparent(fs, moved, dir, new_dir);
}

static int exchange(struct fs *fs, struct inode *a, struct inode *dir, const char *name,
                    struct inode *b, struct inode *new_dir, const char *new_name)
{
    int error;

    bufcache_end_try(fs->cache);
    error = names_set(fs, dir, name, b->ino, b->raw.i_mode);

    if (!error)
        error = names_set(fs, new_dir, new_name, a->ino, a->raw.i_mode);
    if (!error)
        error = reparent(fs, a, dir, new_dir);
    if (!error)
        error = reparent(fs, b, new_dir, dir);
    inode_touch(b, false);
    return error ? error : inode_write(fs, b);
}

static int check_flags(const struct inode *moved, const struct inode *dir,
                       const struct inode *victim, const struct inode *new_dir)
{
    int error = flags_check_remove(dir, moved);

    if (error)
        return error;
    return victim ? flags_check_remove(new_dir, victim) : flags_check_add(new_dir);
}

/* The new name is of nobody (victim NULL) or of another inode. */
static int move(struct fs *fs, struct inode *moved, struct inode *dir, const char *name,
                struct inode *victim, struct inode *new_dir, const char *new_name, unsigned flags)
{
    int error = check_flags(moved, dir, victim, new_dir);

    if (error)
        return error;
    if (!victim)
        return rename_new(fs, moved, dir, name, new_dir, new_name);
    if (flags & RENAME_EXCHANGE)
        return exchange(fs, moved, dir, name, victim, new_dir, new_name);
    return rename_over(fs, moved, dir, name, new_dir, new_name, victim);
}

static int rename_found(struct fs *fs, struct inode *moved, struct inode *dir, const char *name,
                        struct inode *new_dir, const char *new_name, unsigned flags)
{
    struct inode *victim = NULL;
    int error = get_named(fs, new_dir, new_name, &victim);

    if (error && error != -ENOENT)
        return error;
    if (!victim && flags & RENAME_EXCHANGE)
        error = -ENOENT;
    else if (victim && flags & RENAME_NOREPLACE)
        error = -EEXIST;
    else if (victim == moved)
        error = 0; /* two names of one file: both stay (POSIX) */
    else
        error = move(fs, moved, dir, name, victim, new_dir, new_name, flags);
    if (victim)
        inode_put(fs, victim, 1);
    return error;
}

int dir_rename(struct fs *fs, struct inode *dir, const char *name, struct inode *new_dir,
               const char *new_name, unsigned flags)
{
    struct inode *moved;
    int error = check_name(new_name);

    if (error || flags & ~(unsigned)(RENAME_NOREPLACE | RENAME_EXCHANGE))
        return error ? error : -EINVAL;
    if (new_dir->raw.i_links_count == 0)
        return -ENOENT;
    error = get_named(fs, dir, name, &moved);
    if (error)
        return error;
    error = rename_found(fs, moved, dir, name, new_dir, new_name, flags);
    if (!error) {
        bufcache_end_try(fs->cache);
        inode_touch(moved, false);
        error = inode_write(fs, moved);
    }
    inode_put(fs, moved, 1);
    return error;
}

