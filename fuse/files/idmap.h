// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * idmap=user, as sshfs has it: who mounts is, on the disk, the owner of the root
 * directory, and the other way round. Two ids change places, so that no two become one
 * and the same function maps in both directions. All else stays as it is.
 */
#ifndef ENCSAN_IDMAP_H
#define ENCSAN_IDMAP_H

#include <stdint.h>

struct idmap { /* all zero: ids are the disk's */
    uint32_t user[2], group[2]; /* on the disk, here */
};

static inline uint32_t idmap_swap(const uint32_t pair[2], uint32_t id)
{
    return id == pair[0] ? pair[1] : id == pair[1] ? pair[0] : id;
}

#endif
