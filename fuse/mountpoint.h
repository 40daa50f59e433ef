// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Mount points: their names, who mounted there, how to unmount, and the control
 * socket that belongs to each. encsanfs and encsan both use it.
 */
#ifndef ENCSAN_MOUNTPOINT_H
#define ENCSAN_MOUNTPOINT_H

#include <stdbool.h>
#include <sys/types.h>

#define MOUNTPOINT_TYPE "fuse.encsanfs" /* as /proc/self/mountinfo has it */

/* The absolute path without symbolic links. The last component is looked at
 * only where it must be, since asking a dead mount is an error. NULL and errno. g_free. */
char *mountpoint_canonical(const char *path);

/* Whether the topmost mount on this canonical path is of encsanfs, and who
 * mounted it (`user` may be NULL). */
bool mountpoint_find(const char *mountpoint, uid_t *user);

/* Tells umount(8) and systemd of a mount that root is about to make: that
 * umount.fuse.encsanfs unmounts it, and that it needs the network. Not done for
 * a user, or where there is no /run/mount: then umount(8) does not wait for the
 * far disk, which is no reason not to mount. */
void mountpoint_register(const char *mountpoint, const char *name, bool network);

/* Unmounts. 0, or -errno; -EPROTO: umount(8) or fusermount3 has said why not. */
int mountpoint_unmount(const char *mountpoint, bool lazy, bool force);

/* The control socket of the mount that `user` has there. g_free. */
char *mountpoint_socket(const char *mountpoint, uid_t user);

/* A new folder of our own, 0700, under the runtime folder, for a moment.
 * 0 and the path (g_free), or -errno. */
int mountpoint_temporary(char **path);

#endif
