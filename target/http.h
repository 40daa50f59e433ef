// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The reports over HTTP: /metrics and /status, on a Unix socket in the state
 * folder (mode 0600), which --status asks, and where the configuration says so
 * on a port. libmicrohttpd does it, with a thread for each of the two.
 */
#ifndef TARGET_HTTP_H
#define TARGET_HTTP_H

#include <stddef.h>

#include "portal.h"
#include "target.h"

struct http;

/* NULL, with one line for the user in `message`. What is wrong with the socket is
 * only said in the log. */
struct http *http_start(struct target *target, struct portal *portal, char *message, size_t size);
void http_stop(struct http *http); /* before the portal is closed; NULL is none */

/* Prints what the target with this state folder says of its status. 0, or -1 with a message. */
int http_print_status(const char *state_folder, char *message, size_t size);

#endif
