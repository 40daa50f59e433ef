// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * For tests of libencsan: a real encsan-target with a disk in a folder of its
 * own, which can be killed and started again, and a bad line to it. A process
 * that is started here ends with the thread that started it.
 *
 * From the environment: ENCSAN_TARGET, and ENCSAN_PROXY for bad lines.
 */
#ifndef TESTS_FAR_H
#define TESTS_FAR_H

#include <stddef.h>
#include <stdint.h>

#include <glib.h>

#include "encsan.h"

#define BLOCK ENCSAN_BLOCK_BYTES
#define VOLUME_BYTES (64u << 20)

/* Bob is the target; he knows Alice. */
extern const uint8_t alice_private[32], alice_public[32], bob_private[32], bob_public[32];

struct target {
    char *folder, *disk, *url;
    uint16_t port; /* 0: any; after the start: the one it has */
    GPid pid;
    int out;
};

void target_start(struct target *t); /* zeroed, but for a port; a new disk */
void target_end(struct target *t, int signal);
void target_run(struct target *t);  /* again: the same disk, the same port */
void target_stop(struct target *t); /* and its folder is gone */

struct line {
    char *url; /* of the target's LUN, over this line */
    GPid pid;
    int in, out;
};
void line_start(struct line *l, const struct target *t);
void line_tell(struct line *l, const char *command); /* proxy.c has them */
void line_stop(struct line *l);

/* Alice's, with no other option. */
struct encsan_options options_for(const struct target *t);
struct encsan *open_volume(const struct encsan_options *o);

void fill(uint8_t *buf, size_t bytes, uint32_t seed);
void assert_on_disk(const struct target *t, const uint8_t *expected, size_t bytes, size_t offset);

#endif
