// SPDX-License-Identifier: LGPL-2.1-or-later
/* Text requests in the full feature phase, SendTargets above all: RFC 7143, 11.10 and appendix C.
 */
#ifndef TARGET_DISCOVERY_H
#define TARGET_DISCOVERY_H

#include <stdbool.h>
#include <stdint.h>

struct conn;

/* Reads the data segment and answers. The reader's. False: the connection ends. */
bool discovery_text_request(struct conn *conn, const uint8_t *bhs, uint32_t data_bytes);

#endif
