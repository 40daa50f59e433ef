// SPDX-License-Identifier: LGPL-2.1-or-later
/* Who the target is once it is bound and has its key: an ordinary user. */
#ifndef TARGET_PRIVILEGES_H
#define TARGET_PRIVILEGES_H

#include <stdbool.h>
#include <stddef.h>

/* For good, and before there are threads. `user`: whom to become, with all of
 * that user's groups; NULL: stays who it is. In either case no program that it might
 * be made to start gets more than it has. False, with one line for the user in `message`. */
bool privileges_drop(const char *user, char *message, size_t size);

#endif
