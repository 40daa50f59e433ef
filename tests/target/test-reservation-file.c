// SPDX-License-Identifier: LGPL-2.1-or-later
/* Reservations in their file, cut or flipped anywhere: never another's, and none that are gone. */
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include <glib.h>
#include <glib/gstdio.h>

#include "reservation.h"

struct fixture {
    char *folder, *path, *bytes;
    gsize count;
    struct reservations *expected;
};

static struct port port_of(char who)
{
    struct port port = {.isid = {0x80, 1, 2, 3, 4, (uint8_t)who}};

    g_snprintf(port.name, sizeof port.name, "iqn.2026-11.org.example:%c", who);
    return port;
}

static struct reservations *open_file(const struct fixture *f)
{
    char message[512] = "";
    struct reservations *r = reservations_open(f->path, message, sizeof message);

    g_assert_true(r || (g_str_has_prefix(message, f->path) && strstr(message, "damaged")));
    return r;
}

static void set_up(struct fixture *f, gconstpointer unused)
{
    GError *error = NULL;

    f->folder = g_dir_make_tmp("encsan-reservations-XXXXXX", &error);
    g_assert_no_error(error);
    f->path = g_build_filename(f->folder, "disk.encsan-reservations", NULL);
    f->expected = open_file(f);
    f->expected->persist = true;
    f->expected->generation = 7;
    f->expected->type = EXCLUSIVE_ACCESS;
    f->expected->holder = port_of('a');
    f->expected->count = 2;
    f->expected->registrations[0] = (struct registration){0xA11CE, port_of('a')};
    f->expected->registrations[1] = (struct registration){0xB0B, port_of('b')};
    g_assert_cmpint(reservations_save(f->expected), ==, 0);
    g_assert_true(g_file_get_contents(f->path, &f->bytes, &f->count, NULL));
}

static void tear_down(struct fixture *f, gconstpointer unused)
{
    g_assert_cmpint(g_unlink(f->path) | g_rmdir(f->folder), ==, 0);
    reservations_close(f->expected);
    g_free(f->bytes);
    g_free(f->path);
    g_free(f->folder);
}

static void assert_expected(const struct fixture *f, const struct reservations *r)
{
    const struct reservations *e = f->expected;

    g_assert_cmpuint(r->generation, ==, e->generation);
    g_assert_cmpint(r->type, ==, e->type);
    g_assert_true(port_equal(&r->holder, &e->holder));
    g_assert_cmpuint(r->count, ==, e->count);
    for (unsigned i = 0; i < e->count; i++) {
        g_assert_cmphex(r->registrations[i].key, ==, e->registrations[i].key);
        g_assert_true(port_equal(&r->registrations[i].port, &e->registrations[i].port));
    }
}

/* The last newline may be another white space, or missing. Returns whether it was refused. */
static bool check(const struct fixture *f, gsize count)
{
    int fd = open(f->path, O_WRONLY | O_TRUNC | O_CLOEXEC);
    struct reservations *r;
    bool refused;

    g_assert_cmpint(write(fd, f->bytes, count), ==, count);
    g_assert_cmpint(close(fd), ==, 0);
    r = open_file(f);
    refused = r == NULL;
    if (r)
        assert_expected(f, r);
    reservations_close(r);
    return refused;
}

static void test_whole(struct fixture *f, gconstpointer unused)
{
    g_assert_false(check(f, f->count));
}

static void test_every_flip(struct fixture *f, gconstpointer unused)
{
    for (gsize bit = 0; bit < 8 * f->count; bit++) {
        f->bytes[bit / 8] ^= (char)(1 << bit % 8);
        g_assert_true(check(f, f->count) || bit / 8 == f->count - 1);
        f->bytes[bit / 8] ^= (char)(1 << bit % 8);
    }
}

static void test_every_length(struct fixture *f, gconstpointer unused)
{
    for (gsize n = 0; n < f->count - 1; n++)
        g_assert_true(check(f, n));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add("/reservation-file/whole", struct fixture, NULL, set_up, test_whole, tear_down);
    g_test_add("/reservation-file/every-flip", struct fixture, NULL, set_up, test_every_flip,
               tear_down);
    g_test_add("/reservation-file/every-length", struct fixture, NULL, set_up, test_every_length,
               tear_down);
    return g_test_run();
}
