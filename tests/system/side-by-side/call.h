// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * One call of a random kind, with random arguments, that is made in two
 * directories; and what each answered.
 */
#ifndef SIDE_CALL_H
#define SIDE_CALL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

enum { SIDES = 2, SLOTS = 6 };

#define CALL_PATH_BYTES 5000   /* the kernel takes 4096 */
#define CALL_DATA_BYTES 70000u /* an attribute's limit is 65536 */

struct kind;

struct call {
    const struct kind *kind;
    char path[2][CALL_PATH_BYTES];
    unsigned slot[2]; /* of open files */
    int flags;
    mode_t mode;
    uid_t uid;
    gid_t gid;
    dev_t device;
    off_t offset, other_offset;
    size_t length; /* at most CALL_DATA_BYTES */
    struct timespec times[2];
    char name[300]; /* of an attribute */
    uint8_t data[CALL_DATA_BYTES];
};

struct answer {
    long value;
    int error; /* errno; 0 where value is not negative */
    size_t bytes;
    uint8_t data[CALL_DATA_BYTES];
};

/* Open files, by slot; -1: none. */
struct side {
    const char *top;
    int top_fd;
    int fd[SLOTS];
};

void call_draw(struct call *call);
/* In the working directory, with the effective user and group. */
void call_make(const struct call *call, struct side *side, struct answer *answer);
/* The kernel may answer it by itself: whether one may, and that a file has no default ACL any more. */
bool call_may_bypass_fuse(const struct call *call);
void call_print(const struct call *call);

#endif
