// SPDX-License-Identifier: LGPL-2.1-or-later
/* State files: what is saved is loaded, and nothing that is damaged. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <glib.h>
#include <glib/gstdio.h>

#include "state.h"

struct fixture {
    char *folder, *path;
    struct state state;
};

static void set_up(struct fixture *f, gconstpointer unused)
{
    GError *error = NULL;

    f->folder = g_dir_make_tmp("encsan-state-XXXXXX", &error);
    g_assert_no_error(error);
    f->path = g_build_filename(f->folder, "disk.encsan-state", NULL);
    f->state = (struct state){.starts = 7, .generation = UINT64_MAX - 1, .held = true};
    memset(f->state.volume_id, 0xA1, sizeof f->state.volume_id);
    memset(f->state.holder.key, 0xB2, sizeof f->state.holder.key);
    memset(f->state.holder.mount_id, 0xC3, sizeof f->state.holder.mount_id);
    f->state.holder.since = 1764000000;
    g_strlcpy(f->state.holder.address, "192.0.2.7:40000", sizeof f->state.holder.address);
    g_assert_cmpint(state_save(f->path, &f->state), ==, 0);
}

static void tear_down(struct fixture *f, gconstpointer unused)
{
    g_assert_cmpint(state_remove(f->path), ==, 0);
    g_assert_cmpint(state_remove(f->path), ==, 0);
    g_assert_cmpint(g_rmdir(f->folder), ==, 0); /* no draft stays behind */
    g_free(f->path);
    g_free(f->folder);
}

static void assert_loads(const struct fixture *f)
{
    char message[512] = "";
    struct state got;

    g_assert_cmpint(state_load(f->path, &got, message, sizeof message), ==, 0);
    g_assert_cmpstr(message, ==, "");
    g_assert_cmpmem(got.volume_id, WIRE_ID_BYTES, f->state.volume_id, WIRE_ID_BYTES);
    g_assert_cmpuint(got.starts, ==, f->state.starts);
    g_assert_cmpuint(got.generation, ==, f->state.generation);
    g_assert_cmpint(got.held, ==, f->state.held);
    g_assert_cmpmem(got.holder.key, WIRE_KEY_BYTES, f->state.holder.key, WIRE_KEY_BYTES);
    g_assert_cmpmem(got.holder.mount_id, WIRE_ID_BYTES, f->state.holder.mount_id, WIRE_ID_BYTES);
    g_assert_cmpuint(got.holder.since, ==, f->state.holder.since);
    g_assert_cmpstr(got.holder.address, ==, f->state.holder.address);
}

/* Without fsync, which g_file_set_contents makes: it is done thousands of times. */
static void overwrite(const struct fixture *f, const char *bytes, size_t count)
{
    int fd = open(f->path, O_WRONLY | O_TRUNC | O_CLOEXEC);

    g_assert_cmpint(fd, >=, 0);
    g_assert_cmpint(write(fd, bytes, count), ==, count);
    g_assert_cmpint(close(fd), ==, 0);
}

static void assert_damaged(const struct fixture *f, const char *bytes, size_t count)
{
    char message[512] = "";
    struct state got;

    overwrite(f, bytes, count);
    g_assert_cmpint(state_load(f->path, &got, message, sizeof message), ==, -1);
    g_assert_true(g_str_has_prefix(message, f->path));
    g_assert_nonnull(strstr(message, ": "));
}

static void test_round_trip(struct fixture *f, gconstpointer unused)
{
    struct stat st;

    assert_loads(f);
    f->state.held = false;
    f->state.generation = 3;
    g_assert_cmpint(state_save(f->path, &f->state), ==, 0);
    assert_loads(f);
    g_assert_cmpint(stat(f->path, &st), ==, 0);
    g_assert_cmpint(st.st_mode & 0777, ==, 0600);
}

static void test_none(struct fixture *f, gconstpointer unused)
{
    char message[512] = "";
    struct state got;

    g_assert_cmpint(state_remove(f->path), ==, 0);
    g_assert_cmpint(state_load(f->path, &got, message, sizeof message), ==, 1);
    g_assert_false(got.held);
    g_assert_cmpuint(got.generation, ==, 0);
}

static void test_every_flip(struct fixture *f, gconstpointer unused)
{
    g_autofree char *bytes = NULL;
    gsize count;

    g_assert_true(g_file_get_contents(f->path, &bytes, &count, NULL));
    for (gsize bit = 0; bit < 8 * count; bit++) {
        bytes[bit / 8] ^= (char)(1 << bit % 8);
        assert_damaged(f, bytes, count);
        bytes[bit / 8] ^= (char)(1 << bit % 8);
    }
    g_assert_true(g_file_set_contents(f->path, bytes, (gssize)count, NULL));
    assert_loads(f);
}

static void test_every_length(struct fixture *f, gconstpointer unused)
{
    g_autofree char *bytes = NULL, *more = NULL;
    gsize count;

    g_assert_true(g_file_get_contents(f->path, &bytes, &count, NULL));
    for (gsize n = 0; n < count; n++)
        assert_damaged(f, bytes, n);
    more = g_malloc0(count + 1);
    memcpy(more, bytes, count);
    assert_damaged(f, more, count + 1);
}

/* A crash in the middle of a save leaves a draft; the state is the old one. */
static void test_draft(struct fixture *f, gconstpointer unused)
{
    g_autofree char *draft = g_strconcat(f->path, ".new", NULL);

    g_assert_true(g_file_set_contents(draft, "half", 4, NULL));
    assert_loads(f);
    f->state.starts++;
    g_assert_cmpint(state_save(f->path, &f->state), ==, 0);
    assert_loads(f);
    g_assert_false(g_file_test(draft, G_FILE_TEST_EXISTS));
}

static void test_cannot_be_saved(struct fixture *f, gconstpointer unused)
{
    g_autofree char *nowhere = g_build_filename(f->folder, "none", "state", NULL);

    g_assert_cmpint(state_save(nowhere, &f->state), ==, -ENOENT);
    assert_loads(f);
}

static void test_names(struct fixture *f, gconstpointer unused)
{
    g_autofree char *disk = g_build_filename(f->folder, "disk", NULL);
    g_autofree char *link = g_build_filename(f->folder, "link", NULL);
    g_autofree char *folder = g_build_filename(f->folder, "states", NULL);
    g_autofree char *none = g_build_filename(f->folder, "no", "disk", NULL);
    char message[512] = "";
    char *path = state_path(disk, NULL, message, sizeof message); /* the disk is not there yet */

    g_assert_cmpstr(path, ==, f->path);
    g_free(path);
    g_assert_true(g_file_set_contents(disk, "", 0, NULL));
    g_assert_cmpint(symlink(disk, link), ==, 0);
    path = state_path(link, NULL, message, sizeof message);
    g_assert_cmpstr(path, ==, f->path);
    g_free(path);
    path = state_path(link, folder, message, sizeof message);
    g_assert_true(g_str_has_prefix(path, folder));
    g_assert_cmpint(state_make_folder(path), ==, 0);
    g_assert_cmpint(state_make_folder(path), ==, 0);
    g_assert_true(g_str_has_suffix(path, "%2Fdisk.encsan-state"));
    g_free(path);
    g_assert_cmpstr(message, ==, "");
    g_assert_null(state_path(none, NULL, message, sizeof message));
    g_assert_true(g_str_has_prefix(message, none));
    g_assert_cmpint(g_unlink(link) | g_unlink(disk) | g_rmdir(folder), ==, 0);
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*run)(struct fixture *f, gconstpointer unused);
    } tests[] = {
        {"/state/round-trip", test_round_trip},
        {"/state/none", test_none},
        {"/state/every-flip", test_every_flip},
        {"/state/every-length", test_every_length},
        {"/state/draft", test_draft},
        {"/state/cannot-be-saved", test_cannot_be_saved},
        {"/state/names", test_names},
    };

    g_test_init(&argc, &argv, NULL);
    for (size_t i = 0; i < G_N_ELEMENTS(tests); i++)
        g_test_add(tests[i].name, struct fixture, NULL, set_up, tests[i].run, tear_down);
    return g_test_run();
}
