// SPDX-License-Identifier: LGPL-2.1-or-later
/* Mount points: mountpoint.h. No state. */
#include "mountpoint.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <glib.h>

#include "folders.h"
#include "program.h"

static char *resolve(const char *path)
{
    char *resolved = realpath(path, NULL);
    char *copy = g_strdup(resolved);
    int saved = errno;

    free(resolved);
    errno = saved;
    return copy;
}

char *mountpoint_canonical(const char *path)
{
    g_autofree char *name = g_path_get_basename(path);
    g_autofree char *folder = g_path_get_dirname(path);

    if (strcmp(name, ".") && strcmp(name, "..") && strcmp(name, "/")) {
        g_autofree char *parent = resolve(folder);

        if (parent) {
            g_autofree char *joined = g_build_filename(parent, name, NULL);

            if (mountpoint_find(joined, NULL))
                return g_steal_pointer(&joined);
        }
    }
    return resolve(path);
}

/* mountinfo writes a space, a tab, a newline and a backslash as \ooo, which g_strcompress reads. */
static bool line_matches(char **fields, const char *mountpoint)
{
    g_autofree char *path = g_strcompress(fields[4]);

    return !strcmp(path, mountpoint);
}

bool mountpoint_find(const char *mountpoint, uid_t *user)
{
    g_autofree char *text = NULL;
    bool found = false;

    if (!g_file_get_contents("/proc/self/mountinfo", &text, NULL, NULL))
        return false;

    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);

    for (char **line = lines; *line; line++) { /* proc(5): the later one lies on top */
        const char *tail = strstr(*line, " - ");
        g_auto(GStrv) fields = g_strsplit(*line, " ", 6);

        if (!tail || g_strv_length(fields) < 6 || !line_matches(fields, mountpoint))
            continue;
        tail += 3;
        found = g_str_has_prefix(tail, MOUNTPOINT_TYPE " ");

        const char *id = strstr(tail, "user_id=");
        if (user)
            *user = id ? (uid_t)strtoul(id + strlen("user_id="), NULL, 10) : 0;
    }
    return found;
}

/* libmount's list of what /proc/self/mountinfo does not have: lines SRC=… TARGET=… ROOT=… */
static bool is_registered(const char *mountpoint, const char *name)
{
    g_autofree char *text = NULL;
    g_autofree char *fields = g_strdup_printf("SRC=%s TARGET=%s ", name, mountpoint);

    return g_file_get_contents("/run/mount/utab", &text, NULL, NULL) && strstr(text, fields);
}

/* root's umount(8) asks statfs(2) what is mounted, hears "fuse" and looks no
 * further, unless libmount's list knows the mount point. mount(8) writes the
 * list, and with -f nothing else. */
void mountpoint_register(const char *mountpoint, const char *name, bool network)
{
    char *options = network ? "_netdev,uhelper=" MOUNTPOINT_TYPE : "uhelper=" MOUNTPOINT_TYPE;
    char *argv[] = {"mount",      "-f",
                    "-i",         "-c",
                    "-t",         MOUNTPOINT_TYPE,
                    "-o",         options,
                    (char *)name, (char *)mountpoint,
                    NULL};
    int null;

    if (geteuid() != 0 || is_registered(mountpoint, name))
        return;
    null = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (null < 0)
        return;
    program_run(argv, null, null, null);
    close(null);
}

int mountpoint_unmount(const char *mountpoint, bool lazy, bool force)
{
    g_autoptr(GPtrArray) argv = g_ptr_array_new();
    bool root = geteuid() == 0;

    if (root) { /* not umount2(2), which would leave the mount in libmount's list */
        g_ptr_array_add(argv, "umount");
        g_ptr_array_add(argv, "-i"); /* without umount.fuse.encsanfs, which may be us */
        g_ptr_array_add(argv, "-c");
    } else {
        g_ptr_array_add(argv, "fusermount3");
        g_ptr_array_add(argv, "-u");
    }
    if (lazy)
        g_ptr_array_add(argv, root ? "-l" : "-z");
    if (force && root)
        g_ptr_array_add(argv, "-f");
    g_ptr_array_add(argv, "--");
    g_ptr_array_add(argv, (char *)mountpoint);
    g_ptr_array_add(argv, NULL);

    int status = program_run((char **)argv->pdata, -1, -1, -1);

    return status > 0 ? -EPROTO : status;
}

char *mountpoint_socket(const char *mountpoint, uid_t user)
{
    g_autofree char *folder = folder_runtime(user);
    g_autofree char *hash = g_compute_checksum_for_string(G_CHECKSUM_SHA256, mountpoint, -1);

    return g_strdup_printf("%s/%.16s.sock", folder, hash);
}

int mountpoint_temporary(char **path)
{
    g_autofree char *folder = folder_runtime(geteuid());
    int error = folder_make(folder);

    if (error)
        return error;

    char *made = g_build_filename(folder, "tmp-XXXXXX", NULL);

    if (!g_mkdtemp_full(made, 0700)) {
        error = -errno;
        g_free(made);
        return error;
    }
    *path = made;
    return 0;
}
