// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * encsan mkfs URL [-o options] [-- mke2fs options]: an ext4 file system that
 * encsanfs can mount. What is on the disk already is overwritten only with -F.
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <glib.h>

#include "program.h"
#include "tools.h"

#define BLKID_NOTHING 2 /* blkid(8), exit status: nothing found */

static bool has_force(char *const options[])
{
    for (; *options; options++)
        if (!strcmp(*options, "-F"))
            return true;
    return false;
}

/* What blkid found: "TYPE" of a file system or "PTTYPE" of a partition table. */
static char *read_type(int fd)
{
    FILE *stream = fdopen(fd, "r");
    char line[256];
    char *type = NULL;

    if (!stream) {
        close(fd);
        return NULL;
    }
    while (fgets(line, sizeof(line), stream)) {
        const char *value = strchr(line, '=');

        if (!type && value &&
            (g_str_has_prefix(line, "TYPE=") || g_str_has_prefix(line, "PTTYPE=")))
            type = g_strchomp(g_strdup(value + 1));
    }
    fclose(stream);
    return type;
}

/* 0: the disk is empty; or 1 after saying what is there. */
static int check_empty(const char *source, const char *disk)
{
    g_autofree char *blkid = program_find("blkid");
    char *argv[] = {blkid, "-p", "-o", "export", (char *)disk, NULL};
    g_autofree char *type = NULL;
    int fds[2], status;
    pid_t pid;

    if (pipe2(fds, O_CLOEXEC))
        return fail("pipe: %m");
    status = program_start(argv, -1, fds[1], -1, false, &pid);
    close(fds[1]);
    if (status) {
        close(fds[0]);
        return fail("%s: %s", blkid, g_strerror(-status));
    }
    type = read_type(fds[0]);
    status = program_wait(pid);
    if (status == BLKID_NOTHING)
        return 0;
    return fail("%s holds data already (%s); to overwrite it: encsan mkfs %s -- -F", source,
                type ? type : "of more than one kind", source);
}

static int make(const struct diskview *view, const char *disk)
{
    g_autofree char *mke2fs = program_find("mke2fs");
    g_autoptr(GPtrArray) argv = g_ptr_array_new();
    int status;

    if (!has_force(view->program_options) && check_empty(view->source, disk))
        return 1;
    g_ptr_array_add(argv, mke2fs);
    g_ptr_array_add(argv, (char *)"-t");
    g_ptr_array_add(argv, (char *)"ext4");
    g_ptr_array_add(argv, (char *)"-b");
    g_ptr_array_add(argv, (char *)"4096");
    for (char **option = view->program_options; *option; option++)
        g_ptr_array_add(argv, *option);
    g_ptr_array_add(argv, (char *)disk);
    g_ptr_array_add(argv, NULL);

    status = run_patiently((char **)argv->pdata);
    if (status < 0)
        return fail("%s: %s", mke2fs, g_strerror(-status));
    return status ? fail("mke2fs has not made a file system on %s", view->source) : 0;
}

int mkfs(int argc, char *argv[])
{
    struct diskview view;
    int status = diskview_read(&view, argc, argv,
                               "usage: encsan mkfs URL [-o option,...] [-- mke2fs options]\n");

    return status ? status : diskview_run(&view, make);
}
