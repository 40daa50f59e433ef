// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Recovery: e2fsck -p on a volume that was not unmounted cleanly, through a disk
 * view that only we see.
 */
#ifndef ENCSAN_FSCK_H
#define ENCSAN_FSCK_H

#include "encsan.h"

struct control;

/* 0: the file system is in order, and durably so; or -errno with a line in
 * `message`. `name` is what the user calls the volume. A signal ends e2fsck. */
int fsck_recover(struct encsan *volume, const char *name, struct control *control,
                 char message[ENCSAN_MESSAGE_BYTES]);

#endif
