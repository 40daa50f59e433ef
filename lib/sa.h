// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * A security association: the keys of one (iSCSI session, LUN), its sequence
 * numbers, and the window against replay. Made from a finished handshake.
 * All functions but sa_free may be called by several threads at once.
 *
 * One counter a direction is the nonce. A number is taken for every
 * transmission, never twice.
 */
#ifndef ENCSAN_SA_H
#define ENCSAN_SA_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "noise.h"
#include "wire.h"

struct sa;

/* `noise` must have finished. NULL when OpenSSL fails. */
struct sa *sa_new(struct noise *noise, bool initiator, enum wire_suite suite, uint8_t index);
struct sa *sa_hold(struct sa *sa); /* once more; returns it */
void sa_free(struct sa *sa);       /* once less; the last time frees */
bool sa_is_held_once(const struct sa *sa);
uint8_t sa_index(const struct sa *sa);

/* ---- initiator ---- */

/* It is time for new keys: a soft limit is reached. */
bool sa_is_worn(struct sa *sa);

/* Makes the CDB of the next transmission: takes a sequence number, masks
 * `field` (48 bits), computes the tag. -ERANGE at the hard limit. */
int sa_cdb_make(struct sa *sa, uint8_t opcode, uint64_t field, uint8_t cdb[WIRE_CDB_BYTES]);

/* Seals SEALED WRITE's data under the number in `cdb`: the bytes of `in` into
 * `out`, which takes their sum + WIRE_TAG_BYTES. 0, -ERANGE at the hard limit,
 * -EIO. */
int sa_seal_write(struct sa *sa, const uint8_t cdb[WIRE_CDB_BYTES], const struct iovec *in,
                  int in_count, uint8_t *out);

/* Opens an answer (counter ‖ sealed ‖ tag, len bytes in all) to `cdb` into the
 * pieces of `out`, whose sum is len - WIRE_COUNTER_BYTES - WIRE_TAG_BYTES.
 * 0, or -EBADMSG: nothing of `out` may be used. */
int sa_open_answer(struct sa *sa, const uint8_t cdb[WIRE_CDB_BYTES], const uint8_t *in, size_t len,
                   const struct iovec *out, int out_count);

/* ---- target ---- */

/* Checks the CDB's tag, then that its number is not behind or in the replay
 * window; unmasks the field. 0; -EBADMSG: bad tag; -EALREADY: replayed or too
 * old; -ERANGE: hard limit. Changes nothing. */
int sa_cdb_check(struct sa *sa, const uint8_t cdb[WIRE_CDB_BYTES], uint64_t *field);

/* Checks and sets the number of `cdb` in the window, in one step. Called after
 * the data opened (WRITE), or after sa_cdb_check (READ, SYNC). 0 or -EALREADY. */
int sa_replay_set(struct sa *sa, const uint8_t cdb[WIRE_CDB_BYTES]);

/* Opens SEALED WRITE's data (sealed ‖ tag, len bytes) into `out` (len -
 * WIRE_TAG_BYTES bytes). 0 or -EBADMSG. */
int sa_open_write(struct sa *sa, const uint8_t cdb[WIRE_CDB_BYTES], const uint8_t *in, size_t len,
                  uint8_t *out);

/* Seals an answer to `cdb` into `out`, which takes WIRE_COUNTER_BYTES + the sum
 * of `in` + WIRE_TAG_BYTES. 0, -ERANGE at the hard limit, -EIO. */
int sa_seal_answer(struct sa *sa, const uint8_t cdb[WIRE_CDB_BYTES], const struct iovec *in,
                   int in_count, uint8_t *out);

#endif
