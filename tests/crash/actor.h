// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * One thread of the workload: does single operations on the mount and keeps the
 * stream of what it did. A regular file is worked on by one actor only; the
 * shared directories, which actor 0 makes, by all. An operation that fails ends
 * the program: on this volume none has a reason to.
 */
#ifndef CRASH_ACTOR_H
#define CRASH_ACTOR_H

#include "world.h"

struct actor {
    struct world *world;
    GArray *ops;    /* struct op */
    GArray *shared; /* struct folder: constant while the actors run */
    uint64_t random;
    unsigned next_name;
    int disk_log; /* whose length is the time */
    int held_fd;  /* of a file that was unlinked while it is open; -1 */
    uint32_t held_ino;
};

struct folder { /* a directory to work in */
    uint32_t ino;
    int fd;
};

struct actor *actor_new(unsigned stream, uint64_t seed, int disk_log);
void actor_free(struct actor *actor);
int actor_save(const struct actor *actor, const char *folder); /* 0 or -errno */

/* 0 … below-1 */
unsigned actor_random(struct actor *actor, unsigned below);

/* With a new name in this directory; the inode. A symlink's `length` is that of its text. */
uint32_t actor_create(struct actor *actor, struct folder dir);
uint32_t actor_mkdir(struct actor *actor, struct folder dir);
void actor_symlink(struct actor *actor, struct folder dir, size_t length);
void actor_link(struct actor *actor, struct edge from, struct folder dir);
void actor_unlink(struct actor *actor, struct edge edge);
void actor_rmdir(struct actor *actor, struct edge edge);
void actor_rename(struct actor *actor, struct edge from, struct edge to); /* to.ino: not used */
void actor_xattr(struct actor *actor, struct edge edge, unsigned which, size_t length);
void actor_write(struct actor *actor, struct edge edge, uint64_t offset, size_t length);
void actor_truncate(struct actor *actor, struct edge edge, uint64_t size);
void actor_punch(struct actor *actor, struct edge edge, uint64_t offset, uint64_t length);
void actor_fsync(struct actor *actor, struct edge edge);
void actor_fsync_folder(struct actor *actor, struct folder dir);

/* Keeps it open, instead of what was held before, and writes to it, whether or not
 * it still has a name: after a crash it may have it again. */
void actor_hold(struct actor *actor, struct edge edge);
void actor_write_held(struct actor *actor, size_t length);

struct folder actor_folder(const struct actor *actor, uint32_t ino);

#endif
