// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Frames as a TUN device with IFF_VNET_HDR gives them: a virtio_net_hdr and one
 * IPv4 packet, which may be a TSO super-packet of many TCP segments. The link
 * carries such a frame whole, but loses and counts segments, as a wire would.
 */
#ifndef LINK_GSO_H
#define LINK_GSO_H

#include <stddef.h>
#include <stdint.h>

#include <linux/virtio_net.h>

#define FRAME_BYTES_MAX (sizeof(struct virtio_net_hdr) + 65535)

struct gso {
    unsigned segments;     /* 1: an ordinary packet, or one that cannot be cut */
    unsigned segment_bytes; /* payload of each but the last */
    size_t ip_bytes, header_bytes; /* IP header; IP and TCP headers */
    size_t payload_bytes;
    size_t wire_bytes; /* IP bytes of all segments, each with its headers */
};

void gso_parse(const uint8_t *frame, size_t len, struct gso *gso);

/* Writes the frame that has segments first … first+count-1 of `frame` alone to
 * `out` (FRAME_BYTES_MAX) and returns its length. */
size_t gso_slice(const uint8_t *frame, const struct gso *gso, unsigned first, unsigned count,
                 uint8_t *out);

#endif
