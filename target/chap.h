// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * CHAP, one way and mutual: RFC 7143, 12.1.3, with MD5. It says which user an
 * initiator of plain LUNs claims to be. It protects nothing of what follows.
 *
 *   IDLE        it was not chosen; CHAP_ keys are not expected
 *   CHOSEN      CHAP_A is to come
 *   CHALLENGED  CHAP_N and CHAP_R are to come, for mutual CHAP also CHAP_I and CHAP_C
 *   DONE        `user` is who it is
 */
#ifndef TARGET_CHAP_H
#define TARGET_CHAP_H

#include <stdbool.h>
#include <stdint.h>

#include "config.h"
#include "text.h"

#define CHAP_CHALLENGE_BYTES 16
#define CHAP_THEIR_CHALLENGE_BYTES_MAX 1024 /* RFC 7143, 12.1.3 */

enum chap_state { CHAP_IDLE, CHAP_CHOSEN, CHAP_CHALLENGED, CHAP_DONE };

struct chap {
    enum chap_state state;
    const struct user *user;
    uint8_t id, challenge[CHAP_CHALLENGE_BYTES]; /* ours */
    /* What came since the last chap_step, copies; NULL: it did not */
    char *algorithms, *name, *response, *their_id, *their_challenge;
};

/* A CHAP_ key came. False: it is none, is not due, or came before. */
bool chap_take(struct chap *chap, const char *key, const char *value);
/* All keys of a request have come: answers them into `out`; `name` is the target's, "" for
 * discovery. NULL, or why the login fails. */
const char *chap_step(struct chap *chap, const struct config *config, const char *name,
                      struct text *out);
void chap_clear(struct chap *chap);

#endif
