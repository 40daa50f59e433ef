// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Measures the link with plain sockets at its two ends, before it is believed.
 */
#ifndef LINK_CHECK_H
#define LINK_CHECK_H

/* Median round trip of a small UDP datagram in ms, -1 on error. */
double check_rtt_ms(const int ends[2], unsigned times);

/* Payload rate of one TCP stream from near to far over `seconds`, after as long
 * a start, in Mbit/s; -1 on error. */
double check_rate_mbit(const int ends[2], double seconds);

#endif
