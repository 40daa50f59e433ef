// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * side-by-side SEED CALLS OURS THEIRS
 *
 * Random calls in two directories that are the same: one on the file system to be tested,
 * one on the kernel's ext4. Each has to have the same result, errno and data, and
 * to leave behind the same for stat(2); in the end, and now and then, the whole trees are
 * compared. Called by root, it makes calls as other users, too. The first difference is
 * printed with the call that showed it and those before, and ends the program with 1. The
 * same SEED makes the same calls.
 */
#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <grp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "draw.h"
#include "look.h"
#include "tree.h"

#define CALLS_OF_ONE_USER 20
#define CALLS_BETWEEN_TREES 1000
#define HISTORY 12

static struct side sides[SIDES];
static struct answer answers[SIDES];
static struct looks before[SIDES], after[SIDES];
static struct call history[HISTORY];
static bool is_root;
static unsigned user; /* of users below */
static unsigned long seed;

static void must(bool well, const char *what)
{
    if (well)
        return;
    fprintf(stderr, "side-by-side: %s: %s\n", what, strerror(errno));
    exit(1);
}

/* ---- users ---- */

static const struct {
    uid_t uid;
    gid_t gid;
    gid_t groups[2];
} users[] = {{0, 0, {0, 0}}, {1001, 2001, {2001, 2002}}, {1002, 2002, {2002, 2002}}};

static void become(unsigned which)
{
    if (!is_root || which == user)
        return;
    must(seteuid(0) == 0 && setgroups(2, users[which].groups) == 0 &&
             setegid(users[which].gid) == 0 && seteuid(users[which].uid) == 0,
         "another user");
    user = which;
}

/* ---- a call ---- */

static void one_side(const struct call *call, unsigned s, unsigned as)
{
    must(fchdir(sides[s].top_fd) == 0, sides[s].top);
    look_all(call, &sides[s], &before[s]);
    become(as);
    call_make(call, &sides[s], &answers[s]);
    become(0);
    look_all(call, &sides[s], &after[s]);
}

/* By the flags of an inode ext4 forbids before anything else does; for FUSE the kernel, which does not
 * know them, looks for other reasons first. */
static bool is_forbidden_otherwise(const struct call *call)
{
    return answers[1].error == EPERM && look_is_kept(&before[1]) &&
           (answers[0].error || call_may_bypass_fuse(call));
}

static const char *difference(const struct call *call)
{
    const struct answer *a = &answers[0], *b = &answers[1];
    bool forbidden = is_forbidden_otherwise(call);

    if (a->error != b->error && !forbidden)
        return "another errno";
    if (a->value != b->value && !forbidden)
        return "another result";
    if (a->bytes != b->bytes || memcmp(a->data, b->data, a->bytes) != 0)
        return "other data";
    return look_compare(before, after);
}

static void print_time(const char *name, struct timespec was, struct timespec is)
{
    printf(" %s %jd.%09ld", name, (intmax_t)is.tv_sec, is.tv_nsec);
    if (was.tv_sec != is.tv_sec || was.tv_nsec != is.tv_nsec)
        printf(" (was %jd.%09ld)", (intmax_t)was.tv_sec, was.tv_nsec);
}

static void print_look(const struct look *was, const struct look *is)
{
    if (is->error) {
        printf("    %s\n", strerror(is->error));
        return;
    }
    printf("    mode %#o links %ju owner %u:%u size %jd blocks %jd", is->st.st_mode,
           (uintmax_t)is->st.st_nlink, is->st.st_uid, is->st.st_gid, (intmax_t)is->st.st_size,
           (intmax_t)is->st.st_blocks);
    print_time("atime", was->st.st_atim, is->st.st_atim);
    print_time("mtime", was->st.st_mtim, is->st.st_mtim);
    print_time("ctime", was->st.st_ctim, is->st.st_ctim);
    printf("\n");
}

static void report(unsigned long number, unsigned as, const char *what)
{
    printf("seed %lu, call %lu by %u, after these: %s\n", seed, number, users[as].uid, what);
    for (unsigned long i = number < HISTORY ? 1 : number - HISTORY + 1; i <= number; i++)
        call_print(&history[i % HISTORY]);
    for (unsigned s = 0; s < SIDES; s++) {
        printf("  %s: %ld %s, %zu bytes\n", sides[s].top, answers[s].value,
               answers[s].error ? strerror(answers[s].error) : "", answers[s].bytes);
        for (unsigned i = 0; i < LOOKS; i++)
            print_look(&before[s].at[i], &after[s].at[i]);
    }
}

static void one_call(unsigned long number, unsigned as)
{
    struct call *call = &history[number % HISTORY];
    const char *what;

    call_draw(call);
    for (unsigned s = 0; s < SIDES; s++)
        one_side(call, s, as);
    what = difference(call);
    if (!what)
        return;
    report(number, as, what);
    exit(1);
}

/* ---- all of them ---- */

static void compare_trees(unsigned long number)
{
    g_autofree char *what = tree_compare(sides[0].top, sides[1].top);

    if (!what)
        return;
    printf("seed %lu, after call %lu: %s\n", seed, number, what);
    exit(1);
}

static void open_side(struct side *side, const char *top)
{
    side->top = top;
    side->top_fd = open(top, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    must(side->top_fd >= 0, top);
    for (unsigned i = 0; i < SLOTS; i++)
        side->fd[i] = -1;
}

static void make_calls(unsigned long calls)
{
    unsigned as = 0;

    compare_trees(0);
    for (unsigned long i = 1; i <= calls; i++) {
        if (is_root && i % CALLS_OF_ONE_USER == 0)
            as = draw(2) ? 0 : draw(G_N_ELEMENTS(users));
        one_call(i, as);
        if (i % CALLS_BETWEEN_TREES == 0 || i == calls)
            compare_trees(i);
    }
}

int main(int argc, char **argv)
{
    if (argc != 5) {
        fprintf(stderr, "usage: side-by-side SEED CALLS OURS THEIRS\n");
        return 2;
    }
    is_root = getuid() == 0;
    seed = strtoul(argv[1], NULL, 10);
    signal(SIGPIPE, SIG_IGN);
    umask(022);
    draw_seed(seed);
    open_side(&sides[0], argv[3]);
    open_side(&sides[1], argv[4]);
    make_calls(strtoul(argv[2], NULL, 10));
    return 0;
}
