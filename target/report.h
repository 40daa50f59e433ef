// SPDX-License-Identifier: LGPL-2.1-or-later
/* How the target is doing: for people (--status), and for Prometheus. */
#ifndef TARGET_REPORT_H
#define TARGET_REPORT_H

#include <glib.h>

#include "portal.h"
#include "target.h"

/* Any thread, while the portal is open. */
void report_status(struct target *target, struct portal *portal, GString *out);
/* Its text format, version 0.0.4. */
void report_metrics(struct target *target, struct portal *portal, GString *out);

#endif
