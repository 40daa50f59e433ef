// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Keys as bytes, as text and in files; what a key file must not be.
 */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <glib.h>
#include <glib/gstdio.h>

#include "key.h"

/* RFC 7748, section 6.1: Alice's */
static const uint8_t alice_private[KEY_BYTES] = {
    0x77, 0x07, 0x6d, 0x0a, 0x73, 0x18, 0xa5, 0x7d, 0x3c, 0x16, 0xc1, 0x72, 0x51, 0xb2, 0x66, 0x45,
    0xdf, 0x4c, 0x2f, 0x87, 0xeb, 0xc0, 0x99, 0x2a, 0xb1, 0x77, 0xfb, 0xa5, 0x1d, 0xb9, 0x2c, 0x2a};
static const uint8_t alice_public[KEY_BYTES] = {
    0x85, 0x20, 0xf0, 0x09, 0x89, 0x30, 0xa7, 0x54, 0x74, 0x8b, 0x7d, 0xdc, 0xb4, 0x3e, 0xf7, 0x5a,
    0x0d, 0xbf, 0x3a, 0x0d, 0x26, 0x38, 0x1a, 0xf4, 0xeb, 0xa4, 0xa9, 0x8e, 0xaa, 0x9b, 0x4e, 0x6a};
#define ALICE_TEXT "dwdtCnMYpX08FsFyUbJmRd9ML4frwJkqsXf7pR25LCo="

static char *folder; /* the tests' own */

static void test_public(void)
{
    uint8_t out[KEY_BYTES], other[KEY_BYTES];

    g_assert_cmpint(key_public(alice_private, out), ==, 0);
    g_assert_cmpmem(out, KEY_BYTES, alice_public, KEY_BYTES);
    g_assert_cmpint(key_generate(out), ==, 0);
    g_assert_cmpint(key_generate(other), ==, 0);
    g_assert_cmpint(memcmp(out, other, KEY_BYTES), !=, 0);
}

static void test_text(void)
{
    static const char *const bad[] = {
        "",
        "dwdtCnMYpX08FsFyUbJmRd9ML4frwJkqsXf7pR25LCo",    /* no padding */
        "dwdtCnMYpX08FsFyUbJmRd9ML4frwJkqsXf7pR25LCo=\n", /* a newline */
        "dwdtCnMYpX08FsFyUbJmRd9ML4frwJkqsXf7pR25LC==",   /* 31 bytes */
        "dwdtCnMYpX08FsFyUbJmRd9ML4frwJkqsXf7pR25LCoA",   /* 33 bytes */
        "dwdtCnMYpX08FsFyUbJmRd9ML4frwJkqsXf7pR25LCp=",   /* bits behind the key */
        " wdtCnMYpX08FsFyUbJmRd9ML4frwJkqsXf7pR25LCo=",
        "dwdtCnMYpX08FsFyUbJmRd9ML4frwJkqsXf7pR25LCo\n",
        "dwdtCnMYpX08FsFyUb-mRd9ML4frwJkqsXf7pR25LCo=",
        "dwdtCnMYpX08=sFyUbJmRd9ML4frwJkqsXf7pR25LCo=",
        "============================================",
    };
    char text[KEY_TEXT_BYTES];
    uint8_t key[KEY_BYTES];

    key_to_text(alice_private, text);
    g_assert_cmpstr(text, ==, ALICE_TEXT);
    g_assert_cmpint(key_from_text(ALICE_TEXT, key), ==, 0);
    g_assert_cmpmem(key, KEY_BYTES, alice_private, KEY_BYTES);
    for (unsigned i = 0; i < G_N_ELEMENTS(bad); i++)
        g_assert_cmpint(key_from_text(bad[i], key), ==, -EINVAL);
    for (int i = 0; i < 1000; i++) { /* every character, at every place */
        uint8_t random[KEY_BYTES];

        for (int j = 0; j < KEY_BYTES; j++)
            random[j] = (uint8_t)g_test_rand_int();
        key_to_text(random, text);
        g_assert_cmpint(key_from_text(text, key), ==, 0);
        g_assert_cmpmem(key, KEY_BYTES, random, KEY_BYTES);
    }
}

/* ---- files ---- */

static void check_load_fails(const char *path, int error, const char *says)
{
    char message[512] = "";
    uint8_t key[KEY_BYTES];

    g_assert_cmpint(key_load(path, key, message, sizeof message), ==, error);
    g_assert_true(g_str_has_prefix(message, path));
    g_assert_nonnull(strstr(message, says));
    g_assert_null(strchr(message, '\n'));
}

static void test_save_and_load(void)
{
    g_autofree char *path = g_build_filename(folder, "saved", NULL), *contents = NULL;
    char message[512];
    uint8_t key[KEY_BYTES];
    struct stat st;

    g_assert_cmpint(key_save(path, alice_private, message, sizeof message), ==, 0);
    g_assert_cmpint(stat(path, &st), ==, 0);
    g_assert_cmphex(st.st_mode, ==, S_IFREG | 0600);
    g_assert_cmpuint(st.st_nlink, ==, 1);
    g_assert_true(g_file_get_contents(path, &contents, NULL, NULL));
    g_assert_cmpstr(contents, ==, ALICE_TEXT "\n");
    g_assert_cmpint(key_load(path, key, message, sizeof message), ==, 0);
    g_assert_cmpmem(key, KEY_BYTES, alice_private, KEY_BYTES);
    g_assert_cmpint(g_unlink(path), ==, 0);
    g_assert_cmpint(g_rmdir(folder), ==, 0); /* no temporary file stayed */
    g_assert_cmpint(g_mkdir(folder, 0700), ==, 0);
}

static void test_save_in_working_folder(void)
{
    g_autofree char *before = g_get_current_dir();
    char message[512];

    g_assert_cmpint(g_chdir(folder), ==, 0);
    g_assert_cmpint(key_save("here", alice_private, message, sizeof message), ==, 0);
    g_assert_cmpint(g_unlink("here"), ==, 0);
    g_assert_cmpint(g_chdir(before), ==, 0);
}

static void test_never_overwrites(void)
{
    g_autofree char *path = g_build_filename(folder, "kept", NULL), *contents = NULL;
    char message[512] = "";

    g_assert_true(g_file_set_contents(path, "precious", -1, NULL));
    g_assert_cmpint(key_save(path, alice_private, message, sizeof message), ==, -EEXIST);
    g_assert_true(g_str_has_prefix(message, path));
    g_assert_nonnull(strstr(message, "never overwritten"));
    g_assert_true(g_file_get_contents(path, &contents, NULL, NULL));
    g_assert_cmpstr(contents, ==, "precious");
    g_assert_cmpint(g_unlink(path), ==, 0);

    g_assert_cmpint(symlink("nowhere", path), ==, 0); /* nor does it follow a link */
    g_assert_cmpint(key_save(path, alice_private, message, sizeof message), ==, -EEXIST);
    g_assert_cmpint(g_unlink(path), ==, 0);
    g_assert_cmpint(g_rmdir(folder), ==, 0);
    g_assert_cmpint(g_mkdir(folder, 0700), ==, 0);
}

static void test_save_into_no_folder(void)
{
    g_autofree char *path = g_build_filename(folder, "missing", "key", NULL);
    char message[512] = "";

    g_assert_cmpint(key_save(path, alice_private, message, sizeof message), ==, -ENOENT);
    g_assert_true(g_str_has_prefix(message, path));
}

static void test_open_permissions(void)
{
    static const int modes[] = {0640, 0604, 0620, 0601, 0644};
    g_autofree char *path = g_build_filename(folder, "open", NULL);
    char message[512];
    uint8_t key[KEY_BYTES];

    g_assert_cmpint(key_save(path, alice_private, message, sizeof message), ==, 0);
    for (unsigned i = 0; i < G_N_ELEMENTS(modes); i++) {
        g_assert_cmpint(g_chmod(path, modes[i]), ==, 0);
        check_load_fails(path, -EPERM, "chmod 600");
    }
    g_assert_cmpint(g_chmod(path, 0400), ==, 0);
    g_assert_cmpint(key_load(path, key, message, sizeof message), ==, 0);
    g_assert_cmpint(g_unlink(path), ==, 0);
}

static void test_malformed(void)
{
    static const char *const bad[] = {
        "",
        "\n",
        "not a key\n",
        ALICE_TEXT "\n\n",
        ALICE_TEXT "\r\n",
        ALICE_TEXT " ",
        ALICE_TEXT "\n" ALICE_TEXT "\n",
        " " ALICE_TEXT "\n",
        "dwdtCnMYpX08FsFyUbJmRd9ML4frwJkqsXf7pR25LCp=\n",
        "-----BEGIN PRIVATE KEY-----\n" ALICE_TEXT "\n-----END PRIVATE KEY-----\n",
    };
    g_autofree char *path = g_build_filename(folder, "malformed", NULL);
    char message[512];
    uint8_t key[KEY_BYTES];

    for (unsigned i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_assert_true(
            g_file_set_contents_full(path, bad[i], -1, G_FILE_SET_CONTENTS_CONSISTENT, 0600, NULL));
        check_load_fails(path, -EINVAL, "not a private key");
    }
    g_assert_true(
        g_file_set_contents_full(path, ALICE_TEXT, -1, G_FILE_SET_CONTENTS_CONSISTENT, 0600, NULL));
    g_assert_cmpint(key_load(path, key, message, sizeof message), ==, 0); /* no newline: fine */
    g_assert_cmpint(g_unlink(path), ==, 0);
}

static void test_no_file(void)
{
    g_autofree char *path = g_build_filename(folder, "none", NULL);
    g_autofree char *sub = g_build_filename(folder, "sub", NULL);

    check_load_fails(path, -ENOENT, "keygen");
    g_assert_cmpint(g_mkdir(sub, 0700), ==, 0);
    check_load_fails(sub, -EISDIR, "directory");
    g_assert_cmpint(g_rmdir(sub), ==, 0);
}

int main(int argc, char **argv)
{
    int failed;

    g_test_init(&argc, &argv, NULL);
    folder = g_dir_make_tmp("encsan-test-key-XXXXXX", NULL);
    g_assert_nonnull(folder);
    g_test_add_func("/key/public", test_public);
    g_test_add_func("/key/text", test_text);
    g_test_add_func("/key/save-and-load", test_save_and_load);
    g_test_add_func("/key/save-in-working-folder", test_save_in_working_folder);
    g_test_add_func("/key/never-overwrites", test_never_overwrites);
    g_test_add_func("/key/save-into-no-folder", test_save_into_no_folder);
    g_test_add_func("/key/open-permissions", test_open_permissions);
    g_test_add_func("/key/malformed", test_malformed);
    g_test_add_func("/key/no-file", test_no_file);
    failed = g_test_run();
    g_rmdir(folder);
    g_free(folder);
    return failed;
}
