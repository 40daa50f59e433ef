// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * encsan-target: an iSCSI target that opens what encsanfs has sealed.
 *
 * The main thread accepts. Signals are blocked in every thread and read from a
 * signalfd, so that the end is an event like the others.
 */
#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "http.h"
#include "log.h"
#include "notify.h"
#include "options.h"
#include "portal.h"
#include "privileges.h"
#include "reload.h"
#include "task.h"

#define MMAP_THRESHOLD (128 << 10)

#define EXIT_FAILED 1
#define EXIT_USAGE 2

/* What comes on standard input is nothing to us, only its end. */
static bool input_ended(void)
{
    char bytes[4096];
    ssize_t n = read(STDIN_FILENO, bytes, sizeof bytes);

    return n == 0 || (n < 0 && errno != EINTR && errno != EAGAIN);
}

static int open_signals(bool reloads, char *message, size_t size)
{
    sigset_t set;
    int fd;

    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    if (reloads)
        sigaddset(&set, SIGHUP);
    pthread_sigmask(SIG_BLOCK, &set, NULL); /* the threads to come inherit it */
    signal(SIGPIPE, SIG_IGN);
    fd = signalfd(-1, &set, SFD_CLOEXEC);
    if (fd < 0)
        snprintf(message, size, "signalfd: %s", strerror(errno));
    return fd;
}

static void print_urls(const struct target *target, const char *address)
{
    char key[KEY_TEXT_BYTES];

    key_to_text(target->public_key, key);
    for (unsigned i = 0; i < target->lun_count; i++) {
        const struct lun *lun = target->luns[i];

        printf("iscsi://%s/%s/%u %s%s\n", address, lun->target_name, lun->number,
               lun->sealed ? "target_key=" : "plain", lun->sealed ? key : "");
    }
    fflush(stdout);
}

static int load_key(struct target *target, char *message, size_t size)
{
    const char *file = target->config->key_file;

    if (key_load(file, target->key, message, size) != 0)
        return -1;
    if (key_public(target->key, target->public_key) == 0)
        return 0;
    snprintf(message, size, "%s: OpenSSL cannot use this key", file);
    return -1;
}

static int open_all(struct target *target, char *message, size_t size)
{
    target->workers = workers_new("worker", 0);
    target->memory = memory_new(target->config->memory_bytes, TASK_BUFFER_BYTES);
    if (!target->workers || !target->memory) {
        snprintf(message, size, "out of memory or threads");
        return -1;
    }
    return target_open_luns(target, message, size);
}

/* A signal came. True: it is to end. */
static bool take_signal(int signals, struct reload *reload)
{
    struct signalfd_siginfo info;

    if (read(signals, &info, sizeof info) != sizeof info || info.ssi_signo != SIGHUP)
        return true;
    reload_request(reload);
    return false;
}

/* Accepts until it is to end. */
static void accept_all(struct portal *portal, struct reload *reload, int signals,
                       bool exit_with_stdin)
{
    enum { SIGNAL, INPUT, WATCHDOG, ALL };
    const int events[ALL] = {
        [SIGNAL] = signals,
        [INPUT] = exit_with_stdin ? STDIN_FILENO : -1,
        [WATCHDOG] = notify_watchdog(),
    };
    bool ends = false;

    notify(NOTIFY_READY);
    while (!ends) {
        unsigned event = portal_run(portal, events, ALL);

        if (event == WATCHDOG)
            notify_alive(events[WATCHDOG]);
        else
            ends = event == SIGNAL ? take_signal(signals, reload) : input_ended();
    }
    notify(NOTIFY_STOPPING);
    if (events[WATCHDOG] >= 0)
        close(events[WATCHDOG]);
}

/* Only for its address and its key it may have to be root. */
static int serve(struct target *target, const struct options *options, int signals, char *message,
                 size_t size)
{
    struct portal *portal = portal_open(target, message, size);
    struct reload *reload = NULL;
    struct http *http = NULL;
    const char *address;
    int result = -1;

    if (!portal)
        return -1;
    if (load_key(target, message, size) == 0 &&
        privileges_drop(target->config->user, message, size) &&
        open_all(target, message, size) == 0 &&
        (http = http_start(target, portal, message, size)) &&
        portal_listen(portal, message, size) == 0) {
        for (unsigned i = 0; (address = portal_address(portal, i)); i++)
            print_urls(target, address);
        if (target->config->syslog)
            log_to_syslog(); /* until here somebody may be watching */
        if (options->config_file)
            reload = reload_start(target, portal, options->config_file);
        if (reload || !options->config_file) {
            accept_all(portal, reload, signals, options->exit_with_stdin);
            target_give_up(target);
            result = 0;
        } else {
            snprintf(message, size, "out of threads");
        }
    }
    reload_stop(reload);
    http_stop(http);
    portal_close(portal);
    reload_free(reload);
    return result;
}

static int run(const struct options *options, char *message, size_t size)
{
    struct target target = {
        .config = config_ref(options->config),
        .keeps_no_state = options->exit_with_stdin,
        .since = time(NULL),
        .accounts = accounts_new(),
        .lock = PTHREAD_MUTEX_INITIALIZER,
        .idle = PTHREAD_COND_INITIALIZER,
    };
    char last[512] = "";
    int signals = open_signals(options->config_file, message, size), result = -1;

    if (signals >= 0)
        result = serve(&target, options, signals, message, size);
    workers_free(target.workers);
    memory_free(target.memory);
    accounts_free(target.accounts);
    if (target_close(&target, last, sizeof last) != 0) {
        if (result == 0)
            snprintf(message, size, "%s", last);
        result = -1;
    }
    config_unref(target.config);
    if (signals >= 0)
        close(signals);
    return result;
}

static int print_status(const struct options *options, char *message, size_t size)
{
    if (options->config->state_folder)
        return http_print_status(options->config->state_folder, message, size);
    snprintf(message, size, "%s: without state-dir= there is nobody to ask", options->config_file);
    return -1;
}

static int start(struct options *options, char *message, size_t size)
{
    if (options->config_file && !config_read(options->config, options->config_file, message, size))
        return -1;
    if (options->status)
        return print_status(options, message, size);
    if (!options->check)
        return run(options, message, size);
    printf("%s: fine\n", options->config_file);
    return fflush(stdout) == 0 ? 0 : -1;
}

int main(int argc, char **argv)
{
    struct options options = {0};
    char message[1024] = "";
    int status = 0;

    /* What is freed goes back to the system, also if the next session's buffers are of other
     * sizes: left to itself, glibc raises this limit and keeps what lies between. It fails only
     * where another allocator, as a sanitizer's, stands in for glibc's and has no such limit. */
    mallopt(M_MMAP_THRESHOLD, MMAP_THRESHOLD);
    if (!options_parse(&options, &argc, &argv, message, sizeof message))
        status = EXIT_USAGE;
    else if (start(&options, message, sizeof message) != 0)
        status = EXIT_FAILED;
    if (status)
        log_line("%s", message);
    options_free(&options);
    return status;
}
