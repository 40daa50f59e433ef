// SPDX-License-Identifier: LGPL-2.1-or-later
/* What all connections share: who we are, who may come, the LUNs. Constant once we listen. */
#ifndef TARGET_TARGET_H
#define TARGET_TARGET_H

#include <stdbool.h>
#include <stdint.h>

#include "backend.h"
#include "config.h"
#include "lease.h"
#include "memory.h"
#include "sense.h"
#include "unit.h"
#include "workers.h"

#define PLAIN_BLOCK_BYTES 512

struct lun {
    unsigned number; /* from 1; LUN 0 is none of these */
    unsigned index;  /* in the target's luns */
    const struct lun_settings *settings;
    bool sealed;
    uint32_t block_bytes;
    uint64_t blocks;
    uint8_t id[8]; /* NAA identifier, the same at each start */
    struct backend *backend;
    struct lease *lease; /* of a sealed LUN */
    struct unit *unit;   /* of a plain one */
};

struct target {
    uint8_t key[KEY_BYTES], public_key[KEY_BYTES];
    const struct config *config;
    bool keeps_no_state; /* but where there is one already */
    struct lun *luns;    /* in the order of their numbers, which may have gaps */
    unsigned lun_count;
    struct workers *workers;
    struct memory *memory; /* for the data of all sessions */
};

/* Both return 0, or -1 with one line for the user in `message`. target_close
 * makes everything durable; no connection may be left. */
int target_open_luns(struct target *target, char *message, size_t size);
int target_close(struct target *target, char *message, size_t size);

struct lun *target_lun(const struct target *target, unsigned number); /* NULL: none */
/* May this user of CHAP (NULL: none) have this LUN at all? */
bool target_shows(const struct lun *lun, const struct user *user);
/* May who has this key use this sealed LUN? */
bool target_allows(const struct target *target, const struct lun *lun,
                   const uint8_t key[KEY_BYTES]);

/* The sense of a backend's -errno; of 0 SENSE_NONE. */
struct sense target_write_sense(int error);

#endif
