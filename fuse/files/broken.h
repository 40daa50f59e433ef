// SPDX-License-Identifier: LGPL-2.1-or-later
/* For tests/crash, which shows that it finds what it is there to find: a build
 * with ENCSAN_TEST_BREAK leaves out what that environment variable names, one of
 * revoke, pin, barrier and ordered. In every other build nothing is broken. */
#ifndef ENCSAN_BROKEN_H
#define ENCSAN_BROKEN_H

#include <stdbool.h>

#ifdef ENCSAN_TEST_BREAK
#include <stdlib.h>
#include <string.h>

static inline bool broken(const char *what)
{
    const char *named = getenv("ENCSAN_TEST_BREAK");

    return named && strcmp(named, what) == 0;
}
#else
static inline bool broken(const char *what)
{
    (void)what;
    return false;
}
#endif

#endif
