// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Text keys: key=value pairs, each ended by NUL. RFC 7143, sections 6 and 13.
 */
#ifndef TARGET_TEXT_H
#define TARGET_TEXT_H

#include "conn.h"

#define TEXT_MAX 8192

struct text { /* an answer in the making */
    char data[TEXT_MAX];
    uint32_t len;
};

/* False when there is no room. */
bool text_add(struct text *text, const char *key, const char *value);
/* The value of `key` in len bytes at `data` (which end with NUL), or NULL. */
const char *text_find(const char *data, uint32_t len, const char *key);
/* Answers every key of the initiator's text, and takes what was agreed into
 * `conn`. -1: a value that can't be. */
int text_negotiate(struct conn *conn, const char *data, uint32_t len, struct text *answer);
/* SendTargets=All or our name. */
void text_send_targets(const struct conn *conn, const char *value, struct text *answer);

#endif
