// SPDX-License-Identifier: LGPL-2.1-or-later
/* Cuts TCP connections of this process, as a middlebox would that forgets them. */
#ifndef TESTS_CUT_H
#define TESTS_CUT_H

#include <stdint.h>

/* One of those to `port` of this machine, the pick-th (modulo how many there
 * are). Returns how many there are. */
unsigned cut_connection(uint16_t port, unsigned pick);

#endif
