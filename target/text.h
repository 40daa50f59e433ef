// SPDX-License-Identifier: LGPL-2.1-or-later
/* Text keys: RFC 7143, 6 and 13. */
#ifndef TARGET_TEXT_H
#define TARGET_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TEXT_BYTES_MAX 8192
#define R2TS_MAX 4 /* our MaxOutstandingR2T */

struct parameters {                    /* of the session, as negotiated */
    uint32_t initiator_data_bytes_max; /* its MaxRecvDataSegmentLength */
    uint32_t max_burst, first_burst;
    uint32_t max_r2ts;
    bool initial_r2t, immediate_data;
    bool header_digest, data_digest; /* CRC32C */
    uint32_t seen;                   /* a bit for each key that came */
};

struct text { /* key=value pairs, each with a NUL behind it */
    size_t bytes;
    char data[TEXT_BYTES_MAX];
};

void text_defaults(struct parameters *parameters);

/* The next pair of `text` from *offset on, taken apart in place. False at the
 * end; *bad is set where something is no pair. */
bool text_next(struct text *text, size_t *offset, const char **key, const char **value, bool *bad);

/* False where there is no room. */
bool text_put(struct text *out, const char *key, const char *value);

/* Answers an operational key into `out`, as its result function says. False:
 * no room, or the key came before (RFC 7143, 6.3: a protocol error). */
bool text_negotiate(struct parameters *parameters, const char *key, const char *value,
                    struct text *out);

/* After login only this one may be declared anew: MaxRecvDataSegmentLength. */
bool text_redeclare(struct parameters *parameters, const char *key, const char *value,
                    struct text *out);

/* FirstBurstLength must not exceed MaxBurstLength, whatever order they came in. */
void text_settle(struct parameters *parameters);

#endif
