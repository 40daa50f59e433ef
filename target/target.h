// SPDX-License-Identifier: LGPL-2.1-or-later
/* What all connections share: who we are, who may come, the LUNs. Constant once we listen. */
#ifndef TARGET_TARGET_H
#define TARGET_TARGET_H

#include <stdbool.h>
#include <stdint.h>

#include "backend.h"
#include "key.h"
#include "lease.h"
#include "memory.h"
#include "sense.h"
#include "unit.h"
#include "workers.h"

#define PLAIN_BLOCK_BYTES 512
#define LUNS_MAX 255 /* one byte in SAM's peripheral device addressing */

struct lun {
    unsigned number; /* from 1; LUN 0 is none of these */
    bool sealed;
    uint32_t block_bytes;
    uint64_t blocks;
    uint8_t id[8]; /* NAA identifier, the same at each start */
    struct backend *backend;
    struct lease *lease; /* of a sealed LUN */
    struct unit *unit;   /* of a plain one */
};

struct target {
    char name[NAME_BYTES];
    uint8_t key[KEY_BYTES], public_key[KEY_BYTES];
    const uint8_t (*allowed)[KEY_BYTES]; /* initiators */
    unsigned allowed_count;
    unsigned suites;          /* WIRE_SUITE_BIT of each */
    const char *state_folder; /* NULL: beside each disk */
    bool keeps_no_state;      /* but where there is one already */
    uint64_t lease_timeout_us;
    struct lun *luns;
    unsigned lun_count;
    struct workers *workers;
    struct memory *memory; /* for the data of all sessions */
};

struct lun_settings {
    const char *path;
    uint64_t bytes; /* 0: as it is */
    bool plain;
};

/* Both return 0, or -1 with one line for the user in `message`. target_close
 * makes everything durable; no connection may be left. */
int target_open_luns(struct target *target, const struct lun_settings *settings, unsigned count,
                     char *message, size_t size);
int target_close(struct target *target, char *message, size_t size);

struct lun *target_lun(const struct target *target, unsigned number); /* NULL: none */
bool target_allows(const struct target *target, const uint8_t key[KEY_BYTES]);

/* The sense of a backend's -errno; of 0 SENSE_NONE. */
struct sense target_write_sense(int error);

#endif
