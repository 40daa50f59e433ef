// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The login phase: RFC 7143, 6.3 and 11.12. Nobody has to authenticate here: a
 * sealed LUN knows its initiators by their keys, and a plain one with users is
 * not there for who has not shown by CHAP to be one of them.
 */
#ifndef TARGET_LOGIN_H
#define TARGET_LOGIN_H

#include <stdbool.h>

struct conn;

/* True: the session is in its full feature phase. False: the connection ends. */
bool login_run(struct conn *conn);

#endif
