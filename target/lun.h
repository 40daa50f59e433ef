// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * A LUN, from the configuration that brings it to the one that takes it away.
 *
 * It is
 *   served   found by its number; commands begin and end;
 *   retired  not found any more: commands that have begun come to their end;
 *   closed   nothing of it is open. Its memory stays until the last session that
 *            has used it ends.
 */
#ifndef TARGET_LUN_H
#define TARGET_LUN_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "backend.h"
#include "config.h"
#include "lease.h"
#include "unit.h"

struct target;

struct lun {
    unsigned number;   /* from 1; LUN 0 is none of these */
    unsigned index;    /* no other LUN of this process has, or had, the same */
    char *target_name; /* the iSCSI name that it is under */
    char *label;       /* for the log: its number, with its target's label where that has one */
    char *path;
    bool sealed;
    _Atomic uint32_t block_bytes;
    _Atomic uint64_t blocks; /* never less than before; 0: its disk was not there yet */
    uint8_t id[8];           /* NAA identifier, the same at each start */
    struct backend *backend; /* NULL: closed */
    struct workers *workers;     /* for its commands: the target's, or: */
    struct workers *own_workers; /* NULL: none */
    struct lease *lease;     /* of a sealed LUN */
    struct unit *unit;       /* of a plain one */
    atomic_uint references;

    /* the target's lock guards these */
    const struct lun_settings *settings; /* in the target's configuration; NULL: retired */
    unsigned tasks;                      /* that have begun */
};

/* As its settings in this configuration say. NULL, with one line for the user in `message`, which
 * begins with their place. */
struct lun *lun_open(const struct target *target, const struct config *config,
                     const struct lun_settings *settings, char *message, size_t size);
/* To the size that these settings want, or to the one that its disk has now. *grown: it has
 * become larger; lun_show_size is to follow. 0, or -1 with a message. */
int lun_grow(struct lun *lun, const struct lun_settings *settings, bool *grown, char *message,
             size_t size);
void lun_show_size(struct lun *lun);
/* Its disk may have come for the first time since; from then on it is as any other. Not closed. */
void lun_look_for_disk(struct lun *lun);
/* Waits until it is known whether its disk is there, or until then (now_us): LUN_AWAIT_US at
 * most for all that are opened together. */
void lun_await_disk(struct lun *lun, uint64_t until_us);
#define LUN_AWAIT_US 6000000
/* Of a LUN that has begun to be used (target_begin_task). False: its disk is never away. */
bool lun_report_disk(struct lun *lun, struct backend_report *report);
/* No command waits any more for a disk that is away. */
void lun_give_up(struct lun *lun);
/* No task of it is left. 0, or -1 with a message: what was not durable may be lost. */
int lun_close(struct lun *lun, char *message, size_t size);

struct lun *lun_ref(struct lun *lun);
void lun_unref(struct lun *lun); /* NULL is none */

#endif
