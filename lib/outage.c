// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * No session is there: requests that need one wait. timeout= turns the wait
 * into an error, for those that wait when it is over and for those that come
 * later, at the next tick; nothing else changes. What was written before is
 * kept, and is on the far disk when a flush says so after the connection's return.
 */
#include "pipeline.h"

#include <errno.h>

#include "clock.h"

void outage_begin(struct encsan *v)
{
    v->outage_us = now_us();
    v->outage_told = v->outage_expired = false;
    volume_wake_ticker(v);
}

void outage_tell(struct encsan *v, const char *why)
{
    if (!v->outage_told && !v->error && !v->ending)
        volume_log(v, "the connection to the target is lost (%s): reads and writes wait for it",
                   why);
    v->outage_told = true;
}

void outage_end(struct encsan *v)
{
    volume_log(v, "the target is there again after %.1f s",
               (double)(now_us() - v->outage_us) / 1e6);
    v->outage_us = 0;
}

bool outage_has_limit(const struct encsan *v)
{
    return v->outage_us && v->options.timeout_s && !v->error;
}

void outage_tick(struct encsan *v)
{
    uint64_t limit_us = (uint64_t)v->options.timeout_s * 1000000;

    if (!outage_has_limit(v) || now_us() - v->outage_us < limit_us)
        return;
    if (!v->outage_expired)
        volume_log(
            v,
            "the target has been away for %u s (timeout=): reads and writes fail until it is back",
            v->options.timeout_s);
    v->outage_expired = true;
    volume_fail_waiting(v, -EIO);
}
