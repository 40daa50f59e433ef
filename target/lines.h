// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Where in a key file a group or a key is, which GKeyFile does not tell; and
 * what GKeyFile would take without a word: a group or a key that is given twice.
 */
#ifndef TARGET_LINES_H
#define TARGET_LINES_H

#include <stddef.h>

#include <glib.h>

struct lines;

/* `text` is that of the file at `path`. NULL, with FILE:LINE: and what is wrong in `message`. */
struct lines *lines_new(const char *path, const char *text, char *message, size_t size);
void lines_free(struct lines *lines);

/* key NULL: of the group's head. 0: it is not there. */
unsigned lines_find(const struct lines *lines, const char *group, const char *key);

#endif
