// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * encsan status MOUNTPOINT: what a running mount tells of itself, for people
 * or, with --json, for programs.
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

static const char usage[] = "usage: encsan status MOUNTPOINT [--json]\n";

#define JSON_WIDTH 4

/* Of "written_bytes 1234": "written" and "0.0 MiB". */
static void print_for_people(const char *name, const char *value)
{
    g_autofree char *words = g_strdelimit(g_strdup(name), "_", ' ');
    char *unit = strrchr(words, ' ');

    if (g_str_has_suffix(name, "_rate_bytes")) {
        *unit = 0;
        printf("%-20s %.1f MB/s\n", words, g_ascii_strtod(value, NULL) / 1e6);
    } else if (g_str_has_suffix(name, "_us")) {
        *unit = 0;
        printf("%-20s %.2f ms\n", words, g_ascii_strtod(value, NULL) / 1e3);
    } else if (g_str_has_suffix(name, "_bytes")) {
        *unit = 0;
        printf("%-20s %.1f MiB\n", words, g_ascii_strtod(value, NULL) / (1 << 20));
    } else if (g_str_has_suffix(name, "_ns")) {
        *unit = 0;
        printf("%-20s %.3f s\n", words, g_ascii_strtod(value, NULL) / 1e9);
    } else if (g_str_has_suffix(name, "_segments")) {
        *unit = 0;
        printf("%-20s %s segments\n", words, value);
    } else {
        printf("%-20s %s\n", words, value);
    }
}

static void print_json(const char *name, const char *value)
{
    const char *quote = value[strspn(value, "0123456789")] ? "\"" : "";

    printf(",\n%*s\"%s\": %s%s%s", JSON_WIDTH, "", name, quote, value, quote);
}

/* 0, or -1: the daemon's answer did not come to its end. */
static int print_answer(FILE *daemon, const char *mountpoint, bool json)
{
    char line[4096];

    if (json) {
        g_autofree char *escaped = g_strescape(mountpoint, NULL);

        printf("{\n%*s\"mountpoint\": \"%s\"", JSON_WIDTH, "", escaped);
    }
    while (fgets(line, sizeof(line), daemon)) {
        char *value;

        g_strchomp(line);
        if (!strcmp(line, CONTROL_END))
            return fputs(json ? "\n}\n" : "", stdout) < 0 || fflush(stdout) ? -1 : 0;
        value = strchr(line, ' ');
        if (!value || g_str_has_prefix(line, CONTROL_GREETING))
            continue;
        *value++ = 0;
        (json ? print_json : print_for_people)(line, value);
    }
    return -1;
}

static int show(const char *path, bool json)
{
    g_autofree char *mountpoint = mountpoint_canonical(path);
    uid_t user = geteuid();
    FILE *daemon;
    int status = 0;

    if (!mountpoint)
        return fail("%s: %s", path, g_strerror(errno));
    if (!mountpoint_find(mountpoint, &user))
        return fail("%s: nothing is mounted there by encsanfs", mountpoint);
    daemon = daemon_connect(mountpoint, user);
    if (!daemon)
        return fail("%s: its encsanfs does not answer", mountpoint);
    if (fputs(CONTROL_STATUS "\n", daemon) < 0 || fflush(daemon) || print_answer(daemon, mountpoint, json))
        status = fail("%s: its encsanfs ended while it was asked", mountpoint);
    fclose(daemon);
    return status;
}

int status_command(int argc, char *argv[])
{
    const char *path = NULL;
    bool json = false;

    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "--json"))
            json = true;
        else if (argv[i][0] == '-' || path)
            return misused(usage);
        else
            path = argv[i];
    }
    return path ? show(path, json) : misused(usage);
}
