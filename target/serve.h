// SPDX-License-Identifier: LGPL-2.1-or-later
/* The full feature phase of a session: RFC 7143, 4.3. */
#ifndef TARGET_SERVE_H
#define TARGET_SERVE_H

struct conn;

/* Reads PDUs until the session or the connection ends. The reader's. */
void serve_run(struct conn *conn);

#endif
