// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * POSIX ACLs. Two forms of the same entries: the kernel speaks of system.posix_acl_access
 * and _default with 8 bytes an entry (version 2), ext4 stores them with 4 where an entry
 * names nobody (version 1); both are little-endian.
 *
 * The kernel decides by an access ACL who may do what. What an ACL and the mode
 * have in common is ours to keep the same (POSIX.1e, 23.1): the permissions of the owner,
 * of others, and of the group class, which are the mask's where there is one. So
 * an ACL that says no more than the mode is not stored.
 */
#include "fs.h"

#include <errno.h>
#include <string.h>
#include <linux/posix_acl.h>
#include <linux/posix_acl_xattr.h>

#define ACCESS "system.posix_acl_access"
#define DEFAULT "system.posix_acl_default"
#define DISK_VERSION 1
#define HEADER_BYTES 4
#define SHORT_BYTES 4
#define LONG_BYTES 8

struct entry {
    uint16_t tag, perm;
    uint32_t id;
};

/* ---- the two forms ---- */

static bool names_somebody(const struct entry *e)
{
    return e->tag == ACL_USER || e->tag == ACL_GROUP;
}

static size_t entry_bytes(const struct entry *e, uint32_t version)
{
    return version == POSIX_ACL_XATTR_VERSION || names_somebody(e) ? LONG_BYTES : SHORT_BYTES;
}

static uint16_t get16(const uint8_t *bytes)
{
    return (uint16_t)(bytes[0] | bytes[1] << 8);
}

static uint32_t get32(const uint8_t *bytes)
{
    return get16(bytes) | (uint32_t)get16(bytes + 2) << 16;
}

static void put16(GByteArray *bytes, uint16_t value)
{
    value = GUINT16_TO_LE(value);
    g_byte_array_append(bytes, (const uint8_t *)&value, sizeof value);
}

static void put32(GByteArray *bytes, uint32_t value)
{
    value = GUINT32_TO_LE(value);
    g_byte_array_append(bytes, (const uint8_t *)&value, sizeof value);
}

/* Of struct entry; NULL: that is none. */
static GArray *parse(const uint8_t *bytes, size_t size, uint32_t version)
{
    g_autoptr(GArray) acl = g_array_new(FALSE, FALSE, sizeof(struct entry));
    size_t at = HEADER_BYTES;

    if (size < HEADER_BYTES || get32(bytes) != version)
        return NULL;
    while (at < size) {
        struct entry e = {.id = (uint32_t)ACL_UNDEFINED_ID};

        if (size - at < SHORT_BYTES)
            return NULL;
        e.tag = get16(bytes + at);
        e.perm = get16(bytes + at + 2);
        if (size - at < entry_bytes(&e, version))
            return NULL;
        if (names_somebody(&e))
            e.id = get32(bytes + at + SHORT_BYTES);
        g_array_append_val(acl, e);
        at += entry_bytes(&e, version);
    }
    return g_steal_pointer(&acl);
}

static GByteArray *format(const GArray *acl, uint32_t version)
{
    GByteArray *bytes = g_byte_array_new();

    put32(bytes, version);
    for (guint i = 0; i < acl->len; i++) {
        const struct entry *e = &g_array_index(acl, struct entry, i);

        put16(bytes, e->tag);
        put16(bytes, e->perm);
        if (entry_bytes(e, version) == LONG_BYTES)
            put32(bytes, e->id);
    }
    return bytes;
}

/* ---- entries ---- */

static struct entry *find(const GArray *acl, uint16_t tag)
{
    for (guint i = 0; i < acl->len; i++)
        if (g_array_index(acl, struct entry, i).tag == tag)
            return &g_array_index(acl, struct entry, i);
    return NULL;
}

static bool names_anybody(const GArray *acl)
{
    return find(acl, ACL_USER) || find(acl, ACL_GROUP);
}

static bool is_valid(const GArray *acl)
{
    const uint16_t all = ACL_USER_OBJ | ACL_USER | ACL_GROUP_OBJ | ACL_GROUP | ACL_MASK | ACL_OTHER;
    uint16_t last = 0;

    for (guint i = 0; i < acl->len; i++) { /* in the order of their tags */
        const struct entry *e = &g_array_index(acl, struct entry, i);

        if (e->tag & ~all || (e->tag & (e->tag - 1)) || e->perm & ~7 || e->tag < last ||
            (e->tag == last && !names_somebody(e)))
            return false;
        last = e->tag;
    }
    return find(acl, ACL_USER_OBJ) && find(acl, ACL_GROUP_OBJ) && find(acl, ACL_OTHER) &&
           (find(acl, ACL_MASK) || !names_anybody(acl));
}

/* It says no more than a mode can. */
static bool is_minimal(const GArray *acl)
{
    return !names_anybody(acl) && !find(acl, ACL_MASK);
}

/* The entry that is the mode's class at this shift. Valid ACLs have all three. */
static struct entry *class_entry(const GArray *acl, unsigned shift)
{
    if (shift == 6)
        return find(acl, ACL_USER_OBJ);
    if (shift == 0)
        return find(acl, ACL_OTHER);
    return find(acl, ACL_MASK) ? find(acl, ACL_MASK) : find(acl, ACL_GROUP_OBJ);
}

static void set_from_mode(GArray *acl, mode_t mode)
{
    for (unsigned shift = 0; shift <= 6; shift += 3)
        class_entry(acl, shift)->perm = mode >> shift & 7;
}

static mode_t with_permissions_of(mode_t mode, const GArray *acl)
{
    mode &= ~(mode_t)0777;
    for (unsigned shift = 0; shift <= 6; shift += 3)
        mode |= (mode_t)class_entry(acl, shift)->perm << shift;
    return mode;
}

/* From ids on the disk to ids here, or back. */
static void map_ids(const struct fs *fs, GArray *acl)
{
    for (guint i = 0; i < acl->len; i++) {
        struct entry *e = &g_array_index(acl, struct entry, i);

        if (e->tag == ACL_USER)
            e->id = idmap_swap(fs->idmap.user, e->id);
        if (e->tag == ACL_GROUP)
            e->id = idmap_swap(fs->idmap.group, e->id);
    }
}

/* ---- on the disk ---- */

/* -ENODATA: none */
static int load(struct fs *fs, struct inode *inode, const char *name, GArray **acl)
{
    uint8_t value[ENCSAN_BLOCK_BYTES];
    ssize_t size = xattr_get(fs, inode, name, value, sizeof value);

    *acl = NULL;
    if (size < 0)
        return (int)size;
    *acl = parse(value, (size_t)size, DISK_VERSION);
    if (*acl && is_valid(*acl))
        return 0;
    g_clear_pointer(acl, g_array_unref);
    return -EUCLEAN;
}

static int store(struct fs *fs, struct inode *inode, const char *name, const GArray *acl)
{
    GByteArray *value = format(acl, DISK_VERSION);
    int error = xattr_set(fs, inode, name, value->data, value->len, 0);

    g_byte_array_unref(value);
    return error;
}

/* ---- what others call ---- */

bool acl_is_name(const char *name)
{
    return strcmp(name, ACCESS) == 0 || strcmp(name, DEFAULT) == 0;
}

ssize_t acl_get(struct fs *fs, struct inode *inode, const char *name, void *value, size_t size)
{
    g_autoptr(GArray) acl = NULL;
    g_autoptr(GByteArray) bytes = NULL;
    int error = load(fs, inode, name, &acl);

    if (error)
        return error;
    map_ids(fs, acl);
    bytes = format(acl, POSIX_ACL_XATTR_VERSION);
    if (size > 0 && bytes->len > size)
        return -ERANGE;
    if (size > 0)
        memcpy(value, bytes->data, bytes->len);
    return (ssize_t)bytes->len;
}

int acl_remove(struct fs *fs, struct inode *inode, const char *name)
{
    int error = xattr_remove(fs, inode, name);

    return error == -ENODATA ? 0 : error;
}

static bool is_in(const GArray *groups, gid_t gid)
{
    for (guint i = 0; i < groups->len; i++)
        if (g_array_index(groups, gid_t, i) == gid)
            return true;
    return false;
}

bool acl_may_keep_sgid(const struct fs *fs, const struct inode *inode, const GArray *groups)
{
    return !groups || is_in(groups, idmap_swap(fs->idmap.group, inode_gid(inode->raw)));
}

static int set_access(struct fs *fs, struct inode *inode, const GArray *acl, const GArray *groups)
{
    mode_t mode = with_permissions_of(inode->raw.i_mode, acl);
    int error = is_minimal(acl) ? acl_remove(fs, inode, ACCESS) : store(fs, inode, ACCESS, acl);

    if (error)
        return error;
    if (!acl_may_keep_sgid(fs, inode, groups))
        mode &= ~(mode_t)S_ISGID;
    inode->raw.i_mode = (uint16_t)mode;
    inode_touch(inode, false);
    return inode_write(fs, inode);
}

int acl_set(struct fs *fs, struct inode *inode, const char *name, const void *value, size_t size,
            const GArray *groups)
{
    g_autoptr(GArray) acl = parse(value, size, POSIX_ACL_XATTR_VERSION);

    if (!acl || !is_valid(acl))
        return -EINVAL;
    map_ids(fs, acl);
    if (strcmp(name, ACCESS) == 0)
        return set_access(fs, inode, acl, groups);
    return LINUX_S_ISDIR(inode->raw.i_mode) ? store(fs, inode, name, acl) : -EACCES;
}

int acl_follow_mode(struct fs *fs, struct inode *inode)
{
    g_autoptr(GArray) acl = NULL;
    int error = load(fs, inode, ACCESS, &acl);

    if (error)
        return error == -ENODATA ? 0 : error;
    set_from_mode(acl, inode->raw.i_mode);
    return store(fs, inode, ACCESS, acl);
}

/* Neither the ACL nor the mode gives more than the other (POSIX.1e, 23.1.5.2). */
static mode_t intersect(GArray *acl, mode_t mode)
{
    for (unsigned shift = 0; shift <= 6; shift += 3)
        class_entry(acl, shift)->perm &= mode >> shift & 7;
    return with_permissions_of(mode, acl);
}

int acl_inherit(struct fs *fs, struct inode *dir, struct inode *made, mode_t umask)
{
    g_autoptr(GArray) acl = NULL;
    int error;

    if (LINUX_S_ISLNK(made->raw.i_mode))
        return 0;
    error = load(fs, dir, DEFAULT, &acl);
    if (error == -ENODATA) {
        made->raw.i_mode &= (uint16_t) ~(umask & 0777);
        return 0;
    }
    if (!error && LINUX_S_ISDIR(made->raw.i_mode))
        error = store(fs, made, DEFAULT, acl);
    if (error)
        return error;
    made->raw.i_mode = (uint16_t)intersect(acl, made->raw.i_mode);
    return is_minimal(acl) ? 0 : store(fs, made, ACCESS, acl);
}
