// SPDX-License-Identifier: LGPL-2.1-or-later
#include "cut.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#define FDS_MAX 256

/* libiscsi 1.19 loses 24 bytes when a connection breaks between login and the
 * TEST UNIT READY that follows it. AddressSanitizer asks for this by name. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
    return "leak:libiscsi";
}

static int is_to(int fd, uint16_t port)
{
    struct sockaddr_in peer;
    socklen_t len = sizeof peer;

    return getpeername(fd, (struct sockaddr *)&peer, &len) == 0 && peer.sin_family == AF_INET &&
           ntohs(peer.sin_port) == port;
}

unsigned cut_connection(uint16_t port, unsigned pick)
{
    int fds[FDS_MAX];
    unsigned count = 0;

    for (int fd = 0; fd < FDS_MAX; fd++)
        if (is_to(fd, port))
            fds[count++] = fd;
    if (count)
        shutdown(fds[pick % count], SHUT_RDWR);
    return count;
}
