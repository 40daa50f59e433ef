// SPDX-License-Identifier: LGPL-2.1-or-later
#include "model.h"

#include <math.h>

double model_cycle_s(const struct model *m)
{
    double b = m->segment_bytes;

    return m->round_trips * m->rtt_s + b / m->link + b / m->seal + b / m->open;
}

/* What no depth can exceed. */
static double ceiling(const struct model *m)
{
    return fmin(m->link, fmin(m->workers * m->seal, m->target_workers * m->open));
}

double model_throughput(const struct model *m, unsigned n)
{
    return fmin(n * m->segment_bytes / model_cycle_s(m), ceiling(m));
}

unsigned model_best_depth(const struct model *m)
{
    return (unsigned)ceil(ceiling(m) * model_cycle_s(m) / m->segment_bytes - 1e-9);
}
