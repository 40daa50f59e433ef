// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Reading PDUs: header, additional header segments (skipped), data, padding.
 */
#include "conn.h"

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>

/* -1: end of file, error, or the login takes too long */
static int read_all(struct conn *conn, uint8_t *buf, size_t len)
{
    while (len > 0) {
        ssize_t n;

        if (conn->login_deadline_us) {
            struct pollfd p = {conn->fd, POLLIN, 0};
            int64_t left_ms = ((int64_t)conn->login_deadline_us - g_get_monotonic_time()) / 1000;

            if (left_ms <= 0 || poll(&p, 1, (int)left_ms) <= 0)
                return -1;
        }
        n = recv(conn->fd, buf, len, 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return -1;
        buf += n;
        len -= (size_t)n;
    }
    return 0;
}

int pdu_read_header(struct conn *conn, uint8_t bhs[BHS_BYTES], uint32_t *data_len)
{
    uint8_t ahs[255 * 4];

    if (read_all(conn, bhs, BHS_BYTES) != 0 || read_all(conn, ahs, bhs[4] * 4u) != 0)
        return -1;
    *data_len = wire_get24(bhs + 5);
    if (*data_len > DATA_SEGMENT_MAX) {
        conn_log(conn, "a PDU of %u bytes, more than was agreed: closed", *data_len);
        return -1;
    }
    return 0;
}

int pdu_read_data(struct conn *conn, uint8_t *data, uint32_t len)
{
    uint8_t padding[4];

    return read_all(conn, data, len) != 0 || read_all(conn, padding, -len & 3u) != 0 ? -1 : 0;
}
