// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The kinds of calls: call.h. What a FUSE daemon has no part in, or libfuse does not
 * pass on, is not among them: O_DIRECT's alignment, O_TMPFILE, collapsed and inserted
 * ranges, RENAME_WHITEOUT, the time of birth.
 */
#include "call.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <linux/falloc.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "draw.h"
#include "inode_flags.h"

struct kind {
    const char *name;
    unsigned weight;
    void (*draw)(struct call *call); /* what is drawn for all kinds is there; NULL: nothing else */
    long (*make)(const struct call *call, struct side *side, struct answer *answer);
};

static int slot(const struct call *c, const struct side *s, unsigned which)
{
    return s->fd[c->slot[which]];
}

static bool is_dir(int fd)
{
    struct stat st;

    return fstat(fd, &st) == 0 && S_ISDIR(st.st_mode);
}

/* ---- open files ---- */

static void draw_open(struct call *c)
{
    static const int often[] = {O_CREAT, O_EXCL, O_TRUNC, O_APPEND};
    static const int seldom[] = {O_DIRECTORY, O_NOFOLLOW, O_PATH, O_NOATIME};

    c->flags = (int)draw(3);
    for (size_t i = 0; i < G_N_ELEMENTS(often); i++)
        if (draw(i == 0 ? 2 : 5) == 0)
            c->flags |= often[i];
    for (size_t i = 0; i < G_N_ELEMENTS(seldom); i++)
        if (draw(12) == 0)
            c->flags |= seldom[i];
}

/* O_NONBLOCK, for pipes. */
static long make_open(const struct call *c, struct side *s, struct answer *a)
{
    int fd = open(c->path[0], c->flags | O_NONBLOCK | O_CLOEXEC, c->mode), *kept;

    if (fd < 0)
        return -1;
    if (inode_flags_forbid_open(fd, c->flags)) {
        close(fd);
        errno = EPERM;
        return -1;
    }
    kept = &s->fd[c->slot[0]];
    if (*kept >= 0)
        close(*kept);
    *kept = fd;
    return 0;
}

static long make_close(const struct call *c, struct side *s, struct answer *a)
{
    int fd = slot(c, s, 0);

    s->fd[c->slot[0]] = -1;
    return close(fd);
}

static long make_read(const struct call *c, struct side *s, struct answer *a)
{
    long n = read(slot(c, s, 0), a->data, c->length);

    a->bytes = n > 0 ? (size_t)n : 0;
    return n;
}

static long make_pread(const struct call *c, struct side *s, struct answer *a)
{
    long n = pread(slot(c, s, 0), a->data, c->length, c->offset);

    a->bytes = n > 0 ? (size_t)n : 0;
    return n;
}

static long make_write(const struct call *c, struct side *s, struct answer *a)
{
    struct stat st;

    if (fstat(slot(c, s, 0), &st) == 0 && st.st_size == DRAW_OFFSET_LIMIT) /* as draw_range */
        return 0;
    if (inode_flags_forbid_write(slot(c, s, 0), c->length))
        return 0;
    return write(slot(c, s, 0), c->data, c->length);
}

static void draw_pwrite(struct call *c)
{
    c->offset = MIN(c->offset, DRAW_OFFSET_LIMIT - 1);
}

static long make_pwrite(const struct call *c, struct side *s, struct answer *a)
{
    if (inode_flags_forbid_write(slot(c, s, 0), c->length))
        return 0;
    return pwrite(slot(c, s, 0), c->data, c->length, c->offset);
}

/* FUSE clears set-user-id before it asks whether a file may be so large. */
static void draw_range(struct call *c)
{
    c->offset = MIN(c->offset, DRAW_OFFSET_LIMIT - (off_t)c->length);
    c->other_offset = MIN(c->other_offset, DRAW_OFFSET_LIMIT - (off_t)c->length);
}

static long make_copy_range(const struct call *c, struct side *s, struct answer *a)
{
    off_t from = c->offset, to = c->other_offset;

    if (inode_flags_keep(slot(c, s, 1)))
        return 0;
    return copy_file_range(slot(c, s, 0), &from, slot(c, s, 1), &to, c->length, 0);
}

static void draw_seek(struct call *c)
{
    static const int whences[] = {SEEK_SET, SEEK_CUR, SEEK_END, SEEK_DATA, SEEK_HOLE, 9};

    c->flags = DRAW_ONE_OF(whences);
    c->offset = MIN(c->offset, DRAW_OFFSET_LIMIT);
}

/* Pages in the cache are data for ext4, whatever is on the disk. A directory's positions
 * are nobody's business, and how far a position may go is the kernel's alone. */
static long make_seek(const struct call *c, struct side *s, struct answer *a)
{
    int fd = slot(c, s, 0);
    off_t at;

    if (is_dir(fd))
        return 0;
    if (c->flags == SEEK_DATA || c->flags == SEEK_HOLE) {
        fsync(fd);
        posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    }
    errno = 0;
    at = lseek(fd, c->offset, c->flags);
    return at >= DRAW_OFFSET_LIMIT || errno == EINVAL ? lseek(fd, 0, SEEK_SET) : at;
}

static long make_ftruncate(const struct call *c, struct side *s, struct answer *a)
{
    return ftruncate(slot(c, s, 0), c->offset);
}

static void draw_fallocate(struct call *c)
{
    static const int modes[] = {0,
                                FALLOC_FL_KEEP_SIZE,
                                FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                                FALLOC_FL_ZERO_RANGE,
                                FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE,
                                FALLOC_FL_PUNCH_HOLE,
                                1 << 20};

    c->flags = DRAW_ONE_OF(modes);
    draw_range(c);
}

static long make_fallocate(const struct call *c, struct side *s, struct answer *a)
{
    return fallocate(slot(c, s, 0), c->flags, c->offset, (off_t)c->length);
}

static long make_fsync(const struct call *c, struct side *s, struct answer *a)
{
    return c->flags ? fdatasync(slot(c, s, 0)) : fsync(slot(c, s, 0));
}

static long make_fchmod(const struct call *c, struct side *s, struct answer *a)
{
    return fchmod(slot(c, s, 0), c->mode);
}

static long make_fchown(const struct call *c, struct side *s, struct answer *a)
{
    return fchown(slot(c, s, 0), c->uid, c->gid);
}

static long make_futimens(const struct call *c, struct side *s, struct answer *a)
{
    return futimens(slot(c, s, 0), c->times);
}

static long make_fsetxattr(const struct call *c, struct side *s, struct answer *a)
{
    return fsetxattr(slot(c, s, 0), c->name, c->data, c->length, c->flags);
}

static void draw_lock(struct call *c)
{
    static const int locks[] = {LOCK_SH, LOCK_EX, LOCK_UN};

    c->flags = DRAW_ONE_OF(locks) | LOCK_NB;
}

static long make_flock(const struct call *c, struct side *s, struct answer *a)
{
    return flock(slot(c, s, 0), c->flags);
}

static long make_lock(const struct call *c, struct side *s, struct answer *a)
{
    int kind = c->flags & ~LOCK_NB;
    struct flock lock = {.l_type = kind == LOCK_SH   ? F_RDLCK
                                   : kind == LOCK_EX ? F_WRLCK
                                                     : F_UNLCK,
                         .l_whence = SEEK_SET,
                         .l_start = c->offset,
                         .l_len = (off_t)c->length};

    return fcntl(slot(c, s, 0), F_OFD_SETLK, &lock);
}

static long make_map(const struct call *c, struct side *s, struct answer *a)
{
    int fd = slot(c, s, 0);
    struct stat st;
    char *at;

    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode) || st.st_size == 0 || c->length == 0)
        return 0;
    if (inode_flags_keep(fd))
        return 0;
    a->bytes = MIN((size_t)st.st_size, c->length);
    at = mmap(NULL, a->bytes, c->flags ? PROT_READ | PROT_WRITE : PROT_READ, MAP_SHARED, fd, 0);
    if (at == MAP_FAILED) {
        a->bytes = 0;
        return -1;
    }
    memcpy(a->data, at, a->bytes);
    if (c->flags)
        memcpy(at, c->data, a->bytes);
    if (msync(at, a->bytes, MS_SYNC) != 0)
        return -1;
    return munmap(at, a->bytes);
}

static long make_link_of_open(const struct call *c, struct side *s, struct answer *a)
{
    g_autofree char *name = g_strdup_printf("/proc/self/fd/%d", slot(c, s, 0));

    return linkat(AT_FDCWD, name, AT_FDCWD, c->path[0], AT_SYMLINK_FOLLOW);
}

/* ---- names ---- */

static long make_mkdir(const struct call *c, struct side *s, struct answer *a)
{
    return mkdir(c->path[0], c->mode);
}

static void draw_mknod(struct call *c)
{
    static const mode_t kinds[] = {S_IFREG, S_IFIFO, S_IFSOCK, S_IFCHR, S_IFBLK, 0, S_IFDIR};

    c->mode |= DRAW_ONE_OF(kinds);
    c->device = draw(2) ? makedev(1, 3) : makedev(250, 70000);
    if (S_ISBLK(c->mode))
        c->device = makedev(259, 99999);
}

static long make_mknod(const struct call *c, struct side *s, struct answer *a)
{
    return mknod(c->path[0], c->mode, c->device);
}

static void draw_link(struct call *c)
{
    c->flags = draw(4) ? 0 : AT_SYMLINK_FOLLOW;
}

static long make_link(const struct call *c, struct side *s, struct answer *a)
{
    return linkat(AT_FDCWD, c->path[0], AT_FDCWD, c->path[1], c->flags);
}

static void draw_symlink(struct call *c)
{
    draw_link_target(c->path[1], sizeof c->path[1]);
}

static long make_symlink(const struct call *c, struct side *s, struct answer *a)
{
    return symlink(c->path[1], c->path[0]);
}

static void draw_rename(struct call *c)
{
    static const unsigned flags[] = {
        0, 0, 0, 0, RENAME_NOREPLACE, RENAME_EXCHANGE, RENAME_EXCHANGE,
    };

    c->flags = (int)DRAW_ONE_OF(flags);
    if (draw(50) == 0)
        c->flags = RENAME_EXCHANGE | RENAME_NOREPLACE;
}

static long make_rename(const struct call *c, struct side *s, struct answer *a)
{
    return renameat2(AT_FDCWD, c->path[0], AT_FDCWD, c->path[1], (unsigned)c->flags);
}

static long make_unlink(const struct call *c, struct side *s, struct answer *a)
{
    return unlink(c->path[0]);
}

static long make_rmdir(const struct call *c, struct side *s, struct answer *a)
{
    return rmdir(c->path[0]);
}

static long make_readlink(const struct call *c, struct side *s, struct answer *a)
{
    long n = readlink(c->path[0], (char *)a->data, c->length);

    a->bytes = n > 0 ? (size_t)n : 0;
    return n;
}

static gint by_name(gconstpointer a, gconstpointer b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void put_all(struct answer *a, GPtrArray *names)
{
    g_ptr_array_sort(names, by_name);
    for (guint i = 0; i < names->len; i++) {
        size_t bytes = strlen(names->pdata[i]) + 1;

        if (bytes > sizeof a->data - a->bytes)
            return;
        memcpy(a->data + a->bytes, names->pdata[i], bytes);
        a->bytes += bytes;
    }
}

/* Each name with its kind, in an order of their own. */
static long make_list(const struct call *c, struct side *s, struct answer *a)
{
    g_autoptr(GPtrArray) names = g_ptr_array_new_with_free_func(g_free);
    DIR *dir = opendir(c->path[0]);
    struct dirent *entry;

    if (!dir)
        return -1;
    errno = 0;
    while ((entry = readdir(dir)))
        g_ptr_array_add(names, g_strdup_printf("%s %d", entry->d_name, entry->d_type));
    if (errno) {
        closedir(dir);
        return -1;
    }
    put_all(a, names);
    return closedir(dir);
}

/* ---- attributes ---- */

static long make_chmod(const struct call *c, struct side *s, struct answer *a)
{
    return chmod(c->path[0], c->mode);
}

static long make_chown(const struct call *c, struct side *s, struct answer *a)
{
    return fchownat(AT_FDCWD, c->path[0], c->uid, c->gid, c->flags);
}

static void draw_nofollow(struct call *c)
{
    c->flags = draw(3) ? 0 : AT_SYMLINK_NOFOLLOW;
}

static long make_utimens(const struct call *c, struct side *s, struct answer *a)
{
    return utimensat(AT_FDCWD, c->path[0], c->times, c->flags);
}

static long make_truncate(const struct call *c, struct side *s, struct answer *a)
{
    return truncate(c->path[0], c->offset);
}

static void draw_access(struct call *c)
{
    c->mode = draw(8);
}

static long make_access(const struct call *c, struct side *s, struct answer *a)
{
    return faccessat(AT_FDCWD, c->path[0], (int)c->mode, AT_EACCESS);
}

static void draw_xattr_flags(struct call *c)
{
    static const int flags[] = {0, 0, 0, XATTR_CREATE, XATTR_REPLACE, 8};

    c->flags = DRAW_ONE_OF(flags);
}

static void draw_setxattr(struct call *c)
{
    static const size_t most[] = {10, 100, 300, 1000, 5000, 70000};

    draw_xattr_flags(c);
    c->length = draw_length(DRAW_ONE_OF(most));
}

static void draw_set_acl(struct call *c)
{
    draw_xattr_flags(c);
    g_strlcpy(c->name, draw(2) ? "system.posix_acl_access" : "system.posix_acl_default",
              sizeof c->name);
    c->length = draw_acl(c->data);
}

static long make_setxattr(const struct call *c, struct side *s, struct answer *a)
{
    return lsetxattr(c->path[0], c->name, c->data, c->length, c->flags);
}

static long make_set_acl(const struct call *c, struct side *s, struct answer *a)
{
    return setxattr(c->path[0], c->name, c->data, c->length, c->flags);
}

static void draw_any_xattr(struct call *c)
{
    if (draw(4) == 0)
        g_strlcpy(c->name, draw(2) ? "system.posix_acl_access" : "system.posix_acl_default",
                  sizeof c->name);
}

static long make_getxattr(const struct call *c, struct side *s, struct answer *a)
{
    long n = lgetxattr(c->path[0], c->name, a->data, c->length);

    a->bytes = n > 0 && c->length ? (size_t)n : 0;
    return n;
}

static long make_removexattr(const struct call *c, struct side *s, struct answer *a)
{
    return lremovexattr(c->path[0], c->name);
}

static long make_listxattr(const struct call *c, struct side *s, struct answer *a)
{
    g_autoptr(GPtrArray) names = g_ptr_array_new();
    char list[CALL_DATA_BYTES];
    long n = llistxattr(c->path[0], list, c->length);

    if (n < 0 || c->length == 0)
        return n;
    for (const char *name = list; name < list + n; name += strlen(name) + 1)
        g_ptr_array_add(names, (char *)name);
    put_all(a, names);
    return n;
}

static void draw_inode_flags(struct call *c)
{
    c->flags = (int)inode_flags_draw();
}

static int open_for_flags(const struct call *c)
{
    return open(c->path[0], O_RDONLY | O_NONBLOCK | O_CLOEXEC);
}

static long set_inode_flags(const struct call *c, const struct side *s, bool by_fsxattr)
{
    int fd = open_for_flags(c), result, error;

    if (fd < 0)
        return -1;
    result = inode_flags_set(s, fd, (uint32_t)c->flags, by_fsxattr);
    error = errno;
    close(fd);
    errno = error;
    return result;
}

static long make_setflags(const struct call *c, struct side *s, struct answer *a)
{
    return set_inode_flags(c, s, false);
}

static long make_fssetxattr(const struct call *c, struct side *s, struct answer *a)
{
    return set_inode_flags(c, s, true);
}

static long make_getflags(const struct call *c, struct side *s, struct answer *a)
{
    int fd = open_for_flags(c);
    uint32_t flags;

    if (fd < 0)
        return -1;
    flags = inode_flags_of(fd);
    close(fd);
    return flags;
}

static void draw_umask(struct call *c)
{
    c->mode &= 077;
}

static long make_umask(const struct call *c, struct side *s, struct answer *a)
{
    umask(c->mode); /* for both, as often as it is called */
    return 0;
}

/* ---- all of them ---- */

static void draw_flag(struct call *c)
{
    c->flags = (int)draw(2);
}

static const struct kind kinds[] = {
    {"open", 120, draw_open, make_open},
    {"close", 10, NULL, make_close},
    {"read", 20, NULL, make_read},
    {"pread", 20, NULL, make_pread},
    {"write", 40, NULL, make_write},
    {"pwrite", 40, draw_pwrite, make_pwrite},
    {"copy_file_range", 10, draw_range, make_copy_range},
    {"lseek", 40, draw_seek, make_seek},
    {"ftruncate", 20, NULL, make_ftruncate},
    {"fallocate", 25, draw_fallocate, make_fallocate},
    {"fsync", 4, draw_flag, make_fsync},
    {"fchmod", 10, NULL, make_fchmod},
    {"fchown", 10, NULL, make_fchown},
    {"futimens", 10, NULL, make_futimens},
    {"fsetxattr", 10, draw_setxattr, make_fsetxattr},
    {"flock", 10, draw_lock, make_flock},
    {"F_OFD_SETLK", 10, draw_lock, make_lock},
    {"mmap", 10, draw_flag, make_map},
    {"link of an open file", 10, NULL, make_link_of_open},
    {"mkdir", 60, NULL, make_mkdir},
    {"mknod", 30, draw_mknod, make_mknod},
    {"linkat", 40, draw_link, make_link},
    {"symlink", 25, draw_symlink, make_symlink},
    {"renameat2", 80, draw_rename, make_rename},
    {"unlink", 40, NULL, make_unlink},
    {"rmdir", 30, NULL, make_rmdir},
    {"readlink", 15, NULL, make_readlink},
    {"readdir", 30, NULL, make_list},
    {"chmod", 30, NULL, make_chmod},
    {"chown", 30, draw_nofollow, make_chown},
    {"utimensat", 30, draw_nofollow, make_utimens},
    {"truncate", 20, NULL, make_truncate},
    {"faccessat", 30, draw_access, make_access},
    {"lsetxattr", 40, draw_setxattr, make_setxattr},
    {"setxattr", 30, draw_set_acl, make_set_acl},
    {"lgetxattr", 30, draw_any_xattr, make_getxattr},
    {"lremovexattr", 20, draw_any_xattr, make_removexattr},
    {"llistxattr", 15, NULL, make_listxattr},
    {"FS_IOC_GETFLAGS", 20, NULL, make_getflags},
    {"FS_IOC_SETFLAGS", 60, draw_inode_flags, make_setflags},
    {"FS_IOC_FSSETXATTR", 30, draw_inode_flags, make_fssetxattr},
    {"umask", 4, draw_umask, make_umask},
};

static const struct kind *draw_kind(void)
{
    unsigned sum = 0, at;

    for (size_t i = 0; i < G_N_ELEMENTS(kinds); i++)
        sum += kinds[i].weight;
    at = draw(sum);
    for (size_t i = 0;; i++) {
        if (at < kinds[i].weight)
            return &kinds[i];
        at -= kinds[i].weight;
    }
}

void call_draw(struct call *c)
{
    c->kind = draw_kind();
    for (unsigned i = 0; i < 2; i++) {
        draw_path(c->path[i], sizeof c->path[i]);
        c->slot[i] = draw(SLOTS);
        c->times[i] = draw_time();
    }
    c->flags = 0;
    c->mode = draw_mode();
    c->uid = draw_id();
    c->gid = draw_id();
    c->device = 0;
    c->offset = draw_offset();
    c->other_offset = draw_offset();
    c->length = draw_length(CALL_DATA_BYTES);
    draw_attribute_name(c->name, sizeof c->name);
    draw_bytes(c->data, sizeof c->data);
    if (c->kind->draw)
        c->kind->draw(c);
}

void call_make(const struct call *c, struct side *side, struct answer *a)
{
    errno = 0;
    a->bytes = 0;
    a->value = c->kind->make(c, side, a);
    a->error = a->value < 0 ? errno : 0;
}

static void print_path(const char *path)
{
    if (strlen(path) > 150)
        printf(" %.60s…(%zu bytes)", path, strlen(path));
    else
        printf(" '%s'", path);
}

bool call_may_bypass_fuse(const struct call *c)
{
    return c->kind->make == make_access || strcmp(c->name, "system.posix_acl_default") == 0;
}

void call_print(const struct call *c)
{
    printf("%s", c->kind->name);
    print_path(c->path[0]);
    print_path(c->path[1]);
    printf(" slots %u %u, flags %#x, mode %#o, owner %d:%d, offsets %jd %jd, length %zu, "
           "times %jd.%09ld %jd.%09ld, attribute '%s'\n",
           c->slot[0], c->slot[1], (unsigned)c->flags, (unsigned)c->mode, (int)c->uid, (int)c->gid,
           (intmax_t)c->offset, (intmax_t)c->other_offset, c->length, (intmax_t)c->times[0].tv_sec,
           c->times[0].tv_nsec, (intmax_t)c->times[1].tv_sec, c->times[1].tv_nsec, c->name);
}
