// SPDX-License-Identifier: LGPL-2.1-or-later
/* An image in the hands of e2fsck, and of the kernel's ext4 through a loop device. */
#ifndef CRASH_IMAGE_H
#define CRASH_IMAGE_H

#include <glib.h>

/* e2fsck -fy has nothing to do but to replay the journal and to remove orphans,
 * and e2fsck -fn nothing at all. NULL, or what it said: the caller's. */
char *image_check(const char *image);

/* Read-only. What it needs of a loop device ends with the mount. NULL, or what is wrong. */
char *image_mount(const char *image, const char *where);
char *image_umount(const char *where);

#endif
