// SPDX-License-Identifier: LGPL-2.1-or-later
/* What the commands that move blocks have in common: SBC-3, 4.6 and 5. */
#ifndef TARGET_RANGE_H
#define TARGET_RANGE_H

#include <stdbool.h>
#include <stdint.h>

#include "sense.h"

struct lun;
struct task;

struct range {
    uint64_t lba, blocks;
};

struct range range_of(const struct task *task); /* of READ, WRITE and all that look like them */
bool range_fits(const struct lun *lun, struct range r);
/* May this many blocks cross the network at once? NONE: yes. */
struct sense range_check(const struct task *task, struct range r);
/* The same, and the data out has to be there: sets what the command takes of
 * it. Where less came than the CDB says (that is reported as overflow, RFC
 * 7143, 11.4.5.2), the range becomes what whole blocks there are. */
struct sense range_check_data_out(struct task *task, struct range *r);

/* For commands to which another amount of data than `used` would be another
 * operation: not a byte more or less. */
struct sense range_check_exact(const struct task *task);

/* For all that changes the medium: what is to be answered for the backend's
 * result, after a flush where FUA or the cache's mode asks for it. */
struct sense range_written(struct task *task, int error, bool fua);
bool range_has_fua(const struct task *task); /* of those commands that have the bit */

/* Both take `bytes` at the range's begin. */
int range_read(const struct task *task, struct range r, uint8_t *out, uint32_t bytes);
int range_write(const struct task *task, struct range r, const uint8_t *data, uint32_t bytes);

#endif
