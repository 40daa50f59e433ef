// SPDX-License-Identifier: LGPL-2.1-or-later
/* What stat(2) says of the files that a call may have to do with, before and after it. */
#ifndef SIDE_LOOK_H
#define SIDE_LOOK_H

#include <sys/stat.h>

#include "call.h"

enum { LOOKS = 8 };

struct look {
    int error; /* of stat */
    bool kept; /* it is immutable or append-only, as far as the kernel knows */
    struct stat st;
};

struct looks {
    struct timespec when;
    struct look at[LOOKS];
};

/* The files of its paths, with links followed and not, their directories, its open files. */
void look_all(const struct call *call, const struct side *side, struct looks *looks);

/* One of them is immutable or append-only. */
bool look_is_kept(const struct looks *looks);

/* NULL, or what is not the same on both sides after a call; until the next one. */
const char *look_compare(const struct looks before[SIDES], const struct looks after[SIDES]);

/* The same for one file, without a look before. */
const char *look_differ(const struct stat *a, const struct stat *b);

#endif
