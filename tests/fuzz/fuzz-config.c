// SPDX-License-Identifier: LGPL-2.1-or-later
/* Configuration files. What is refused is refused in one line. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "config.h"
#include "fuzz.h"

static bool is_line(const char *message)
{
    return message[0] && !strchr(message, '\n');
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct config config;
    char path[32], message[1024] = "";
    int fd = memfd_create("encsan-fuzz.conf", MFD_CLOEXEC);
    bool ok;

    if (fd < 0 || write(fd, data, size) != (ssize_t)size)
        abort();
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    config_init(&config);
    ok = config_read(&config, path, message, sizeof message);
    config_free(&config);
    close(fd);
    if (!ok && !is_line(message))
        abort();
    return 0;
}
