// SPDX-License-Identifier: LGPL-2.1-or-later
/* Resolving, binding, printing: address.h. */
#include "address.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static struct addrinfo *resolve(const char *address, char *message, size_t size)
{
    const struct addrinfo hints = {.ai_flags = AI_PASSIVE | AI_NUMERICSERV,
                                   .ai_socktype = SOCK_STREAM};
    struct addrinfo *result = NULL;
    const char *colon = strrchr(address, ':');
    char host[256];
    int error;

    snprintf(host, sizeof host, "%.*s", (int)(colon - address), address);
    if (host[0] == '[' && host[strlen(host) - 1] == ']') {
        memmove(host, host + 1, strlen(host));
        host[strlen(host) - 1] = 0;
    }
    error = getaddrinfo(host, colon + 1, &hints, &result);
    if (error) {
        snprintf(message, size, "cannot listen on %s: %s", address, gai_strerror(error));
        return NULL;
    }
    return result;
}

static bool is_wildcard(const struct sockaddr_storage *address)
{
    const struct sockaddr_in *v4 = (const struct sockaddr_in *)address;
    const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)address;

    if (address->ss_family == AF_INET)
        return v4->sin_addr.s_addr == htonl(INADDR_ANY);
    return address->ss_family == AF_INET6 && IN6_IS_ADDR_UNSPECIFIED(&v6->sin6_addr);
}

void address_print(const struct sockaddr_storage *address, socklen_t len, char *out, size_t size)
{
    char host[256] = "?", port[16] = "?";
    int error = getnameinfo((const struct sockaddr *)address, len, host, sizeof host, port,
                            sizeof port, NI_NUMERICHOST | NI_NUMERICSERV);

    if (error == 0 && is_wildcard(address) && gethostname(host, sizeof host - 1) != 0)
        snprintf(host, sizeof host, "localhost");
    host[sizeof host - 1] = 0;
    snprintf(out, size, strchr(host, ':') ? "[%s]:%s" : "%s:%s", host, port);
}

static int bind_to(const struct addrinfo *info, bool only_ipv6)
{
    const int one = 1;
    int fd = socket(info->ai_family, info->ai_socktype | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), error;

    if (fd < 0)
        return -errno;
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) == 0 &&
        (info->ai_family != AF_INET6 || !only_ipv6 ||
         setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof one) == 0) &&
        bind(fd, info->ai_addr, info->ai_addrlen) == 0)
        return fd;
    error = -errno;
    close(fd);
    return error;
}

int address_bind(const char *address, bool only_ipv6, char *message, size_t size)
{
    struct addrinfo *info = resolve(address, message, size);
    int fd;

    if (!info)
        return -1;
    fd = bind_to(info, only_ipv6);
    freeaddrinfo(info);
    if (fd >= 0)
        return fd;
    snprintf(message, size, "cannot listen on %s: %s", address, strerror(-fd));
    return -1;
}
