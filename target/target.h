// SPDX-License-Identifier: LGPL-2.1-or-later
/* What all connections share: who we are, who may come, the LUNs. A reload changes it (reload.h).
 */
#ifndef TARGET_TARGET_H
#define TARGET_TARGET_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#include "accounts.h"
#include "config.h"
#include "lun.h"
#include "memory.h"
#include "sense.h"
#include "workers.h"

struct target {
    uint8_t key[KEY_BYTES], public_key[KEY_BYTES];
    bool keeps_no_state; /* but where there is one already */
    time_t since;        /* the start */
    struct workers *workers;
    struct memory *memory; /* for the data of all sessions */
    struct accounts *accounts;
    atomic_uint_least64_t security_events, refused_logins; /* since the start */

    pthread_mutex_t lock; /* guards everything that follows, and of each LUN what lun.h says */
    pthread_cond_t idle;  /* a LUN that is retired has no task any more */
    struct config *config;
    struct lun **luns; /* in the order of their targets and numbers, which may have gaps */
    unsigned lun_count;
};

/* Both return 0, or -1 with one line for the user in `message`. target_close
 * makes everything durable; no connection may be left. */
int target_open_luns(struct target *target, char *message, size_t size);
int target_close(struct target *target, char *message, size_t size);

/* The configuration as it is now, with a reference. */
struct config *target_config(struct target *target);

/* The LUN with this number under the target's iSCSI name `name`, if this user of CHAP (NULL:
 * none) may have it at all. It stays where it is for as long as there is a reference, which
 * belongs to the caller, and a connection that has a nexus with it has one. NULL: none. */
struct lun *target_find_lun(struct target *target, const char *name, unsigned number,
                            const struct user *user);
/* The numbers of all that target_find_lun would find. Returns how many. */
unsigned target_list_luns(struct target *target, const char *name, const struct user *user,
                          uint8_t numbers[LUNS_MAX]);

/* All LUNs, with a reference each, in an array that frees them. */
GPtrArray *target_all_luns(struct target *target);

/* A task begins to use the LUN. False: it is not there any more. */
bool target_begin_task(struct target *target, struct lun *lun);
void target_end_task(struct target *target, struct lun *lun);

/* May this user have this LUN, as these settings say? */
bool target_shows(const struct lun_settings *settings, const struct user *user);
/* May who has this key use this sealed LUN? */
bool target_allows(struct target *target, const struct lun *lun, const uint8_t key[KEY_BYTES]);

/* "KEY (NAME)" where the configuration knows whose key it is, else KEY. The caller's. */
char *target_who(struct target *target, const uint8_t key[KEY_BYTES]);
/* NAME alone, or KEY; for counters. */
char *target_initiator(struct target *target, const uint8_t key[KEY_BYTES]);

/* No command waits any more for a disk that is away. */
void target_give_up(struct target *target);

/* Its disk is there, or was and will be again. */
bool target_has_disk(struct target *target, struct lun *lun);
/* How its disk is doing. False: it is never away, or the LUN is gone. */
bool target_report_disk(struct target *target, struct lun *lun, struct backend_report *report);

/* The sense of a backend's -errno; of 0 SENSE_NONE. */
struct sense target_write_sense(int error);
struct sense target_read_sense(int error);

#endif
