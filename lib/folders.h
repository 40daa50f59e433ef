// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Where EncSAN keeps things: for root the system's folders, for a user those
 * of the XDG base directory specification. Strings are the caller's (g_free).
 */
#ifndef ENCSAN_FOLDERS_H
#define ENCSAN_FOLDERS_H

#include <sys/types.h>

char *folder_config(void);  /* /etc/encsan, ~/.config/encsan: key, known_targets, mounts.conf */
char *folder_state(void);   /* /var/lib/encsan, ~/.local/state/encsan */
char *folder_data(void);    /* /var/lib/encsan, ~/.local/share/encsan: default.img */
char *folder_runtime(uid_t uid); /* /run/encsan, /run/user/UID/encsan: control sockets */

/* Makes `path` and its parents, mode 0700, the last one. 0 or -errno. */
int folder_make(const char *path);

#endif
