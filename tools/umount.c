// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * encsan umount MOUNTPOINT: unmounts, then waits on the daemon's control socket
 * (fuse/control.h) for its last word. As umount.fuse.encsanfs it takes the
 * options that umount(8) hands on.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <glib.h>

#include "control.h"
#include "mountpoint.h"
#include "tools.h"

static const char usage[] = "usage: encsan umount [-flnrv] [-t TYPE] MOUNTPOINT\n";

/* To the end of the daemon: its last word is the result. */
static int wait_for_daemon(FILE *daemon, const char *mountpoint)
{
    char line[4096];
    int status = -1;

    while (fgets(line, sizeof(line), daemon)) {
        g_strchomp(line);
        if (!strcmp(line, CONTROL_OK))
            status = 0;
        else if (g_str_has_prefix(line, CONTROL_FAILED))
            status = fail("%s is unmounted, but data may be missing on the far disk: %s",
                          mountpoint, line + strlen(CONTROL_FAILED));
    }
    if (status < 0)
        status = fail("%s is unmounted, but its encsanfs died before it had written everything; "
                      "the next mount repairs what it can",
                      mountpoint);
    return status;
}

int unmount(const char *path, const struct unmounting *how)
{
    g_autofree char *mountpoint = mountpoint_canonical(path);
    uid_t user = geteuid();
    FILE *daemon;
    bool mounted;
    int error, status = 0;

    if (!mountpoint)
        return fail("%s: %s", path, g_strerror(errno));
    mounted = mountpoint_find(mountpoint, &user);
    daemon = daemon_connect(mountpoint, user);
    if (!mounted && !daemon)
        return fail("%s: nothing is mounted there by encsanfs", mountpoint);
    if (mounted) {
        error = mountpoint_unmount(mountpoint, how->lazy, how->force);
        if (error) {
            if (daemon)
                fclose(daemon);
            return error == -EPROTO ? 1 : fail("%s: %s", mountpoint, g_strerror(-error));
        }
    }
    if (!daemon)
        return fail(
            "%s is unmounted, but its encsanfs had died; the next mount repairs what it can",
            mountpoint);
    if (!how->lazy) /* else it ends with the last open file */
        status = wait_for_daemon(daemon, mountpoint);
    fclose(daemon);
    if (!status && how->verbose)
        printf("%s unmounted%s\n", mountpoint, how->lazy ? "" : ": everything is on the far disk");
    return status;
}

int umount_command(int argc, char *argv[])
{
    struct unmounting how = {0};
    const char *path = NULL;
    int option;

    while (argc > 1) { /* umount(8) puts MOUNTPOINT first */
        option = getopt(argc, argv, "-flnrvt:");
        if (option < 0)
            break;
        switch (option) {
        case 1:
            if (path)
                return misused(usage);
            path = optarg;
            break;
        case 'f':
            how.force = true;
            break;
        case 'l':
            how.lazy = true;
            break;
        case 'v':
            how.verbose = true;
            break;
        case 'n': /* there is no mtab */
        case 'r': /* of no use here: what can't be unmounted stays as it is */
        case 't':
            break;
        default:
            return misused(usage);
        }
    }
    if (!path && optind < argc)
        path = argv[optind++];
    if (!path || optind < argc)
        return misused(usage);
    return unmount(path, &how);
}
