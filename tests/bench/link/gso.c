// SPDX-License-Identifier: LGPL-2.1-or-later
#include "gso.h"

#include <stdbool.h>
#include <string.h>

#include <arpa/inet.h>
#include <netinet/ip.h>
#include <netinet/tcp.h>

/* Bytes of the IP header of a TCP packet, 0 for anything else. */
static size_t tcp_offset(const uint8_t *ip, size_t len)
{
    bool tcp = len >= sizeof(struct iphdr) && ip[0] >> 4 == 4 && ip[9] == IPPROTO_TCP;

    return tcp ? (size_t)(ip[0] & 15) * 4 : 0;
}

void gso_parse(const uint8_t *frame, size_t len, struct gso *gso)
{
    struct virtio_net_hdr vnet;
    const uint8_t *ip = frame + sizeof vnet;
    size_t ip_len = len - sizeof vnet;

    memcpy(&vnet, frame, sizeof vnet);
    *gso = (struct gso){.segments = 1, .wire_bytes = ip_len};
    gso->ip_bytes = tcp_offset(ip, ip_len);
    if (vnet.gso_type == VIRTIO_NET_HDR_GSO_NONE || vnet.gso_size == 0 || gso->ip_bytes == 0 ||
        ip_len < gso->ip_bytes + sizeof(struct tcphdr))
        return;
    gso->header_bytes = gso->ip_bytes + (size_t)(ip[gso->ip_bytes + 12] >> 4) * 4;
    if (ip_len <= gso->header_bytes)
        return;
    gso->segment_bytes = vnet.gso_size;
    gso->payload_bytes = ip_len - gso->header_bytes;
    gso->segments = (unsigned)((gso->payload_bytes + vnet.gso_size - 1) / vnet.gso_size);
    gso->wire_bytes = ip_len + (gso->segments - 1) * gso->header_bytes;
}

/* One's complement sum (RFC 1071) of an even number of bytes. */
static uint32_t sum16(const uint8_t *bytes, size_t len, uint32_t sum)
{
    for (size_t i = 0; i + 1 < len; i += 2)
        sum += (uint32_t)bytes[i] << 8 | bytes[i + 1];
    return sum;
}

static uint16_t fold(uint32_t sum)
{
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    return htons((uint16_t)sum);
}

/* The headers are not aligned in a frame: they are worked on in copies. */
struct headers {
    struct iphdr ip;
    struct tcphdr tcp;
};

/* The IP header's length and all that depends on it. The TCP checksum stays
 * partial (VIRTIO_NET_HDR_F_NEEDS_CSUM): the sum of the pseudo header. */
static void fix_lengths(struct headers *h, const uint8_t *ip, const struct gso *gso, size_t ip_len)
{
    uint32_t options = sum16(ip + sizeof h->ip, gso->ip_bytes - sizeof h->ip, 0);

    h->ip.tot_len = htons((uint16_t)ip_len);
    h->ip.check = 0;
    h->ip.check = (uint16_t)~fold(sum16((const uint8_t *)&h->ip, sizeof h->ip, options));
    h->tcp.check = fold(sum16((const uint8_t *)&h->ip.saddr, 8,
                              IPPROTO_TCP + (uint32_t)(ip_len - gso->ip_bytes)));
}

size_t gso_slice(const uint8_t *frame, const struct gso *gso, unsigned first, unsigned count,
                 uint8_t *out)
{
    struct virtio_net_hdr vnet;
    struct headers h;
    uint8_t *ip = out + sizeof vnet;
    size_t offset = (size_t)first * gso->segment_bytes;
    size_t bytes = (size_t)count * gso->segment_bytes;
    bool last = first + count == gso->segments;

    if (last)
        bytes = gso->payload_bytes - offset;
    memcpy(&vnet, frame, sizeof vnet);
    memcpy(ip, frame + sizeof vnet, gso->header_bytes);
    memcpy(ip + gso->header_bytes, frame + sizeof vnet + gso->header_bytes + offset, bytes);
    memcpy(&h.ip, ip, sizeof h.ip);
    memcpy(&h.tcp, ip + gso->ip_bytes, sizeof h.tcp);
    h.ip.id = htons((uint16_t)(ntohs(h.ip.id) + first));
    h.tcp.seq = htonl(ntohl(h.tcp.seq) + (uint32_t)offset);
    if (!last)
        h.tcp.fin = h.tcp.psh = 0;
    fix_lengths(&h, ip, gso, gso->header_bytes + bytes);
    memcpy(ip, &h.ip, sizeof h.ip);
    memcpy(ip + gso->ip_bytes, &h.tcp, sizeof h.tcp);
    if (first > 0)
        ip[gso->ip_bytes + 13] &= 0x7f; /* CWR goes with the first segment alone (RFC 3168, 6.1.2) */
    if (count == 1) {
        vnet.gso_type = VIRTIO_NET_HDR_GSO_NONE;
        vnet.gso_size = 0;
    }
    memcpy(out, &vnet, sizeof vnet);
    return sizeof vnet + gso->header_bytes + bytes;
}
