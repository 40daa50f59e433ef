// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * A target of our own: embedded.h. A thread hands what it says to our log, since
 * the terminal may be gone by then.
 */
#include "embedded.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <glib.h>

#include "folders.h"
#include "key.h"
#include "log.h"
#include "mountpoint.h"
#include "program.h"

#define TARGET_NAME "iqn.2026-11.org.encsan:embedded"
#define DEFAULT_IMAGE_BYTES (UINT64_C(64) << 30)
#define SMALLEST_IMAGE_BYTES (UINT64_C(64) << 20)

struct embedded {
    pid_t pid;
    int input;    /* its standard input: it lives as long as this is open */
    FILE *output; /* what it says, both ways: the thread's after the first line */
    bool listening;
    pthread_t listener;
    char *url;
    uint8_t key[KEY_BYTES], target_key[KEY_BYTES];
};

struct ends {
    int ours, theirs;
};

static int make_pipe(struct ends *ends, bool we_write)
{
    int fds[2];

    if (pipe2(fds, O_CLOEXEC))
        return -errno;
    ends->ours = fds[we_write ? 1 : 0];
    ends->theirs = fds[we_write ? 0 : 1];
    return 0;
}

/* Its key in a file, and what its command line says of ours. */
static int make_keys(struct embedded *embedded, const char *file, char public_text[KEY_TEXT_BYTES],
                     char message[ENCSAN_MESSAGE_BYTES])
{
    uint8_t target[KEY_BYTES], public[KEY_BYTES];
    int error;

    if (key_generate(target) || key_generate(embedded->key) || key_public(embedded->key, public)) {
        snprintf(message, ENCSAN_MESSAGE_BYTES, "no key could be made");
        return -EIO;
    }
    key_to_text(public, public_text);
    error = key_save(file, target, message, ENCSAN_MESSAGE_BYTES);
    explicit_bzero(target, sizeof(target));
    return error;
}

static int spawn_target(struct embedded *embedded, const char *image, const char *key_file,
                        const char *allow, char message[ENCSAN_MESSAGE_BYTES])
{
    g_autofree char *program = program_find_own("target", "encsan-target");
    /* it and we end together: a lease that is left over is nobody's any more */
    char *argv[] = {program,           "--listen",  "127.0.0.1:0", "--name",
                    TARGET_NAME,       "--key",     (char *)key_file, "--allow",
                    (char *)allow,     "--lun",     (char *)image, "--lease-timeout",
                    "0",               "--exit-with-stdin", NULL};
    struct ends input = {-1, -1}, output = {-1, -1};
    int error = make_pipe(&input, true);

    if (!error) {
        error = make_pipe(&output, false);
        if (error) {
            close(input.ours);
            close(input.theirs);
        }
    }
    if (error) {
        snprintf(message, ENCSAN_MESSAGE_BYTES, "%s: %s", program, g_strerror(-error));
        return error;
    }
    error = program_start(argv, input.theirs, output.theirs, output.theirs, true, &embedded->pid);
    close(input.theirs);
    close(output.theirs);
    embedded->input = input.ours;
    embedded->output = fdopen(output.ours, "r");
    if (error)
        snprintf(message, ENCSAN_MESSAGE_BYTES, "%s: %s", program, g_strerror(-error));
    return error;
}

/* "iscsi://HOST:PORT/IQN/LUN target_key=KEY" */
static bool parse_line(struct embedded *embedded, const char *line)
{
    g_auto(GStrv) words = g_strsplit(line, " ", -1);

    if (g_strv_length(words) != 2 || !g_str_has_prefix(words[0], "iscsi://") ||
        !g_str_has_prefix(words[1], "target_key=") ||
        key_from_text(words[1] + strlen("target_key="), embedded->target_key))
        return false;
    embedded->url = g_strdup(words[0]);
    return true;
}

/* Its line with the URL. What comes instead is the reason why it can't serve. */
static int read_url(struct embedded *embedded, char message[ENCSAN_MESSAGE_BYTES])
{
    char line[ENCSAN_MESSAGE_BYTES];

    snprintf(message, ENCSAN_MESSAGE_BYTES, "encsan-target ended without a word");
    while (fgets(line, sizeof(line), embedded->output)) {
        g_strchomp(line);
        if (parse_line(embedded, line))
            return 0;
        g_strlcpy(message, line, ENCSAN_MESSAGE_BYTES);
    }
    return -EIO;
}

static void *hand_on(void *opaque)
{
    struct embedded *embedded = opaque;
    char line[ENCSAN_MESSAGE_BYTES];

    while (fgets(line, sizeof(line), embedded->output))
        log_line(LOG_INFO, "%s", g_strchomp(line));
    return NULL;
}

static int start(struct embedded *embedded, const char *image, const char *folder,
                 char message[ENCSAN_MESSAGE_BYTES])
{
    g_autofree char *key_file = g_build_filename(folder, "key", NULL);
    char allow[KEY_TEXT_BYTES];
    int error = make_keys(embedded, key_file, allow, message);

    if (!error)
        error = spawn_target(embedded, image, key_file, allow, message);
    if (!error)
        error = read_url(embedded, message);
    unlink(key_file); /* read by now, or never */
    if (error)
        return error;
    error = pthread_create(&embedded->listener, NULL, hand_on, embedded);
    embedded->listening = !error;
    if (error)
        snprintf(message, ENCSAN_MESSAGE_BYTES, "no thread: %s", g_strerror(error));
    return -error;
}

struct embedded *embedded_start(const char *image, char message[ENCSAN_MESSAGE_BYTES])
{
    struct embedded *embedded = g_new0(struct embedded, 1);
    g_autofree char *folder = NULL;
    int error = mountpoint_temporary(&folder);

    embedded->input = -1;
    if (error) {
        snprintf(message, ENCSAN_MESSAGE_BYTES, "runtime folder: %s", g_strerror(-error));
    } else {
        error = start(embedded, image, folder, message);
        rmdir(folder);
    }
    if (error) {
        embedded_stop(embedded);
        return NULL;
    }
    return embedded;
}

const char *embedded_url(const struct embedded *embedded)
{
    return embedded->url;
}

void embedded_keys(const struct embedded *embedded, uint8_t key[ENCSAN_KEY_BYTES],
                   uint8_t target_key[ENCSAN_KEY_BYTES])
{
    memcpy(key, embedded->key, KEY_BYTES);
    memcpy(target_key, embedded->target_key, KEY_BYTES);
}

int embedded_stop(struct embedded *embedded)
{
    int status = 0;

    if (!embedded)
        return 0;
    if (embedded->input >= 0)
        close(embedded->input);
    if (embedded->pid > 0)
        status = program_wait(embedded->pid);
    if (embedded->listening)
        pthread_join(embedded->listener, NULL);
    if (embedded->output)
        fclose(embedded->output);
    explicit_bzero(embedded->key, sizeof(embedded->key));
    g_free(embedded->url);
    g_free(embedded);
    return status ? -EIO : 0;
}

/* ---- the default image ---- */

/* As large as the disk it lies on has room for, up to 64 GiB; it takes room only as it fills. */
static int image_size(const char *folder, uint64_t *bytes, char message[ENCSAN_MESSAGE_BYTES])
{
    struct statvfs st;
    uint64_t room;

    if (statvfs(folder, &st)) {
        int error = -errno;

        snprintf(message, ENCSAN_MESSAGE_BYTES, "%s: %s", folder, g_strerror(errno));
        return error;
    }
    room = (uint64_t)st.f_bavail * st.f_frsize >> 20 << 20;
    *bytes = MIN(room, DEFAULT_IMAGE_BYTES);
    if (*bytes >= SMALLEST_IMAGE_BYTES)
        return 0;
    snprintf(message, ENCSAN_MESSAGE_BYTES, "%s has no room for a default image", folder);
    return -ENOSPC;
}

/* Under another name until it has a file system. */
static int make_image(const char *path, uint64_t bytes, char message[ENCSAN_MESSAGE_BYTES])
{
    g_autofree char *draft = g_strdup_printf("%s.new", path);
    g_autofree char *mke2fs = program_find("mke2fs");
    /* a new file is zeros: the journal need not be zeroed, which would give it its room now */
    char *argv[] = {mke2fs, "-q", "-F", "-t", "ext4", "-b", "4096", "-E", "lazy_journal_init=1",
                    draft,  NULL};
    int fd = open(draft, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    int error = fd < 0 || ftruncate(fd, (off_t)bytes) ? -errno : 0;

    if (!error) {
        error = program_run(argv, -1, STDERR_FILENO, -1);
        if (error > 0)
            error = -EPROTO;
    }
    if (!error && (fsync(fd) || rename(draft, path)))
        error = -errno;
    if (fd >= 0)
        close(fd);
    if (!error)
        return 0;
    if (error == -EPROTO) /* which has said why */
        snprintf(message, ENCSAN_MESSAGE_BYTES, "%s: %s failed", draft, mke2fs);
    else
        snprintf(message, ENCSAN_MESSAGE_BYTES, "%s: %s", draft, g_strerror(-error));
    unlink(draft);
    return error;
}

char *embedded_default_image(char message[ENCSAN_MESSAGE_BYTES])
{
    g_autofree char *folder = folder_data();
    g_autofree char *path = g_build_filename(folder, "default.img", NULL);
    uint64_t bytes = 0;
    int error = folder_make(folder);

    if (error) {
        snprintf(message, ENCSAN_MESSAGE_BYTES, "%s: %s", folder, g_strerror(-error));
        return NULL;
    }
    if (g_file_test(path, G_FILE_TEST_EXISTS))
        return g_steal_pointer(&path);
    if (image_size(folder, &bytes, message))
        return NULL;
    log_line(LOG_NOTICE, "making your default image, %s, of %" G_GUINT64_FORMAT " MiB (sparse)",
             path, bytes >> 20);
    return make_image(path, bytes, message) ? NULL : g_steal_pointer(&path);
}
