// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The throughput model: how fast n segments, sealed ahead or in flight, can
 * go. After Kamisaka, Yamaguchi, Oguchi, "Implementation and Evaluation of
 * Secure and Optimized IP-SAN Mechanism", equations 1, 3, 4 and 6.
 */
#ifndef ENCSAN_MODEL_H
#define ENCSAN_MODEL_H

/* Rates in bytes a second, all above 0. */
struct model {
    double segment_bytes;
    double rtt_s;
    double round_trips; /* of a write: 1 with unsolicited data, 2 with R2T */
    double link;        /* payload of the line */
    double seal, open;  /* of one worker */
    unsigned workers, target_workers;
};

/* The time of one segment alone: sealed, sent, opened and answered (eq. 1, 3). */
double model_cycle_s(const struct model *m);

/* Bytes a second with n segments sealed ahead or in flight (eq. 4, for any n). */
double model_throughput(const struct model *m, unsigned n);

/* n*, the smallest n at which the throughput stops growing (eq. 6). */
unsigned model_best_depth(const struct model *m);

#endif
