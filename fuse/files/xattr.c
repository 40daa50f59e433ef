// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Extended attributes, in the inode and in one block, by libext2fs. The kernel
 * asks for security.capability at each write(2): an inode without attributes
 * says no without a look at the disk.
 */
#include "fs.h"

#include <errno.h>
#include <string.h>
#include <sys/xattr.h>

static int check_name(const char *name)
{
    static const char *const prefixes[] = {"user.", "trusted.", "security."};

    for (size_t i = 0; i < G_N_ELEMENTS(prefixes); i++)
        if (g_str_has_prefix(name, prefixes[i]))
            return name[strlen(prefixes[i])] ? 0 : -EINVAL; /* the kernel allows no more than 255 bytes */
    return acl_is_name(name) ? 0 : -EOPNOTSUPP;
}

static bool has_none(const struct fs *fs, const struct inode *inode)
{
    size_t at = EXT2_GOOD_OLD_INODE_SIZE + inode->raw.i_extra_isize;
    size_t size = EXT2_INODE_SIZE(fs->ext2->super);
    uint32_t magic = 0;

    if (ext2fs_file_acl_block(fs->ext2, (const struct ext2_inode *)&inode->raw))
        return false;
    if (size > EXT2_GOOD_OLD_INODE_SIZE && at + sizeof magic <= sizeof inode->raw)
        memcpy(&magic, (const uint8_t *)&inode->raw + at, sizeof magic);
    else if (size > EXT2_GOOD_OLD_INODE_SIZE)
        return false; /* what lies behind `raw` is the library's to judge */
    return magic != EXT2_EXT_ATTR_MAGIC;
}

/* The values are stored as they are: the library would rewrite ACLs. */
static int open_handle(struct fs *fs, struct inode *inode, struct ext2_xattr_handle **handle)
{
    unsigned raw = XATTR_HANDLE_FLAG_RAW;
    errcode_t err = ext2fs_xattrs_open(fs->ext2, inode->ino, handle);

    if (err)
        return fs_errno(err);
    err = ext2fs_xattrs_flags(*handle, &raw, NULL);
    if (!err)
        err = ext2fs_xattrs_read(*handle);
    if (err)
        ext2fs_xattrs_close(handle);
    return fs_errno(err);
}

ssize_t xattr_get(struct fs *fs, struct inode *inode, const char *name, void *value, size_t size)
{
    struct ext2_xattr_handle *handle;
    void *found;
    size_t len;
    ssize_t result = check_name(name);
    errcode_t err;

    if (result)
        return result;
    if (has_none(fs, inode))
        return -ENODATA;
    result = open_handle(fs, inode, &handle);
    if (result)
        return result;
    err = ext2fs_xattr_get(handle, name, &found, &len);
    ext2fs_xattrs_close(&handle);
    if (err)
        return fs_errno(err);
    result = (ssize_t)len;
    if (size > 0 && len > size)
        result = -ERANGE;
    else if (size > 0)
        memcpy(value, found, len);
    ext2fs_free_mem(&found);
    return result;
}

struct listing {
    char *list;
    size_t size, used;
    bool privileged;
};

static int add_to_list(char *name, char *value, size_t value_len, void *opaque)
{
    struct listing *l = opaque;
    size_t len = strlen(name) + 1;

    if (check_name(name) != 0 || (!l->privileged && g_str_has_prefix(name, "trusted.")))
        return 0;
    if (l->used + len <= l->size)
        memcpy(l->list + l->used, name, len);
    l->used += len;
    return 0;
}

ssize_t xattr_list(struct fs *fs, struct inode *inode, bool privileged, char *list, size_t size)
{
    struct ext2_xattr_handle *handle;
    struct listing l = {list, size, 0, privileged};
    errcode_t err;
    int error;

    if (has_none(fs, inode))
        return 0;
    error = open_handle(fs, inode, &handle);
    if (error)
        return error;
    err = ext2fs_xattrs_iterate(handle, add_to_list, &l);
    ext2fs_xattrs_close(&handle);
    if (err)
        return fs_errno(err);
    return size > 0 && l.used > size ? -ERANGE : (ssize_t)l.used;
}

static bool exists(struct ext2_xattr_handle *handle, const char *name)
{
    void *value;
    size_t len;

    if (ext2fs_xattr_get(handle, name, &value, &len) != 0)
        return false;
    ext2fs_free_mem(&value);
    return true;
}

static bool holds(struct ext2_xattr_handle *handle, const char *name, const void *value,
                  size_t size)
{
    void *found;
    size_t len;
    bool same;

    if (ext2fs_xattr_get(handle, name, &found, &len) != 0)
        return false;
    same = len == size && memcmp(found, value, size) == 0;
    ext2fs_free_mem(&found);
    return same;
}

/* The library changed the inode under its number; ctime is ours. */
static int finish(struct fs *fs, struct inode *inode)
{
    int error = inode_refresh(fs, inode);

    if (error)
        return error;
    inode_touch(inode, false);
    return inode_write(fs, inode);
}

/* *changed: it was not there, or another one. */
static int set_in(struct ext2_xattr_handle *handle, const char *name, const void *value,
                  size_t size, int flags, bool *changed)
{
    errcode_t err;

    if (flags & XATTR_CREATE && exists(handle, name))
        return -EEXIST;
    if (flags & XATTR_REPLACE && !exists(handle, name))
        return -ENODATA;
    *changed = !holds(handle, name, value, size);
    if (!*changed)
        return 0;
    err = ext2fs_xattr_set(handle, name, value, size); /* writes, too */
    return err == EXT2_ET_BLOCK_ALLOC_FAIL ? -ENOSPC : fs_errno(err);
}

int xattr_set(struct fs *fs, struct inode *inode, const char *name, const void *value, size_t size,
              int flags)
{
    struct ext2_xattr_handle *handle;
    int error = check_name(name);
    bool changed = false;

    if (!error)
        error = inode_write(fs, inode);
    if (!error)
        error = open_handle(fs, inode, &handle);
    if (error)
        return error;
    error = set_in(handle, name, value, size, flags, &changed);
    ext2fs_xattrs_close(&handle);
    return error || !changed ? error : finish(fs, inode);
}

int xattr_remove(struct fs *fs, struct inode *inode, const char *name)
{
    struct ext2_xattr_handle *handle;
    int error = check_name(name);

    if (error)
        return error;
    if (has_none(fs, inode))
        return -ENODATA;
    error = inode_write(fs, inode);
    if (!error)
        error = open_handle(fs, inode, &handle);
    if (error)
        return error;
    error = exists(handle, name) ? fs_errno(ext2fs_xattr_remove(handle, name)) : -ENODATA;
    ext2fs_xattrs_close(&handle);
    return error ? error : finish(fs, inode);
}

int xattr_free_all(struct fs *fs, struct inode *inode)
{
    int error;

    if (!ext2fs_file_acl_block(fs->ext2, (struct ext2_inode *)&inode->raw))
        return 0;
    error = inode_write(fs, inode);
    if (!error)
        error = fs_errno(ext2fs_free_ext_attr(fs->ext2, inode->ino, &inode->raw));
    return error;
}
