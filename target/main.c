// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * encsan-target: options, LUNs, the listening socket, signals.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <openssl/sha.h>

#include "conn.h"
#include "suite.h"

static char *listen_at, *name, *key_file;
static char **allow, **lun_specs, **suite_names;
static gboolean exit_with_stdin, show_version;

static const GOptionEntry entries[] = {
    {"listen", 0, 0, G_OPTION_ARG_STRING, &listen_at, "address and port to listen on; port 0: any", "ADDR:PORT"},
    {"name", 0, 0, G_OPTION_ARG_STRING, &name, "the target's iSCSI name", "IQN"},
    {"key", 0, 0, G_OPTION_ARG_FILENAME, &key_file, "the target's private key", "FILE"},
    {"allow", 0, 0, G_OPTION_ARG_STRING_ARRAY, &allow, "an initiator's public key; may be repeated", "PUBKEY"},
    {"lun", 0, 0, G_OPTION_ARG_STRING_ARRAY, &lun_specs, "a disk; may be repeated", "PATH[,size=N][,access=plain]"},
    {"suite", 0, 0, G_OPTION_ARG_STRING_ARRAY, &suite_names, "also allow 3des or null", "NAME"},
    {"exit-with-stdin", 0, 0, G_OPTION_ARG_NONE, &exit_with_stdin, "end when standard input does", NULL},
    {"version", 0, 0, G_OPTION_ARG_NONE, &show_version, "print the version", NULL},
    {NULL, 0, 0, 0, NULL, NULL, NULL}};

void target_log(const char *format, ...)
{
    char line[1024];
    va_list args;

    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    fprintf(stderr, "encsan-target: %s\n", line);
}

struct lun *target_lun(const struct target *target, uint64_t number)
{
    return number >= 1 && number <= target->lun_count ? target->luns[number - 1] : NULL;
}

static int usage(const char *format, ...) __attribute__((format(printf, 1, 2)));
static int usage(const char *format, ...)
{
    char line[512];
    va_list args;

    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    fprintf(stderr, "encsan-target: %s; see --help\n", line);
    return 2;
}

/* ---- LUNs ---- */

static int parse_size(const char *text, uint64_t *bytes)
{
    static const char units[] = "KMGT";
    char *end;
    const char *unit;

    errno = 0;
    *bytes = strtoull(text, &end, 10);
    if (errno || end == text || *text == '-')
        return -1;
    unit = *end ? strchr(units, g_ascii_toupper(*end)) : NULL;
    if (unit) {
        unsigned shift = 10 * (unsigned)(unit - units + 1);

        if (*bytes > UINT64_MAX >> shift)
            return -1;
        *bytes <<= shift;
        end++;
    }
    return *end || *bytes == 0 ? -1 : 0;
}

static int parse_lun(const char *spec, char **path, uint64_t *size, bool *sealed)
{
    g_auto(GStrv) parts = g_strsplit(spec, ",", -1);

    *size = 0;
    *sealed = true;
    if (!parts[0] || !*parts[0])
        return usage("--lun %s: no path", spec);
    for (char **p = parts + 1; *p; p++) {
        if (g_str_has_prefix(*p, "size=")) {
            if (parse_size(*p + 5, size) != 0)
                return usage("--lun %s: %s: a number of bytes, or with K, M, G, T", spec, *p);
        } else if (strcmp(*p, "access=plain") == 0) {
            *sealed = false;
        } else if (strcmp(*p, "access=sealed") != 0) {
            return usage("--lun %s: %s: neither size=N nor access=plain", spec, *p);
        }
    }
    *path = g_strdup(parts[0]);
    return 0;
}

/* The same disk of the same target has the same serial number. */
static void make_serial(const struct target *target, const char *path, uint8_t serial[8])
{
    g_autofree char *text = g_strdup_printf("%s\n%s", target->name, path);
    uint8_t hash[SHA256_DIGEST_LENGTH];

    SHA256((const uint8_t *)text, strlen(text), hash);
    memcpy(serial, hash, 8);
}

static int add_lun(struct target *target, const char *spec)
{
    struct lun *lun = g_new0(struct lun, 1);
    g_autofree char *path = NULL;
    char message[512];
    uint64_t size;
    int status;

    target->luns[target->lun_count++] = lun;
    lun->number = target->lun_count;
    status = parse_lun(spec, &path, &size, &lun->sealed);
    if (status)
        return status;
    lun->backend = backend_file_open(path, size, message, sizeof message);
    if (!lun->backend) {
        target_log("--lun: %s", message);
        return 1;
    }
    lun->block_bytes = lun->sealed ? WIRE_BLOCK_BYTES : TARGET_PLAIN_BLOCK_BYTES;
    lun->blocks = lun->backend->size_bytes / lun->block_bytes;
    make_serial(target, path, lun->serial);
    if (lun->blocks == 0 || lun->blocks > WIRE_LBA_MAX) {
        target_log("--lun %s: too small or too large; give it a size=", path);
        return 1;
    }
    if (lun->sealed) {
        lun->lease = lease_new(lun);
        if (!lun->lease) {
            target_log("--lun %s: out of memory", path);
            return 1;
        }
    }
    return 0;
}

static int take_options(struct target *target)
{
    char message[512];

    if (!listen_at || !name || !key_file || !lun_specs)
        return usage("--listen, --name, --key and --lun are needed");
    if (!g_str_has_prefix(name, "iqn.") || strlen(name) > 223)
        return usage("--name %s: not an iSCSI qualified name (iqn.YYYY-MM.DOMAIN:NAME)", name);
    target->name = name;
    if (key_load(key_file, target->key, message, sizeof message) != 0) {
        target_log("--key: %s", message);
        return 1;
    }
    target->allowed_count = allow ? g_strv_length(allow) : 0;
    target->allowed = g_malloc0_n(target->allowed_count + 1, KEY_BYTES);
    for (unsigned i = 0; i < target->allowed_count; i++)
        if (key_from_text(allow[i], target->allowed[i]) != 0)
            return usage("--allow %s: not a public key (44 characters of base64)", allow[i]);
    target->suites = WIRE_SUITE_BIT(WIRE_SUITE_AES_256_GCM) |
                     WIRE_SUITE_BIT(WIRE_SUITE_CHACHA20_POLY1305);
    for (char **s = suite_names; s && *s; s++) {
        if (!suite_by_name(*s))
            return usage("--suite %s: aes-256-gcm, chacha20-poly1305, 3des or null", *s);
        target->suites |= WIRE_SUITE_BIT(suite_by_name(*s));
    }
    if (g_strv_length(lun_specs) > LUNS_MAX)
        return usage("--lun: at most %d", LUNS_MAX);
    for (char **s = lun_specs; *s; s++) {
        int status = add_lun(target, *s);

        if (status)
            return status;
    }
    return 0;
}

/* ---- listening ---- */

/* "HOST:PORT" or "[HOST]:PORT" */
static int parse_address(const char *text, char **host, char **port)
{
    const char *colon = strrchr(text, ':');

    if (!colon || !colon[1])
        return -1;
    *port = g_strdup(colon + 1);
    *host = *text == '[' && colon > text + 1 && colon[-1] == ']'
                ? g_strndup(text + 1, (size_t)(colon - text - 2))
                : g_strndup(text, (size_t)(colon - text));
    return strchr(*host, ':') && *text != '[' ? -1 : 0;
}

static int bind_first(const struct addrinfo *list)
{
    const int one = 1;

    for (; list; list = list->ai_next) {
        int fd = socket(list->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

        if (fd < 0)
            continue;
        if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) == 0 &&
            bind(fd, list->ai_addr, list->ai_addrlen) == 0 && listen(fd, 128) == 0)
            return fd;
        close(fd);
    }
    return -1;
}

/* The socket, or -1 with *status set. */
static int open_listener(int *status)
{
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE};
    g_autofree char *host = NULL, *port = NULL;
    struct addrinfo *list;
    int error, fd;

    if (parse_address(listen_at, &host, &port) != 0) {
        *status = usage("--listen %s: not ADDR:PORT", listen_at);
        return -1;
    }
    *status = 1;
    error = getaddrinfo(*host ? host : NULL, port, &hints, &list);
    if (error) {
        target_log("--listen %s: %s", listen_at, gai_strerror(error));
        return -1;
    }
    fd = bind_first(list);
    if (fd < 0)
        target_log("--listen %s: %s", listen_at, strerror(errno));
    freeaddrinfo(list);
    return fd;
}

static void address_text(const struct sockaddr_storage *a, socklen_t len, char *out, size_t size)
{
    char host[NI_MAXHOST], port[NI_MAXSERV];

    if (getnameinfo((const struct sockaddr *)a, len, host, sizeof host, port, sizeof port,
                    NI_NUMERICHOST | NI_NUMERICSERV) != 0)
        snprintf(out, size, "?");
    else
        snprintf(out, size, a->ss_family == AF_INET6 ? "[%s]:%s" : "%s:%s", host, port);
}

static bool is_wildcard(const struct sockaddr_storage *a)
{
    if (a->ss_family == AF_INET6)
        return IN6_IS_ADDR_UNSPECIFIED(&((const struct sockaddr_in6 *)a)->sin6_addr);
    return ((const struct sockaddr_in *)a)->sin_addr.s_addr == htonl(INADDR_ANY);
}

/* One line a LUN: what to mount. */
static int print_urls(const struct target *target, int fd)
{
    struct sockaddr_storage a;
    socklen_t len = sizeof a;
    char portal[NI_MAXHOST + 32], host[256], key_text[KEY_TEXT_BYTES];
    uint8_t public_key[KEY_BYTES];

    if (getsockname(fd, (struct sockaddr *)&a, &len) != 0 ||
        key_public(target->key, public_key) != 0)
        return -1;
    address_text(&a, len, portal, sizeof portal);
    if (is_wildcard(&a) && gethostname(host, sizeof host) == 0)
        snprintf(portal, sizeof portal, "%s:%u", host,
                 ntohs(((const struct sockaddr_in *)&a)->sin_port));
    key_to_text(public_key, key_text);
    for (unsigned i = 0; i < target->lun_count; i++)
        printf("iscsi://%s/%s/%u %s%s\n", portal, target->name, i + 1,
               target->luns[i]->sealed ? "target_key=" : "plain",
               target->luns[i]->sealed ? key_text : "");
    return fflush(stdout) == 0 ? 0 : -1;
}

static void accept_one(struct target *target, int listener)
{
    struct sockaddr_storage a;
    socklen_t len = sizeof a;
    char address[64];
    int fd = accept4(listener, (struct sockaddr *)&a, &len, SOCK_CLOEXEC);

    if (fd < 0) {
        if (errno != EINTR && errno != ECONNABORTED && errno != EAGAIN) {
            target_log("accept: %s", strerror(errno));
            usleep(100000); /* out of descriptors: not in a tight loop */
        }
        return;
    }
    address_text(&a, len, address, sizeof address);
    conn_serve(target, fd, address);
}

static bool stdin_ended(void)
{
    char buf[64];

    return read(STDIN_FILENO, buf, sizeof buf) <= 0;
}

static void serve(struct target *target, int listener, int signals)
{
    struct pollfd fds[3] = {{listener, POLLIN, 0}, {signals, POLLIN, 0},
                            {exit_with_stdin ? STDIN_FILENO : -1, POLLIN, 0}};

    for (;;) {
        if (poll(fds, 3, -1) < 0)
            continue;
        if (fds[1].revents || (fds[2].revents && stdin_ended()))
            return;
        if (fds[0].revents)
            accept_one(target, listener);
    }
}

/* Everything that was written goes onto the disk. 0, or 1 if it could not. */
static int close_lun(struct lun *lun)
{
    int error = 0;

    if (lun->lease)
        lease_free(lun->lease);
    if (lun->backend) {
        error = lun->backend->ops->flush(lun->backend);
        if (error)
            target_log("LUN %u: %s", lun->number, strerror(-error));
        lun->backend->ops->close(lun->backend);
    }
    g_free(lun);
    return error ? 1 : 0;
}

static int finish(struct target *target)
{
    int status = 0;

    conn_close_all();
    if (target->workers)
        workers_free(target->workers);
    for (unsigned i = 0; i < target->lun_count; i++)
        status |= close_lun(target->luns[i]);
    g_free(target->allowed);
    return status;
}

static int block_signals(void)
{
    sigset_t set;

    signal(SIGPIPE, SIG_IGN);
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    if (pthread_sigmask(SIG_BLOCK, &set, NULL) != 0)
        return -1;
    return signalfd(-1, &set, SFD_CLOEXEC);
}

/* From the options to the end; `target` is finished by the caller. */
static int run(struct target *target, int signals)
{
    int status = take_options(target), listener;

    if (status)
        return status;
    listener = open_listener(&status);
    if (listener < 0)
        return status;
    target->workers = workers_new("encsan-open", 0);
    if (!target->workers || signals < 0 || print_urls(target, listener) != 0) {
        target_log("cannot start: %s", strerror(errno));
        close(listener);
        return 1;
    }
    serve(target, listener, signals);
    close(listener);
    return 0;
}

int main(int argc, char **argv)
{
    g_autoptr(GOptionContext) context = g_option_context_new(NULL);
    g_autoptr(GError) error = NULL;
    struct target target = {0};
    int status;

    g_option_context_add_main_entries(context, entries, NULL);
    g_option_context_set_summary(context, "Serves disks over iSCSI, sealed. encsan-target(8)");
    if (!g_option_context_parse(context, &argc, &argv, &error))
        return usage("%s", error->message);
    if (show_version) {
        puts("encsan-target " ENCSAN_VERSION);
        return 0;
    }
    if (argc > 1)
        return usage("%s: not an option", argv[1]);
    status = run(&target, block_signals());
    return finish(&target) | status;
}
