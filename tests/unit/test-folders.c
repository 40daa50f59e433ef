// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Folders, for root and for a user. The user's half needs a user: root plays one.
 */
#include <errno.h>
#include <stdbool.h>
#include <sys/stat.h>
#include <unistd.h>

#include <glib.h>
#include <glib/gstdio.h>

#include "folders.h"

#define A_USER 65534

static void check(char *got, const char *expected)
{
    g_assert_cmpstr(got, ==, expected);
    g_free(got);
}

static void test_of_root(void)
{
    if (geteuid() != 0) {
        g_test_skip("only root has these");
        return;
    }
    check(folder_config(), "/etc/encsan");
    check(folder_state(), "/var/lib/encsan");
    check(folder_data(), "/var/lib/encsan");
    check(folder_runtime(0), "/run/encsan");
    check(folder_runtime(1000), "/run/user/1000/encsan"); /* another's */
}

static void test_of_user(void)
{
    bool root = geteuid() == 0;

    if (root)
        g_assert_cmpint(seteuid(A_USER), ==, 0);
    check(folder_config(), "/c/encsan");
    check(folder_state(), "/s/encsan");
    check(folder_data(), "/d/encsan");
    check(folder_runtime(geteuid()), "/r/encsan");
    check(folder_runtime(0), "/run/encsan");
    g_setenv("XDG_RUNTIME_DIR", "relative", TRUE); /* the specification: to be ignored */
    if (root)
        check(folder_runtime(A_USER), "/run/user/65534/encsan");
    if (root)
        g_assert_cmpint(seteuid(0), ==, 0);
}

static void test_make(void)
{
    g_autofree char *top = g_dir_make_tmp("encsan-test-folders-XXXXXX", NULL);
    g_autofree char *middle = g_build_filename(top, "a", NULL);
    g_autofree char *last = g_build_filename(middle, "b", NULL);
    g_autofree char *file = g_build_filename(last, "file", NULL);
    g_autofree char *below_file = g_build_filename(file, "c", NULL);
    struct stat st;

    g_assert_cmpint(folder_make(last), ==, 0);
    g_assert_cmpint(stat(last, &st), ==, 0);
    g_assert_cmphex(st.st_mode & 07777, ==, 0700);
    g_assert_cmpint(folder_make(last), ==, 0); /* it is there */
    g_assert_true(g_file_set_contents(file, "", 0, NULL));
    g_assert_cmpint(folder_make(file), ==, -ENOTDIR);
    g_assert_cmpint(folder_make(below_file), ==, -ENOTDIR);
    g_assert_cmpint(g_unlink(file), ==, 0);
    g_assert_cmpint(g_rmdir(last), ==, 0);
    g_assert_cmpint(g_rmdir(middle), ==, 0);
    g_assert_cmpint(g_rmdir(top), ==, 0);
}

int main(int argc, char **argv)
{
    g_setenv("XDG_CONFIG_HOME", "/c", TRUE); /* before glib looks */
    g_setenv("XDG_STATE_HOME", "/s", TRUE);
    g_setenv("XDG_DATA_HOME", "/d", TRUE);
    g_setenv("XDG_RUNTIME_DIR", "/r", TRUE);
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/folders/of-root", test_of_root);
    g_test_add_func("/folders/of-user", test_of_user);
    g_test_add_func("/folders/make", test_make);
    return g_test_run();
}
