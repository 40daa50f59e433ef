// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Folders. No state but what glib keeps of the environment.
 */
#include "folders.h"

#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

#include <glib.h>

static char *folder(const char *of_root, const char *users)
{
    return geteuid() == 0 ? g_strdup(of_root) : g_build_filename(users, "encsan", NULL);
}

char *folder_config(void)
{
    return folder("/etc/encsan", g_get_user_config_dir());
}

char *folder_state(void)
{
    return folder("/var/lib/encsan", g_get_user_state_dir());
}

char *folder_data(void)
{
    return folder("/var/lib/encsan", g_get_user_data_dir());
}

/* Not g_get_user_runtime_dir, which falls back to the cache folder: root, who
 * may ask for another user's, would not find it there. */
char *folder_runtime(uid_t uid)
{
    const char *own = g_getenv("XDG_RUNTIME_DIR");

    if (uid == 0)
        return g_strdup("/run/encsan");
    if (uid == geteuid() && own && g_path_is_absolute(own))
        return g_build_filename(own, "encsan", NULL);
    return g_strdup_printf("/run/user/%u/encsan", (unsigned)uid);
}

int folder_make(const char *path)
{
    g_autofree char *parent = g_path_get_dirname(path);

    if (g_mkdir_with_parents(parent, 0755) != 0)
        return -errno;
    if (mkdir(path, 0700) == 0)
        return 0;
    if (errno != EEXIST)
        return -errno;
    return g_file_test(path, G_FILE_TEST_IS_DIR) ? 0 : -ENOTDIR;
}
