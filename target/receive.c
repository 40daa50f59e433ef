// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Reading from a connection: PDUs, with their digests where they were agreed on.
 * What comes is read ahead, so that many small PDUs are one system call.
 */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#include "clock.h"
#include "conn.h"

static bool wait_readable(struct conn *conn)
{
    for (;;) {
        struct pollfd fd = {.fd = conn->fd, .events = POLLIN};
        uint64_t now = now_us();
        int n;

        if (now >= conn->deadline_us)
            return false;
        n = poll(&fd, 1, (int)((conn->deadline_us - now) / 1000) + 1);
        if (n > 0)
            return true;
        if (n < 0 && errno != EINTR)
            return false;
    }
}

/* As recv(2) of at least a byte. False: the end. */
static bool receive(struct conn *conn, void *buf, uint32_t bytes, int flags, uint32_t *received)
{
    ssize_t n;

    do {
        if (conn->deadline_us && !wait_readable(conn))
            return false;
        n = recv(conn->fd, buf, bytes, conn->deadline_us ? 0 : flags);
    } while (n < 0 && errno == EINTR);
    *received = n > 0 ? (uint32_t)n : 0;
    return n > 0;
}

/* At least a byte is ahead then. */
static bool fill(struct conn *conn)
{
    if (conn->ahead_at < conn->ahead_end)
        return true;
    conn->ahead_at = 0;
    return receive(conn, conn->ahead, sizeof conn->ahead, 0, &conn->ahead_end);
}

/* How many of so many bytes are ahead. */
static uint32_t count_ahead(const struct conn *conn, uint32_t bytes)
{
    uint32_t n = conn->ahead_end - conn->ahead_at;

    return n < bytes ? n : bytes;
}

/* Little is read together with what follows it, much goes straight to its place. */
static bool read_bytes(struct conn *conn, void *buf, uint32_t bytes)
{
    while (bytes) {
        uint32_t n = count_ahead(conn, bytes);

        if (n > 0) {
            memcpy(buf, conn->ahead + conn->ahead_at, n);
            conn->ahead_at += n;
        } else if (bytes < sizeof conn->ahead ? !fill(conn)
                                              : !receive(conn, buf, bytes, MSG_WAITALL, &n)) {
            return false;
        }
        buf = (uint8_t *)buf + n;
        bytes -= n;
    }
    return true;
}

static bool skip_bytes(struct conn *conn, uint32_t bytes, uint32_t *crc)
{
    while (bytes) {
        uint32_t n;

        if (!fill(conn))
            return false;
        n = count_ahead(conn, bytes);
        *crc = pdu_crc(*crc, conn->ahead + conn->ahead_at, n);
        conn->ahead_at += n;
        bytes -= n;
    }
    return true;
}

/* *bad: it is another digest than that of what was read. */
static bool read_digest(struct conn *conn, uint32_t crc, bool *bad)
{
    uint8_t expected[PDU_DIGEST_BYTES], got[PDU_DIGEST_BYTES];

    if (!read_bytes(conn, got, sizeof got))
        return false;
    pdu_put_digest(expected, crc);
    *bad = memcmp(expected, got, sizeof got) != 0;
    return true;
}

bool conn_read_header(struct conn *conn, uint8_t bhs[PDU_BHS_BYTES])
{
    uint32_t ahs, crc = PDU_CRC_BEGIN;
    bool bad = false;

    if (!read_bytes(conn, bhs, PDU_BHS_BYTES))
        return false;
    ahs = bhs[BHS_AHS_LENGTH] * 4u;
    crc = pdu_crc(crc, bhs, PDU_BHS_BYTES);
    if (!skip_bytes(conn, ahs, &crc) || (conn->header_digest && !read_digest(conn, crc, &bad)))
        return false;
    return !bad || conn_protocol_error(conn, "a header whose digest is wrong");
}

bool conn_read_segment(struct conn *conn, void *buf, uint32_t bytes, bool *bad)
{
    uint32_t crc = PDU_CRC_BEGIN;
    bool wrong = false;

    if (bytes == 0)
        return true;
    if (buf ? !read_bytes(conn, buf, bytes) : !skip_bytes(conn, bytes, &crc))
        return false;
    if (buf && conn->data_digest)
        crc = pdu_crc(crc, buf, bytes);
    if (!skip_bytes(conn, pdu_padding(bytes), &crc) ||
        (conn->data_digest && !read_digest(conn, crc, &wrong)))
        return false;
    if (wrong && !bad)
        return conn_protocol_error(conn, "data whose digest is wrong");
    if (wrong)
        *bad = true;
    return true;
}
