// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The configuration folder: the user's key, the targets that are known, and the
 * mounts that have a name. Nothing is ever learned silently.
 *
 *     key             a private key (encsan keygen)
 *     known_targets   lines HOST:PORT/IQN KEY; # begins a comment
 *     mounts.conf     [MOUNTPOINT]  url=  key=  target_key=  options=
 */
#ifndef ENCSAN_CONFIG_H
#define ENCSAN_CONFIG_H

#include <stddef.h>
#include <stdint.h>

/* All: 0, or -errno with a line in `message` that says what to add where. */

/* `path` NULL: the user's own key file */
int config_key(const char *path, uint8_t key[], char *message, size_t size);

int config_target_key(const char *target, uint8_t key[], char *message, size_t size);

/* What mounts.conf says about a mount point, as a command line would: its
 * source and its options, g_free both; *source NULL: it says nothing. */
int config_mount(const char *mountpoint, char **source, char **options, char *message, size_t size);

#endif
