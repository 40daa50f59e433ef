// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The two ends: network namespaces without a name, which live as long as this
 * process and what runs in them, so that nothing can be left behind. In each,
 * the device "link0": near 10.87.0.1, far 10.87.0.2.
 */
#ifndef LINK_ENDS_H
#define LINK_ENDS_H

#include <stddef.h>

#define NEAR_ADDRESS "10.87.0.1"
#define FAR_ADDRESS "10.87.0.2"

struct link {
    double delay_ms; /* one way */
    double rate_mbit; /* of IP packets; 0: no limit */
    double loss_percent;
    size_t queue_bytes;
};

/* All return 0, or -1 after one line on standard error. */

/* Makes both namespaces; fds[0] is near's, fds[1] far's. */
int ends_make(int fds[2]);

/* Joins them by a veth pair. */
int ends_join_veth(const int fds[2]);

/* Gives the veth pair the link's delay, rate and loss; 1: this kernel has no netem,
 * and the pair is gone. */
int ends_netem(const int fds[2], const struct link *link);

/* Makes a TUN device in each; tuns[] are their file descriptors. */
int ends_join_tun(const int fds[2], int tuns[2]);

/* Addresses; the device comes up. */
int ends_configure(const int fds[2]);

/* The thread that calls it is in namespace `fd` from then on. */
int ends_enter(int fd);

#endif
