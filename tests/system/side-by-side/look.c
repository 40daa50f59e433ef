// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * What stat(2) says, compared: look.h.
 *
 * Times that were set have to be equal. Those that are taken from the clock are not:
 * they have to change at the same calls. Clocks are as coarse as a timer's tick, so
 * that one that did not change may have been set to what it was.
 *
 * Not compared: the numbers of inodes, the size of directories of several blocks (whose
 * leaves may be filled otherwise) and of removed ones, two blocks more or less (one of extents,
 * one of attributes that would fit into the inode again).
 */
#include "look.h"

#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TICK_NS 20000000
#define DAY_S 86400
#define TWO_BLOCKS_SECTORS 16

static struct look look(int fd, const char *path, int flags)
{
    struct look l = {0};
    struct statx x;

    if (fstatat(fd, path, &l.st, flags) != 0)
        l.error = errno;
    else if (statx(fd, path, flags & ~AT_SYMLINK_NOFOLLOW, 0, &x) == 0) /* a link has no flags */
        l.kept = x.stx_attributes & (STATX_ATTR_IMMUTABLE | STATX_ATTR_APPEND);
    return l;
}

static struct look look_at_parent(const char *path)
{
    g_autofree char *name = g_strdup(path), *parent = NULL;

    for (size_t length = strlen(name); length > 1 && name[length - 1] == '/'; length--)
        name[length - 1] = 0;
    parent = g_path_get_dirname(name);
    return look(AT_FDCWD, parent, AT_SYMLINK_NOFOLLOW);
}

bool look_is_kept(const struct looks *looks)
{
    for (unsigned i = 0; i < LOOKS; i++)
        if (looks->at[i].kept)
            return true;
    return false;
}

void look_all(const struct call *c, const struct side *s, struct looks *looks)
{
    struct look *l = looks->at;

    clock_gettime(CLOCK_REALTIME, &looks->when);
    for (unsigned i = 0; i < 2; i++) {
        *l++ = look(AT_FDCWD, c->path[i], AT_SYMLINK_NOFOLLOW);
        *l++ = look(AT_FDCWD, c->path[i], 0);
        *l++ = look_at_parent(c->path[i]);
        *l++ = look(s->fd[c->slot[i]], "", AT_EMPTY_PATH);
    }
}

/* ---- times ---- */

/* 64 bits end in 2262, ext4's dates in 2446. */
static __int128 ns(struct timespec t)
{
    return (__int128)t.tv_sec * 1000000000 + t.tv_nsec;
}

enum { ATIME, MTIME, CTIME, TIMES };

static struct timespec time_of(const struct stat *st, unsigned which)
{
    return which == ATIME ? st->st_atim : which == MTIME ? st->st_mtim : st->st_ctim;
}

static bool is_from_the_clock(struct timespec t)
{
    return llabs(t.tv_sec - time(NULL)) < DAY_S;
}

/* What the page cache, a pipe or a device answers, no daemon sees. */
static bool is_unseen(const struct stat *st, unsigned which)
{
    if (S_ISREG(st->st_mode) || S_ISDIR(st->st_mode))
        return which == ATIME;
    return !S_ISLNK(st->st_mode);
}

static const char *differ_in_a_time(const struct stat *a, const struct stat *b, unsigned which)
{
    static const char *const names[] = {"atime", "mtime", "ctime"};
    struct timespec x = time_of(a, which), y = time_of(b, which);

    bool here = is_from_the_clock(x), there = is_from_the_clock(y);

    if (here != there)
        return is_unseen(a, which) ? NULL : names[which];
    return here || ns(x) == ns(y) ? NULL : names[which];
}

static bool may_have_changed(struct timespec before, struct timespec after, struct timespec when)
{
    return ns(before) != ns(after) || ns(before) >= ns(when) - TICK_NS;
}

/* ---- the rest ---- */

static const char *differ_in_size(const struct stat *a, const struct stat *b)
{
    if (S_ISDIR(a->st_mode) && (a->st_nlink == 0 || (a->st_size > 4096 && b->st_size > 4096)))
        return NULL;
    if (a->st_size != b->st_size)
        return "size";
    if (llabs((long long)(a->st_blocks - b->st_blocks)) > TWO_BLOCKS_SECTORS)
        return "blocks";
    return NULL;
}

static const char *differ_but_for_times(const struct stat *a, const struct stat *b)
{
    if (a->st_mode != b->st_mode)
        return "mode";
    if (a->st_nlink != b->st_nlink)
        return "number of links";
    if (a->st_uid != b->st_uid || a->st_gid != b->st_gid)
        return "owner";
    if (a->st_rdev != b->st_rdev)
        return "device";
    if (a->st_blksize != b->st_blksize)
        return "block size";
    return differ_in_size(a, b);
}

const char *look_differ(const struct stat *a, const struct stat *b)
{
    const char *what = differ_but_for_times(a, b);

    for (unsigned which = 0; which < TIMES && !what; which++)
        what = differ_in_a_time(a, b, which);
    return what;
}

/* ---- a call ---- */

static bool same_file(const struct look *before, const struct look *after)
{
    return !before->error && !after->error && before->st.st_ino == after->st.st_ino;
}

static const char *compare_changes(const struct looks before[SIDES],
                                   const struct looks after[SIDES], unsigned i)
{
    static const char *const names[] = {"change of atime", "change of mtime", "change of ctime"};
    bool same[SIDES], changed[SIDES], may[SIDES];

    for (unsigned s = 0; s < SIDES; s++)
        same[s] = same_file(&before[s].at[i], &after[s].at[i]);
    if (same[0] != same[1])
        return "file at the path before and after";
    for (unsigned which = 0; which < TIMES && same[0]; which++) {
        for (unsigned s = 0; s < SIDES; s++) {
            struct timespec was = time_of(&before[s].at[i].st, which);
            struct timespec is = time_of(&after[s].at[i].st, which);

            changed[s] = ns(was) != ns(is);
            may[s] = may_have_changed(was, is, before[s].when);
        }
        if (is_unseen(&before[0].at[i].st, which))
            continue;
        if ((changed[0] && !may[1]) || (changed[1] && !may[0]))
            return names[which];
    }
    return NULL;
}

const char *look_compare(const struct looks before[SIDES], const struct looks after[SIDES])
{
    static const char *const files[] = {
        "path 1", "file of path 1", "directory of path 1", "slot 1",
        "path 2", "file of path 2", "directory of path 2", "slot 2"};
    static char text[200];

    for (unsigned i = 0; i < LOOKS; i++) {
        const struct look *a = &after[0].at[i], *b = &after[1].at[i];
        const char *what = a->error != b->error ? "errno of stat" : NULL;

        if (!what && !a->error)
            what = look_differ(&a->st, &b->st);
        if (!what)
            what = compare_changes(before, after, i);
        if (!what)
            continue;
        snprintf(text, sizeof text, "%s: another %s", files[i], what);
        return text;
    }
    return NULL;
}
