// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * encsan fsck URL [-o options] [-- e2fsck options]: exit status 0 where the file
 * system is in order or was brought into order (e2fsck's 0 and 1), else 1.
 */
#include <stdio.h>
#include <string.h>
#include <glib.h>

#include "program.h"
#include "tools.h"

#define E2FSCK_FIXED 1

int fsck_disk(const char *source, char *const options[], const char *disk)
{
    g_autofree char *e2fsck = program_find("e2fsck");
    g_autoptr(GPtrArray) argv = g_ptr_array_new();
    int status;

    g_ptr_array_add(argv, e2fsck);
    for (; *options; options++)
        g_ptr_array_add(argv, *options);
    g_ptr_array_add(argv, (char *)disk);
    g_ptr_array_add(argv, NULL);

    status = run_patiently((char **)argv->pdata);
    if (status < 0)
        return fail("%s: %s", e2fsck, g_strerror(-status));
    if (status > E2FSCK_FIXED)
        return fail("%s: the file system is not in order (e2fsck's exit status is %d)",
                    source, status);
    return 0;
}

static int check(const struct diskview *view, const char *disk)
{
    return fsck_disk(view->source, view->program_options, disk);
}

int fsck(int argc, char *argv[])
{
    struct diskview view;
    int status = diskview_read(&view, argc, argv,
                               "usage: encsan fsck URL [-o option,...] [-- e2fsck options]\n");

    return status ? status : diskview_run(&view, check);
}
