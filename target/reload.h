// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Reading the configuration again: LUNs, targets, initiators and users come and
 * go, the sessions of the others do not notice. All of it holds, or nothing.
 *
 * A thread of its own does it: disks may take their time to open, and a LUN
 * that is retired is closed when its last command has ended.
 */
#ifndef TARGET_RELOAD_H
#define TARGET_RELOAD_H

#include "portal.h"
#include "target.h"

struct reload;

/* NULL: out of memory or threads. `path` is that of the configuration. */
struct reload *reload_start(struct target *target, struct portal *portal, const char *path);
void reload_request(struct reload *reload); /* any thread; what comes of it is in the log */
/* One that is under way comes to its end, none begins. NULL is none. */
void reload_stop(struct reload *reload);
void reload_free(struct reload *reload); /* closes what is still retired: no task is left */

#endif
