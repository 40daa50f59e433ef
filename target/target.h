// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * What the parts of encsan-target know of each other.
 *
 * Threads: one accepts; each connection has a reader, which parses PDUs and
 * does what is quick, and a writer, which sends what did not fit the socket at
 * once. Workers seal, open and do the disk's I/O. Each LUN has a syncer.
 */
#ifndef TARGET_H
#define TARGET_H

#include <stdbool.h>
#include <stdint.h>
#include <glib.h>

#include "backend.h"
#include "key.h"
#include "wire.h"
#include "workers.h"

#define TARGET_PLAIN_BLOCK_BYTES 512
#define LUNS_MAX 255

struct lease; /* lease.h */

struct lun {
    unsigned number; /* from 1 */
    bool sealed;
    uint32_t block_bytes;
    uint64_t blocks;
    uint8_t serial[8];
    struct backend *backend;
    struct lease *lease; /* sealed only */
};

struct target { /* constant while it runs */
    const char *name; /* IQN */
    uint8_t key[KEY_BYTES];
    uint8_t (*allowed)[KEY_BYTES]; /* initiators */
    unsigned allowed_count;
    unsigned suites; /* WIRE_SUITE_BIT */
    struct lun *luns[LUNS_MAX];
    unsigned lun_count;
    struct workers *workers;
};

/* NULL: there is none (0 is not in the list either). */
struct lun *target_lun(const struct target *target, uint64_t number);

/* One line to standard error. */
void target_log(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
