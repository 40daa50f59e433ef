// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * What this user's mounts of one volume know of each other: a file in the state
 * folder, named for the volume, and a lock beside it that a mount holds for life.
 *
 * It says where the volume is mounted, if that mount is FINISHING (unmounted,
 * and writing back in the background), and its mount id, by which the target
 * knows the next mount as the heir of one that crashed.
 */
#ifndef ENCSAN_STATE_H
#define ENCSAN_STATE_H

#include <stddef.h>
#include <stdint.h>

#include "encsan.h"

struct state;

/* Takes the lock of the volume `name` (its URL, or the path of an image); waits
 * for a mount that is finishing, and says so. NULL with a line in `message`. */
struct state *state_lock(const char *name, const char *mountpoint, char *message, size_t size);

/* The mount id of the last mount that was recorded; zeros: none. */
void state_previous(const struct state *state, uint8_t id[ENCSAN_ID_BYTES]);

/* Both 0, or -errno with a line in `message`. */
int state_mounted(struct state *state, const uint8_t id[ENCSAN_ID_BYTES], char *message,
                  size_t size);
int state_finishing(struct state *state, char *message, size_t size);

void state_unlock(struct state *state);

#endif
