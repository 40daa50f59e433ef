// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Portals: portals.h. `lock` protects the addresses; it is not held while a
 * name server is asked, which can take long when the network is down.
 */
#include "portals.h"

#include <netdb.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define SCHEME "iscsi://"
#define DEFAULT_PORT "3260"
#define NAMES_MAX 16
#define ADDRESSES_MAX 32

struct addresses {
    unsigned count;
    char text[ADDRESSES_MAX][PORTAL_BYTES];
};

struct portals {
    char *text; /* of the URL, cut into what follows */
    char *names[NAMES_MAX];
    unsigned name_count;
    char *target;
    int lun;
    pthread_mutex_t lock;
    struct addresses addresses;
};

/* ---- the URL ---- */

static int split_names(struct portals *p, char *list)
{
    char *rest, *name;

    for (name = strtok_r(list, ",", &rest); name; name = strtok_r(NULL, ",", &rest)) {
        if (p->name_count == NAMES_MAX)
            return -1;
        p->names[p->name_count++] = name;
    }
    return p->name_count > 0 ? 0 : -1;
}

static int parse(struct portals *p)
{
    char *host, *lun, *end, *user;

    if (strncmp(p->text, SCHEME, strlen(SCHEME)) != 0)
        return -1;
    host = p->text + strlen(SCHEME);
    p->target = strchr(host, '/');
    lun = p->target ? strchr(p->target + 1, '/') : NULL;
    if (!lun)
        return -1;
    *p->target++ = *lun++ = 0;
    p->lun = (int)strtol(lun, &end, 10);
    if (!*p->target || !*lun || *end || p->lun < 0)
        return -1;
    user = strrchr(host, '@');
    return split_names(p, user ? user + 1 : host);
}

struct portals *portals_new(const char *url, char *message, size_t size)
{
    struct portals *p = calloc(1, sizeof *p);

    if (p)
        p->text = strdup(url);
    if (!p || !p->text) {
        free(p);
        snprintf(message, size, "out of memory");
        return NULL;
    }
    pthread_mutex_init(&p->lock, NULL);
    if (parse(p) == 0)
        return p;
    snprintf(message, size, "%s: not of the form iscsi://HOST[:PORT][,HOST[:PORT]...]/IQN/LUN",
             url);
    portals_free(p);
    return NULL;
}

void portals_free(struct portals *p)
{
    if (!p)
        return;
    pthread_mutex_destroy(&p->lock);
    free(p->text);
    free(p);
}

const char *portals_target(const struct portals *p)
{
    return p->target;
}

int portals_lun(const struct portals *p)
{
    return p->lun;
}

/* ---- addresses ---- */

/* HOST, HOST:PORT, [V6] or [V6]:PORT */
static void split(const char *portal, char host[256], char port[16])
{
    const char *end = *portal == '[' ? strchr(portal, ']') : strchr(portal, ':');
    const char *colon = end ? strchr(end, ':') : NULL;

    if (*portal == '[')
        portal++;
    if (!end)
        end = portal + strlen(portal);
    snprintf(host, 256, "%.*s", (int)(end - portal), portal);
    snprintf(port, 16, "%s", colon ? colon + 1 : DEFAULT_PORT);
}

static void add(struct addresses *addresses, const struct addrinfo *found)
{
    char host[NI_MAXHOST], port[NI_MAXSERV];
    char *out = addresses->text[addresses->count];
    int bytes;

    if (addresses->count == ADDRESSES_MAX ||
        getnameinfo(found->ai_addr, found->ai_addrlen, host, sizeof host, port, sizeof port,
                    NI_NUMERICHOST | NI_NUMERICSERV) != 0)
        return;
    bytes =
        snprintf(out, PORTAL_BYTES, found->ai_family == AF_INET6 ? "[%s]:%s" : "%s:%s", host, port);
    if (bytes < PORTAL_BYTES)
        addresses->count++;
}

/* 0 or getaddrinfo's error. */
static int look_up(const char *portal, struct addresses *addresses)
{
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    struct addrinfo *found, *each;
    char host[256], port[16];
    int error;

    split(portal, host, port);
    error = getaddrinfo(host, port, &hints, &found);
    if (error)
        return error;
    for (each = found; each; each = each->ai_next)
        add(addresses, each);
    freeaddrinfo(found);
    return 0;
}

int portals_resolve(struct portals *p, char *message, size_t size)
{
    struct addresses found = {0};
    int error = 0;

    for (unsigned i = 0; i < p->name_count; i++) {
        int this = look_up(p->names[i], &found);

        if (this) {
            error = this;
            snprintf(message, size, "%s: %s", p->names[i], gai_strerror(error));
        }
    }
    if (found.count == 0 && !error)
        snprintf(message, size, "%s has no address", p->names[0]);
    pthread_mutex_lock(&p->lock);
    /* a name that cannot be asked for now keeps what it had */
    if (found.count && (!error || found.count > p->addresses.count))
        p->addresses = found;
    found.count = p->addresses.count;
    pthread_mutex_unlock(&p->lock);
    return found.count ? 0 : -1;
}

unsigned portals_count(struct portals *p)
{
    unsigned count;

    pthread_mutex_lock(&p->lock);
    count = p->addresses.count;
    pthread_mutex_unlock(&p->lock);
    return count;
}

void portals_address(struct portals *p, unsigned number, char out[PORTAL_BYTES])
{
    pthread_mutex_lock(&p->lock);
    memcpy(out, p->addresses.text[number % p->addresses.count], PORTAL_BYTES);
    pthread_mutex_unlock(&p->lock);
}
