// SPDX-License-Identifier: LGPL-2.1-or-later
/* The control socket of a running encsanfs: fuse/control.h. */
#include <stdio.h>
#include <unistd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <glib.h>

#include "mountpoint.h"
#include "tools.h"

FILE *daemon_connect(const char *mountpoint, uid_t user)
{
    g_autofree char *path = mountpoint_socket(mountpoint, user);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    FILE *stream;
    int fd;

    if (g_strlcpy(address.sun_path, path, sizeof(address.sun_path)) >= sizeof(address.sun_path))
        return NULL;
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return NULL;
    if (connect(fd, (struct sockaddr *)&address, sizeof(address))) {
        close(fd);
        return NULL;
    }
    stream = fdopen(fd, "r+");
    if (!stream)
        close(fd);
    return stream;
}
