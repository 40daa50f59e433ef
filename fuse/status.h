// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * What a mount tells of itself while it runs, for `encsan status`.
 */
#ifndef ENCSAN_STATUS_H
#define ENCSAN_STATUS_H

#include "encsan.h"

struct fs;

/* Lines "NAME VALUE"; units are in the names. To be freed with g_free. fs: NULL, if the disk is
 * shown as a file. */
char *status_describe(struct encsan *volume, const struct fs *fs);

#endif
