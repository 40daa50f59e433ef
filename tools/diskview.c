// SPDX-License-Identifier: LGPL-2.1-or-later
/* Programs that work on the disk view of a volume: tools.h. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <sys/wait.h>
#include <glib.h>

#include "disk.h"
#include "mountpoint.h"
#include "program.h"
#include "tools.h"

int diskview_read(struct diskview *view, int argc, char *argv[], const char *usage)
{
    memset(view, 0, sizeof(*view));
    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "--")) {
            view->program_options = argv + i + 1;
            break;
        }
        if (!strcmp(argv[i], "-o") && !view->options && i + 1 < argc)
            view->options = argv[++i];
        else if (argv[i][0] != '-' && !view->source)
            view->source = argv[i];
        else
            return misused(usage);
    }
    if (!view->program_options)
        view->program_options = argv + argc;
    return view->source ? 0 : misused(usage);
}

/* Signals that would end us are handed to the program; we go on when it has ended. */
int run_patiently(char *argv[])
{
    sigset_t set;
    siginfo_t info;
    pid_t pid;
    int error;

    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGHUP);
    sigaddset(&set, SIGCHLD);
    if (sigprocmask(SIG_BLOCK, &set, NULL))
        return -errno;
    error = program_start(argv, -1, -1, -1, false, &pid);
    if (error)
        return error;
    for (;;) {
        info.si_pid = 0;
        if (waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT) || info.si_pid)
            return program_wait(pid);
        if (sigwaitinfo(&set, &info) > 0 && info.si_signo != SIGCHLD && info.si_code <= 0)
            kill(pid, info.si_signo); /* from a process; the terminal's reach it by themselves */
    }
}

static int mount_view(const struct diskview *view, const char *folder)
{
    g_autofree char *encsanfs = program_find_own("fuse", "encsanfs");
    g_autofree char *options = g_strdup_printf("%s%sview=disk", view->options ? view->options : "",
                                               view->options ? "," : "");
    char *argv[] = {encsanfs, (char *)view->source, (char *)folder, "-o", options, NULL};
    int status = run_patiently(argv);

    if (status < 0)
        return fail("%s: %s", encsanfs, g_strerror(-status));
    return status == EXIT_USAGE ? EXIT_USAGE : status != 0;
}

int diskview_run(const struct diskview *view,
                 int (*work)(const struct diskview *view, const char *disk))
{
    static const struct unmounting how;
    g_autofree char *folder = NULL;
    int error = mountpoint_temporary(&folder);
    int status, unmounted;

    if (error)
        return fail("runtime folder: %s", g_strerror(-error));
    status = mount_view(view, folder);
    if (!status) {
        g_autofree char *disk = g_build_filename(folder, DISK_NAME, NULL);

        status = work(view, disk);
        unmounted = unmount(folder, &how);
        if (!status)
            status = unmounted;
    }
    rmdir(folder);
    return status;
}
