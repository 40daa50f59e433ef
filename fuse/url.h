// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * iscsi://[USER%PASSWORD@]HOST[:PORT][,HOST[:PORT]...]/IQN/LUN, libiscsi's own
 * form but for the further portals of the same target: checked before anything
 * is done, and brought to one spelling for names.
 */
#ifndef ENCSAN_URL_H
#define ENCSAN_URL_H

#include <stdbool.h>
#include <stddef.h>

struct url {
    char *target; /* HOST:PORT/IQN with the first portal, as known_targets has it */
    char *name; /* iscsi://HOST:PORT/IQN/LUN without a password: for locks, logs, list of mounts */
};

/* Anything else is the path of a disk image. */
bool url_is(const char *source);

/* 0, or -EINVAL with a line in `message`. */
int url_parse(const char *text, struct url *url, char *message, size_t size);
void url_clear(struct url *url);

#endif
