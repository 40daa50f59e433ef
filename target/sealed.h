// SPDX-License-Identifier: LGPL-2.1-or-later
/* The sealed commands and the handshake's SCSI commands (PROTOCOL, sections 1 and 2). */
#ifndef TARGET_SEALED_H
#define TARGET_SEALED_H

#include <stdbool.h>

struct task;

/* Before its data is read: tag, replay window, length. Sets the task's SA and
 * field, or its refusal. The reader's. */
void sealed_admit(struct task *task);
/* It has to run in the reader: it may make a pending SA the current one, and
 * what comes behind it has to see that. */
bool sealed_runs_in_reader(const struct task *task);
/* Lets go of the SA. */
void sealed_end(struct task *task);

void sealed_write(struct task *task);
void sealed_read(struct task *task);
void sealed_sync(struct task *task);
void sealed_security_protocol_in(struct task *task);
void sealed_security_protocol_out(struct task *task);

#endif
