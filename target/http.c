// SPDX-License-Identifier: LGPL-2.1-or-later
/* Reports over HTTP: http.h. */
#include "http.h"

#include <errno.h>
#include <microhttpd.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "address.h"
#include "log.h"
#include "report.h"

#define SOCKET_NAME "status"
#define BACKLOG 16
#define CONNECTIONS_MAX 16
#define TIMEOUT_S 10

struct http {
    struct target *target;
    struct portal *portal;
    struct MHD_Daemon *on_port, *on_socket; /* NULL: not there */
    struct sockaddr_un address;             /* of the latter */
};

/* ---- answering ---- */

static enum MHD_Result answer(struct MHD_Connection *connection, unsigned status, const char *type,
                              const char *text, size_t bytes)
{
    struct MHD_Response *response =
        MHD_create_response_from_buffer(bytes, (void *)text, MHD_RESPMEM_MUST_COPY);
    enum MHD_Result result = MHD_NO;

    if (!response)
        return MHD_NO;
    if (MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, type) == MHD_YES)
        result = MHD_queue_response(connection, status, response);
    MHD_destroy_response(response);
    return result;
}

static enum MHD_Result report(struct MHD_Connection *connection, const struct http *http,
                              const char *type,
                              void (*make)(struct target *, struct portal *, GString *))
{
    g_autoptr(GString) out = g_string_new(NULL);

    make(http->target, http->portal, out);
    return answer(connection, MHD_HTTP_OK, type, out->str, out->len);
}

static enum MHD_Result request(void *opaque, struct MHD_Connection *connection, const char *url,
                               const char *method, const char *version, const char *upload,
                               size_t *upload_bytes, void **state)
{
    static const char text[] = "text/plain; charset=utf-8",
                      prometheus[] = "text/plain; version=0.0.4; charset=utf-8",
                      only_get[] = "GET and HEAD only\n", here[] = "/metrics and /status\n";

    if (strcmp(method, MHD_HTTP_METHOD_GET) != 0 && strcmp(method, MHD_HTTP_METHOD_HEAD) != 0)
        return answer(connection, MHD_HTTP_METHOD_NOT_ALLOWED, text, only_get, strlen(only_get));
    if (strcmp(url, "/metrics") == 0)
        return report(connection, opaque, prometheus, report_metrics);
    if (strcmp(url, "/status") == 0)
        return report(connection, opaque, text, report_status);
    return answer(connection, MHD_HTTP_NOT_FOUND, text, here, strlen(here));
}

/* ---- listening ---- */

/* `fd` belongs to it, also where it fails. */
static struct MHD_Daemon *start(struct http *http, int fd, char *message, size_t size)
{
    struct MHD_Daemon *daemon = NULL;

    if (listen(fd, BACKLOG) == 0)
        daemon = MHD_start_daemon(MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_POLL, 0, NULL, NULL,
                                  request, http, MHD_OPTION_LISTEN_SOCKET, fd,
                                  MHD_OPTION_CONNECTION_LIMIT, CONNECTIONS_MAX,
                                  MHD_OPTION_CONNECTION_TIMEOUT, TIMEOUT_S, MHD_OPTION_END);
    if (!daemon) {
        snprintf(message, size, "the HTTP server does not start: %s", strerror(errno));
        close(fd);
    }
    return daemon;
}

static int start_on_port(struct http *http, const char *address, char *message, size_t size)
{
    struct sockaddr_storage bound;
    socklen_t len = sizeof bound;
    char text[320];
    int fd = address_bind(address, false, message, size);

    if (fd < 0)
        return -1;
    if (getsockname(fd, (struct sockaddr *)&bound, &len) != 0)
        len = 0;
    address_print(&bound, len, text, sizeof text);
    http->on_port = start(http, fd, message, size);
    if (http->on_port)
        log_line("metrics at http://%s/metrics", text);
    return http->on_port ? 0 : -1;
}

static bool make_address(const char *folder, struct sockaddr_un *address, char *message,
                         size_t size)
{
    int n;

    memset(address, 0, sizeof *address);
    address->sun_family = AF_UNIX;
    n = snprintf(address->sun_path, sizeof address->sun_path, "%s/" SOCKET_NAME, folder);
    if (n > 0 && (size_t)n < sizeof address->sun_path)
        return true;
    snprintf(message, size, "%s: too long a path for the socket of --status", folder);
    return false;
}

static int open_socket(void)
{
    return socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
}

/* What a target that was killed has left there refuses. */
static bool somebody_listens(const struct sockaddr_un *address)
{
    int fd = open_socket();
    bool listens = fd >= 0 && connect(fd, (const struct sockaddr *)address, sizeof *address) == 0;

    if (fd >= 0)
        close(fd);
    return listens;
}

/* Nobody can connect before the mode is right: it listens later. */
static int bind_socket(const struct sockaddr_un *address)
{
    int fd = open_socket();

    if (fd >= 0 && bind(fd, (const struct sockaddr *)address, sizeof *address) == 0 &&
        chmod(address->sun_path, 0600) == 0)
        return fd;
    if (fd >= 0)
        close(fd);
    return -1;
}

/* Only --status needs it: what goes wrong is said, and no reason not to serve. */
static void start_on_socket(struct http *http, const char *folder)
{
    const char *path = http->address.sun_path;
    char message[512];
    int fd;

    if (!make_address(folder, &http->address, message, sizeof message)) {
        log_line("%s", message);
        return;
    }
    if (somebody_listens(&http->address)) {
        log_line("%s: another encsan-target has it; --status asks that one", path);
        return;
    }
    fd = unlink(path) == 0 || errno == ENOENT ? bind_socket(&http->address) : -1;
    if (fd < 0) {
        log_line("%s: %s; --status cannot ask", path, strerror(errno));
        return;
    }
    http->on_socket = start(http, fd, message, sizeof message);
    if (!http->on_socket)
        log_line("%s: %s", path, message);
}

struct http *http_start(struct target *target, struct portal *portal, char *message, size_t size)
{
    const struct config *config = target->config;
    struct http *http = g_new0(struct http, 1);

    http->target = target;
    http->portal = portal;
    if (config->state_folder && !target->keeps_no_state)
        start_on_socket(http, config->state_folder);
    if (!config->metrics || start_on_port(http, config->metrics, message, size) == 0)
        return http;
    http_stop(http);
    return NULL;
}

void http_stop(struct http *http)
{
    if (!http)
        return;
    if (http->on_port)
        MHD_stop_daemon(http->on_port);
    if (http->on_socket) {
        unlink(http->address.sun_path);
        MHD_stop_daemon(http->on_socket);
    }
    g_free(http);
}

/* ---- asking ---- */

static const char *exchange(int fd, GString *answer)
{
    static const char asks[] = "GET /status HTTP/1.0\r\n\r\n";
    char bytes[4096], *body;
    ssize_t n;

    if (send(fd, asks, strlen(asks), MSG_NOSIGNAL) != (ssize_t)strlen(asks))
        return NULL;
    while ((n = read(fd, bytes, sizeof bytes)) > 0)
        g_string_append_len(answer, bytes, n);
    body = strstr(answer->str, "\r\n\r\n");
    return n == 0 && body && strstr(answer->str, " 200 ") ? body + 4 : NULL;
}

int http_print_status(const char *state_folder, char *message, size_t size)
{
    const struct timeval patience = {TIMEOUT_S, 0};
    g_autoptr(GString) answer = g_string_new(NULL);
    const char *body = NULL;
    struct sockaddr_un address;
    int fd, result = -1;

    if (!make_address(state_folder, &address, message, size))
        return -1;
    fd = open_socket();
    if (fd < 0 || connect(fd, (const struct sockaddr *)&address, sizeof address) != 0)
        snprintf(message, size, "%s: %s; is an encsan-target running with this state-dir?",
                 address.sun_path, strerror(errno));
    else if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience) != 0 ||
             !(body = exchange(fd, answer)))
        snprintf(message, size, "%s: no answer", address.sun_path);
    else if (fputs(body, stdout) < 0 || fflush(stdout) != 0)
        snprintf(message, size, "standard output: %s", strerror(errno));
    else
        result = 0;
    if (fd >= 0)
        close(fd);
    return result;
}
