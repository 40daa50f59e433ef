// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Where a target can be reached: the portals of a URL,
 *     iscsi://HOST[:PORT][,HOST[:PORT]…]/IQN/LUN
 * and the addresses that their names have. All functions may be called by any
 * thread.
 */
#ifndef ENCSAN_PORTALS_H
#define ENCSAN_PORTALS_H

#include <stddef.h>

#define PORTAL_BYTES 80 /* a numeric address with brackets, scope and port */

struct portals;

/* NULL: out of memory, or no such URL; a line in `message`. Asks no name server. */
struct portals *portals_new(const char *url, char *message, size_t size);
void portals_free(struct portals *portals);

const char *portals_target(const struct portals *portals); /* the IQN */
int portals_lun(const struct portals *portals);

/* Asks for the addresses of the names, and waits for the answer. Where there is
 * none, those known before stay. 0, or -1 with a line: none is known at all. */
int portals_resolve(struct portals *portals, char *message, size_t size);
/* How many addresses are known. */
unsigned portals_count(struct portals *portals);
/* The address of this number, modulo their count, as libiscsi takes it. */
void portals_address(struct portals *portals, unsigned number, char out[PORTAL_BYTES]);

#endif
