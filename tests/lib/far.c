// SPDX-License-Identifier: LGPL-2.1-or-later
#include "far.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <glib/gstdio.h>

/* Private and public keys (X25519): RFC 7748, section 6.1. */
const uint8_t alice_private[32] = {0x77, 0x07, 0x6d, 0x0a, 0x73, 0x18, 0xa5, 0x7d, 0x3c, 0x16, 0xc1,
                                   0x72, 0x51, 0xb2, 0x66, 0x45, 0xdf, 0x4c, 0x2f, 0x87, 0xeb, 0xc0,
                                   0x99, 0x2a, 0xb1, 0x77, 0xfb, 0xa5, 0x1d, 0xb9, 0x2c, 0x2a};
const uint8_t alice_public[32] = {0x85, 0x20, 0xf0, 0x09, 0x89, 0x30, 0xa7, 0x54, 0x74, 0x8b, 0x7d,
                                  0xdc, 0xb4, 0x3e, 0xf7, 0x5a, 0x0d, 0xbf, 0x3a, 0x0d, 0x26, 0x38,
                                  0x1a, 0xf4, 0xeb, 0xa4, 0xa9, 0x8e, 0xaa, 0x9b, 0x4e, 0x6a};
const uint8_t bob_private[32] = {0x5d, 0xab, 0x08, 0x7e, 0x62, 0x4a, 0x8a, 0x4b, 0x79, 0xe1, 0x7f,
                                 0x8b, 0x83, 0x80, 0x0e, 0xe6, 0x6f, 0x3b, 0xb1, 0x29, 0x26, 0x18,
                                 0xb6, 0xfd, 0x1c, 0x2f, 0x8b, 0x27, 0xff, 0x88, 0xe0, 0xeb};
const uint8_t bob_public[32] = {0xde, 0x9e, 0xdb, 0x7d, 0x7b, 0x7d, 0xc1, 0xb4, 0xd3, 0x5b, 0x61,
                                0xc2, 0xec, 0xe4, 0x35, 0x37, 0x3f, 0x83, 0x43, 0xc8, 0x5b, 0x78,
                                0x67, 0x4d, 0xad, 0xfc, 0x7e, 0x14, 0x6f, 0x88, 0x2b, 0x4f};

/* "iscsi://… target_key=…" as the target prints it */
static char *read_url(int fd)
{
    char line[512];
    size_t n = 0;

    while (n < sizeof line - 1 && read(fd, line + n, 1) == 1 && line[n] != '\n')
        n++;
    line[n] = 0;
    g_assert_true(g_str_has_prefix(line, "iscsi://"));
    *strchrnul(line, ' ') = 0;
    return g_strdup(line);
}

/* An assertion that fails must not leave a target behind. */
static void die_with_us(gpointer data)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
}

/* iscsi://127.0.0.1:PORT/… */
static uint16_t port_of(const char *url)
{
    return (uint16_t)atoi(strchr(url + strlen("iscsi://"), ':') + 1);
}

/* In its folder; on its port again, where it had one. */
void target_run(struct target *t)
{
    g_autofree char *allow = g_base64_encode(alice_public, 32);
    g_autofree char *key_file = g_build_filename(t->folder, "key", NULL);
    g_autofree char *lun = g_strdup_printf("%s,size=%u", t->disk, VOLUME_BYTES);
    g_autofree char *listen = g_strdup_printf("127.0.0.1:%u", t->port);
    char *argv[] = {getenv("ENCSAN_TARGET"),
                    "--listen",
                    listen,
                    "--name",
                    "iqn.2026-11.org.encsan:volume",
                    "--key",
                    key_file,
                    "--allow",
                    allow,
                    "--lun",
                    lun,
                    "--suite",
                    "3des",
                    "--suite",
                    "null",
                    NULL};
    GError *error = NULL;

    g_spawn_async_with_pipes(NULL, argv, NULL, G_SPAWN_DO_NOT_REAP_CHILD, die_with_us, NULL,
                             &t->pid, NULL, &t->out, NULL, &error);
    g_assert_no_error(error);
    g_free(t->url);
    t->url = read_url(t->out);
    t->port = port_of(t->url);
}

void target_start(struct target *t)
{
    g_autofree char *key = g_base64_encode(bob_private, 32);
    g_autofree char *key_file = NULL;
    GError *error = NULL;

    t->folder = g_dir_make_tmp("encsan-volume-XXXXXX", &error);
    g_assert_no_error(error);
    key_file = g_build_filename(t->folder, "key", NULL);
    t->disk = g_build_filename(t->folder, "disk", NULL);
    g_assert_true(
        g_file_set_contents_full(key_file, key, -1, G_FILE_SET_CONTENTS_NONE, 0600, &error));
    target_run(t);
}

void target_end(struct target *t, int signal)
{
    kill(t->pid, signal);
    waitpid(t->pid, NULL, 0);
    close(t->out);
    t->pid = 0;
}

void target_stop(struct target *t)
{
    g_autoptr(GDir) folder = NULL;
    const char *name;

    if (t->pid)
        target_end(t, SIGTERM);
    folder = g_dir_open(t->folder, 0, NULL);
    while ((name = g_dir_read_name(folder))) {
        g_autofree char *path = g_build_filename(t->folder, name, NULL);

        g_unlink(path);
    }
    g_rmdir(t->folder);
    g_free(t->folder);
    g_free(t->disk);
    g_free(t->url);
}

struct encsan_options options_for(const struct target *t)
{
    struct encsan_options o = {.url = t->url};

    memcpy(o.key, alice_private, 32);
    memcpy(o.target_key, bob_public, 32);
    return o;
}

struct encsan *open_volume(const struct encsan_options *o)
{
    char message[ENCSAN_MESSAGE_BYTES] = "";
    struct encsan *v = encsan_open(o, message);

    g_assert_cmpstr(message, ==, "");
    g_assert_nonnull(v);
    return v;
}

void fill(uint8_t *buf, size_t bytes, uint32_t seed)
{
    GRand *r = g_rand_new_with_seed(seed);

    for (size_t i = 0; i + 4 <= bytes; i += 4)
        memcpy(buf + i, &(uint32_t){g_rand_int(r)}, 4);
    g_rand_free(r);
}

/* Only the range is read: the whole disk, again and again, takes long. */
void assert_on_disk(const struct target *t, const uint8_t *expected, size_t bytes, size_t offset)
{
    g_autofree uint8_t *there = g_malloc(bytes);
    int fd = open(t->disk, O_RDONLY | O_CLOEXEC);
    struct stat st;

    g_assert_cmpint(fd, >=, 0);
    g_assert_cmpint(fstat(fd, &st), ==, 0);
    g_assert_cmpint(st.st_size, ==, VOLUME_BYTES);
    g_assert_cmpint(pread(fd, there, bytes, (off_t)offset), ==, bytes);
    close(fd);
    g_assert_cmpmem(there, bytes, expected, bytes);
}

/* ---- the proxy of tests/faults ---- */

void line_start(struct line *l, const struct target *t)
{
    g_autofree char *port = g_strdup_printf("%u", t->port);
    char *argv[] = {getenv("ENCSAN_PROXY"), port, NULL};
    GError *error = NULL;
    char text[64];
    size_t n = 0;

    g_spawn_async_with_pipes(NULL, argv, NULL, G_SPAWN_DO_NOT_REAP_CHILD, die_with_us, NULL,
                             &l->pid, &l->in, &l->out, NULL, &error);
    g_assert_no_error(error);
    while (n < sizeof text - 1 && read(l->out, text + n, 1) == 1 && text[n] != '\n')
        n++;
    text[n] = 0;
    g_assert_true(g_str_has_prefix(text, "port "));
    l->url = g_strdup_printf("iscsi://127.0.0.1:%s%s", text + strlen("port "),
                             strchr(t->url + strlen("iscsi://"), '/'));
}

void line_tell(struct line *l, const char *command)
{
    g_autofree char *text = g_strconcat(command, "\n", NULL);
    size_t bytes = strlen(text);

    g_assert_cmpint(write(l->in, text, bytes), ==, bytes);
}

void line_stop(struct line *l)
{
    close(l->in);
    waitpid(l->pid, NULL, 0);
    close(l->out);
    g_free(l->url);
}
