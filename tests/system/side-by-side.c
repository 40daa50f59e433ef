// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Does the same random operations in two folders, and compares: the result, the
 * errno, what lstat says of the names that took part, and at last both trees.
 *
 *     side-by-side SEED OPERATIONS FOLDER FOLDER
 *
 * The names are few, so that operations meet each other; they run as root or as
 * a user, who may not do everything. What differs is told with the last operations.
 * Where holes lie is not compared: ext4 fills some that it is not asked to.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/fs.h>
#include <linux/posix_acl.h>
#include <linux/posix_acl_xattr.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#define PATH_BYTES 64
#define DATA_BYTES 20000
#define HISTORY 12
#define USER 1001
#define GROUP 2001

struct operation {
    const struct kind *kind;
    char path[PATH_BYTES], other[PATH_BYTES];
    unsigned a, b, c; /* whatever the kind wants */
    bool as_user;
};

struct outcome {
    long result;
    int error;
    uint64_t sum; /* of the bytes that came back */
};

struct kind {
    const char *name;
    long (*run)(const struct operation *op, struct outcome *outcome);
    unsigned weight;
};

static uint64_t random_state;

static unsigned random_below(unsigned n)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (unsigned)(random_state >> 33) % n;
}

static void die(const char *what)
{
    perror(what);
    exit(2);
}

static void add_to_sum(uint64_t *sum, const void *bytes, size_t count)
{
    const unsigned char *at = bytes;

    for (size_t i = 0; i < count; i++)
        *sum = (*sum ^ at[i]) * 0x100000001b3u; /* FNV */
}

/* ---- the kinds ---- */

/* Set-group-id without execution means nothing any more, and FUSE keeps it when ext4 does not. */
static mode_t mode_of(const struct operation *op)
{
    return op->b & S_IXGRP ? op->b & 07777 : op->b & 05777;
}

static long close_of(int fd)
{
    if (fd >= 0 && close(fd) != 0)
        die("close");
    return fd < 0 ? -1 : 0;
}

static long run_create(const struct operation *op, struct outcome *outcome)
{
    static const int flags[] = {0, O_EXCL, O_TRUNC, O_NOFOLLOW, O_DIRECTORY};

    return close_of(
        open(op->path, O_CREAT | O_WRONLY | O_NONBLOCK | flags[op->a % 5], mode_of(op)));
}

static long run_mkdir(const struct operation *op, struct outcome *outcome)
{
    return mkdir(op->path, mode_of(op));
}

/* Devices that no kernel has: they are opened, too. */
static long run_mknod(const struct operation *op, struct outcome *outcome)
{
    static const mode_t types[] = {S_IFIFO, S_IFSOCK, S_IFCHR, S_IFBLK, S_IFREG};

    return mknod(op->path, types[op->a % 5] | (op->b & 0777), makedev(4000 + op->c % 90, op->b));
}

static long run_symlink(const struct operation *op, struct outcome *outcome)
{
    return symlink(op->other, op->path);
}

static long run_link(const struct operation *op, struct outcome *outcome)
{
    return linkat(AT_FDCWD, op->path, AT_FDCWD, op->other, op->a % 2 ? AT_SYMLINK_FOLLOW : 0);
}

static long run_rename(const struct operation *op, struct outcome *outcome)
{
    static const unsigned flags[] = {0, 0, RENAME_NOREPLACE, RENAME_EXCHANGE,
                                     RENAME_NOREPLACE | RENAME_EXCHANGE};

    return renameat2(AT_FDCWD, op->path, AT_FDCWD, op->other, flags[op->a % 5]);
}

static long run_unlink(const struct operation *op, struct outcome *outcome)
{
    return unlink(op->path);
}

static long run_rmdir(const struct operation *op, struct outcome *outcome)
{
    return rmdir(op->path);
}

static long run_chmod(const struct operation *op, struct outcome *outcome)
{
    return chmod(op->path, mode_of(op));
}

static long run_chown(const struct operation *op, struct outcome *outcome)
{
    uid_t owner = op->a % 3 ? USER : (uid_t)-1;
    gid_t group = op->b % 3 ? GROUP + op->b % 3 : (gid_t)-1;

    return fchownat(AT_FDCWD, op->path, owner, group, op->c % 2 ? AT_SYMLINK_NOFOLLOW : 0);
}

static long run_truncate(const struct operation *op, struct outcome *outcome)
{
    return truncate(op->path, op->a % 4 ? op->b % DATA_BYTES : op->b % (1u << 24));
}

static long run_write(const struct operation *op, struct outcome *outcome)
{
    static char data[DATA_BYTES];
    int fd = open(op->path, O_WRONLY | O_NONBLOCK | (op->c % 4 ? 0 : O_APPEND));
    long result;

    if (fd < 0)
        return -1;
    memset(data, 'a' + (int)(op->c % 26), sizeof data);
    result = pwrite(fd, data, op->a % sizeof data, op->b % (4 * DATA_BYTES));
    close_of(fd);
    return result;
}

static long run_read(const struct operation *op, struct outcome *outcome)
{
    static char data[DATA_BYTES];
    int fd = open(op->path, O_RDONLY | O_NONBLOCK);
    long result;

    if (fd < 0)
        return -1;
    result = pread(fd, data, sizeof data, op->b % (2 * DATA_BYTES));
    if (result > 0)
        add_to_sum(&outcome->sum, data, (size_t)result);
    close_of(fd);
    return result;
}

static long run_allocate(const struct operation *op, struct outcome *outcome)
{
    static const int modes[] = {0, FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                                FALLOC_FL_ZERO_RANGE, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE};
    int fd = open(op->path, O_WRONLY | O_NONBLOCK);
    long result;

    if (fd < 0)
        return -1;
    result = fallocate(fd, modes[op->c % 5], op->a % (2 * DATA_BYTES), op->b % DATA_BYTES);
    close_of(fd);
    return result;
}

static const char *attribute(const struct operation *op)
{
    static const char *const names[] = {"user.a",
                                        "user.b",
                                        "trusted.c",
                                        "security.d",
                                        "user.",
                                        "unknown.e",
                                        "system.posix_acl_access",
                                        "system.posix_acl_default"};

    return names[op->a % 8];
}

static long run_setxattr(const struct operation *op, struct outcome *outcome)
{
    static const int flags[] = {0, 0, XATTR_CREATE, XATTR_REPLACE};
    char value[2000];

    memset(value, 'A' + (int)(op->b % 26), sizeof value);
    return lsetxattr(op->path, attribute(op), value, op->b % (op->c % 8 ? 60 : 2000),
                     flags[op->c % 4]);
}

/* An ACL with a user of its own, in the kernel's form; the group class may always execute: see
 * mode_of. */
static long run_setfacl(const struct operation *op, struct outcome *outcome)
{
    const struct posix_acl_xattr_entry entries[] = {
        {ACL_USER_OBJ, op->b & 7, (uint32_t)ACL_UNDEFINED_ID},
        {ACL_USER, op->b >> 3 & 7, USER},
        {ACL_GROUP_OBJ, op->b >> 6 & 7, (uint32_t)ACL_UNDEFINED_ID},
        {ACL_MASK, (op->b >> 9 & 7) | 1, (uint32_t)ACL_UNDEFINED_ID},
        {ACL_OTHER, op->b >> 12 & 7, (uint32_t)ACL_UNDEFINED_ID},
    };
    const struct posix_acl_xattr_header header = {POSIX_ACL_XATTR_VERSION};
    const char *name = op->a % 2 ? "system.posix_acl_default" : "system.posix_acl_access";
    char value[sizeof header + sizeof entries];

    if (op->c % 4 == 0)
        return lremovexattr(op->path, name);
    memcpy(value, &header, sizeof header);
    memcpy(value + sizeof header, entries, sizeof entries);
    return lsetxattr(op->path, name, value, sizeof value, 0);
}

static long run_getxattr(const struct operation *op, struct outcome *outcome)
{
    char value[4096];
    long result = lgetxattr(op->path, attribute(op), value, op->b % 4 ? sizeof value : op->c % 60);

    if (result > 0)
        add_to_sum(&outcome->sum, value, (size_t)result);
    return result;
}

static long run_removexattr(const struct operation *op, struct outcome *outcome)
{
    return lremovexattr(op->path, attribute(op));
}

static long run_listxattr(const struct operation *op, struct outcome *outcome)
{
    char list[4096];

    return llistxattr(op->path, list, sizeof list); /* in an order of its own */
}

static long run_utimes(const struct operation *op, struct outcome *outcome)
{
    const struct timespec times[2] = {{op->a, op->b % 1000000000}, {-(time_t)op->b, UTIME_OMIT}};

    return utimensat(AT_FDCWD, op->path, times, AT_SYMLINK_NOFOLLOW);
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

static long run_list(const struct operation *op, struct outcome *outcome)
{
    struct dirent **entries;
    int count = scandir(op->path, &entries, NULL, by_name);

    for (int i = 0; i < count; i++) {
        add_to_sum(&outcome->sum, entries[i]->d_name, strlen(entries[i]->d_name));
        add_to_sum(&outcome->sum, &entries[i]->d_type, sizeof entries[i]->d_type);
        free(entries[i]);
    }
    if (count >= 0)
        free(entries);
    return count;
}

static long run_readlink(const struct operation *op, struct outcome *outcome)
{
    char target[PATH_BYTES];
    long result = readlink(op->path, target, sizeof target);

    if (result > 0)
        add_to_sum(&outcome->sum, target, (size_t)result);
    return result;
}

static long run_access(const struct operation *op, struct outcome *outcome)
{
    return faccessat(AT_FDCWD, op->path, (int)op->a % 8, AT_EACCESS);
}

static const struct kind kinds[] = {
    {"create", run_create, 10},      {"mkdir", run_mkdir, 8},
    {"mknod", run_mknod, 3},         {"symlink", run_symlink, 4},
    {"link", run_link, 6},           {"rename", run_rename, 10},
    {"unlink", run_unlink, 5},       {"rmdir", run_rmdir, 4},
    {"chmod", run_chmod, 5},         {"chown", run_chown, 5},
    {"truncate", run_truncate, 4},   {"write", run_write, 10},
    {"read", run_read, 8},           {"allocate", run_allocate, 5},
    {"setxattr", run_setxattr, 6},   {"setfacl", run_setfacl, 4},
    {"getxattr", run_getxattr, 4},   {"removexattr", run_removexattr, 3},
    {"listxattr", run_listxattr, 2}, {"utimes", run_utimes, 2},
    {"list", run_list, 4},           {"readlink", run_readlink, 2},
    {"access", run_access, 3},
};
#define KINDS (sizeof kinds / sizeof *kinds)

/* ---- one operation, twice ---- */

static void random_path(char path[PATH_BYTES])
{
    static const char *const names[] = {"a", "b", "c", "dd", "eee", "a-longer-name"};
    unsigned depth = 1 + random_below(3);

    strcpy(path, names[random_below(6)]);
    while (--depth) {
        strcat(path, "/");
        strcat(path, names[random_below(3)]);
    }
}

static const struct kind *random_kind(void)
{
    unsigned total = 0, at;
    const struct kind *kind = kinds;

    for (size_t i = 0; i < KINDS; i++)
        total += kinds[i].weight;
    at = random_below(total);
    while (at >= kind->weight)
        at -= kind++->weight;
    return kind;
}

static void random_operation(struct operation *op)
{
    op->kind = random_kind();
    random_path(op->path);
    random_path(op->other);
    op->a = random_below(1u << 30);
    op->b = random_below(1u << 30);
    op->c = random_below(1u << 30);
    op->as_user = random_below(3) == 0;
}

/* The thread's own ids alone: files are judged by them. */
static void become(uid_t uid, gid_t gid)
{
    if (uid != 0 && syscall(SYS_setresgid, -1, gid, -1) != 0)
        die("setresgid");
    if (syscall(SYS_setresuid, -1, uid, -1) != 0)
        die("setresuid");
    if (uid == 0 && syscall(SYS_setresgid, -1, gid, -1) != 0)
        die("setresgid");
}

static struct outcome run(const struct operation *op, int folder)
{
    struct outcome outcome = {0};

    if (fchdir(folder) != 0)
        die("fchdir");
    if (op->as_user)
        become(USER, GROUP);
    errno = 0;
    outcome.result = op->kind->run(op, &outcome);
    outcome.error = outcome.result < 0 ? errno : 0;
    if (op->as_user)
        become(0, 0);
    return outcome;
}

static void tell(const struct operation *op)
{
    printf("%s %s %s %u %u %u%s\n", op->kind->name, op->path, op->other, op->a, op->b, op->c,
           op->as_user ? " (as a user)" : "");
}

static bool same_stat(const char *path, const int folders[2])
{
    struct stat st[2];
    int error[2];

    for (int i = 0; i < 2; i++)
        error[i] = fstatat(folders[i], path, &st[i], AT_SYMLINK_NOFOLLOW) == 0 ? 0 : errno;
    if (error[0] != error[1]) {
        printf("%s: %s, and %s\n", path, strerror(error[0]), strerror(error[1]));
        return false;
    }
    if (error[0] || (st[0].st_mode == st[1].st_mode && st[0].st_nlink == st[1].st_nlink &&
                     st[0].st_uid == st[1].st_uid && st[0].st_gid == st[1].st_gid &&
                     st[0].st_size == st[1].st_size && st[0].st_rdev == st[1].st_rdev))
        return true;
    for (int i = 0; i < 2; i++)
        printf("%s: mode %o, %ju links, owner %u:%u, %jd bytes, device %jx\n", path, st[i].st_mode,
               (uintmax_t)st[i].st_nlink, st[i].st_uid, st[i].st_gid, (intmax_t)st[i].st_size,
               (uintmax_t)st[i].st_rdev);
    return false;
}

static bool same(const struct operation *op, const int folders[2])
{
    struct outcome outcomes[2] = {run(op, folders[0]), run(op, folders[1])};
    const struct outcome *x = &outcomes[0], *y = &outcomes[1];

    if (x->result != y->result || x->error != y->error || x->sum != y->sum) {
        for (int i = 0; i < 2; i++)
            printf("result %ld, %s, sum %jx\n", outcomes[i].result, strerror(outcomes[i].error),
                   (uintmax_t)outcomes[i].sum);
        return false;
    }
    return same_stat(op->path, folders) && same_stat(op->other, folders);
}

int main(int argc, char **argv)
{
    static struct operation history[HISTORY];
    gid_t groups[] = {GROUP, GROUP + 1};
    unsigned long count;
    int folders[2];

    if (argc != 5)
        return 2;
    random_state = strtoul(argv[1], NULL, 10) * 0x9e3779b97f4a7c15u + 1;
    count = strtoul(argv[2], NULL, 10);
    if (setgroups(2, groups) != 0)
        die("setgroups");
    umask(022);
    for (int i = 0; i < 2; i++) {
        folders[i] = open(argv[3 + i], O_RDONLY | O_DIRECTORY);
        if (folders[i] < 0)
            die(argv[3 + i]);
    }
    for (unsigned long n = 0; n < count; n++) {
        struct operation *op = &history[n % HISTORY];

        random_operation(op);
        if (same(op, folders))
            continue;
        printf("seed %s, operation %lu, after these:\n", argv[1], n);
        for (unsigned long i = n >= HISTORY ? n - HISTORY + 1 : 0; i <= n; i++)
            tell(&history[i % HISTORY]);
        return 1;
    }
    return 0;
}
