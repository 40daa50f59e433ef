// SPDX-License-Identifier: LGPL-2.1-or-later
/* Addresses as users write them, HOST:PORT and [V6]:PORT, and sockets there. */
#ifndef TARGET_ADDRESS_H
#define TARGET_ADDRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>

/* A TCP socket bound there, nonblocking, on which nobody listens yet. only_ipv6: one of IPv6
 * leaves the same port of IPv4 to another. -1 with one line for the user in `message`. */
int address_bind(const char *address, bool only_ipv6, char *message, size_t size);
/* For a URL: of a wildcard the host's name. */
void address_print(const struct sockaddr_storage *address, socklen_t len, char *out, size_t size);

#endif
