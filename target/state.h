// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * What of a sealed LUN outlives its target: who it is, how often it was
 * started, who may write to it. One file for each disk, with a checksum. It is
 * only ever replaced as a whole: after a crash there is the old one or the new one.
 *
 * Without locks: who calls sees to it that one thread at a time saves.
 */
#ifndef TARGET_STATE_H
#define TARGET_STATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "wire.h"

struct lease_holder {
    uint8_t key[WIRE_KEY_BYTES];
    uint8_t mount_id[WIRE_ID_BYTES];
    uint64_t since;   /* Unix time, seconds */
    char address[64]; /* text, NUL padded */
};

struct state {
    uint8_t volume_id[WIRE_ID_BYTES];
    uint32_t starts;            /* of a target with this disk */
    uint64_t generation;        /* of the last lease to write; 0: there was none */
    bool held;                  /* it has not been given back */
    struct lease_holder holder; /* of `generation` */
};

/* Where the state of this disk is: beside it, or in `folder` where that is not
 * NULL; that of a device in a folder of the machine's. The disk need not be
 * there yet. To be freed; NULL with a line for the user in `message`. */
char *state_path(const char *disk, const char *folder, char *message, size_t size);
/* The same for what else is kept of a disk, in a file whose name ends otherwise. */
char *state_path_with(const char *suffix, const char *disk, const char *folder, char *message,
                      size_t size);
/* The folder of that file, where there is none yet. 0 or -errno. */
int state_make_folder(const char *path);

/* 1: there is none, and *state is zeros. 0, or -1 with a line in `message`: it
 * is damaged, or cannot be read. */
int state_load(const char *path, struct state *state, char *message, size_t size);
/* On stable storage when it returns 0; else -errno, and the old one or the new one is there. */
int state_save(const char *path, const struct state *state);
/* The same for its end; none there is as good. */
int state_remove(const char *path);

#endif
