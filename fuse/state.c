// SPDX-License-Identifier: LGPL-2.1-or-later
/* What mounts of one volume know of each other: state.h. Main thread only. */
#include "state.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <sys/file.h>
#include <glib.h>

#include "folders.h"
#include "log.h"
#include "mountpoint.h"

#define GROUP "mount"
#define POLL_US 100000 /* between two looks at the lock of a mount that is finishing */
#define LOOKS_MAX 100  /* at one of which nobody knows */

struct state {
    int lock;   /* flock'd */
    char *path; /* replaced as a whole at each change */
    GKeyFile *file;
};

static bool load(struct state *state)
{
    g_clear_pointer(&state->file, g_key_file_free);
    state->file = g_key_file_new();
    return g_key_file_load_from_file(state->file, state->path, G_KEY_FILE_NONE, NULL);
}

static bool is_finishing(struct state *state)
{
    g_autofree char *text = g_key_file_get_string(state->file, GROUP, "state", NULL);

    return !g_strcmp0(text, "finishing");
}

/* The kernel has unmounted it, but its daemon has not heard of that yet; or it
 * does not show yet; or it does not show here, in another mount namespace. */
static bool is_out_of_sight(struct state *state)
{
    g_autofree char *where = g_key_file_get_string(state->file, GROUP, "mountpoint", NULL);

    return where && !mountpoint_find(where, NULL);
}

static int store(struct state *state, const char *text, char *message, size_t size)
{
    g_autoptr(GError) error = NULL;

    g_key_file_set_string(state->file, GROUP, "state", text);
    if (g_key_file_save_to_file(state->file, state->path, &error))
        return 0;
    snprintf(message, size, "%s", error->message);
    return -EIO;
}

/* 0 with the lock; -EBUSY with a line, where it is mounted; -errno with a line. */
static int take(struct state *state, const char *name, char *message, size_t size)
{
    bool told = false;
    unsigned looks = 0;

    while (flock(state->lock, LOCK_EX | LOCK_NB)) {
        if (errno != EWOULDBLOCK) {
            int error = -errno;

            snprintf(message, size, "%s.lock: %s", state->path, g_strerror(errno));
            return error;
        }
        load(state);
        if (!is_finishing(state) && (!is_out_of_sight(state) || ++looks > LOOKS_MAX)) {
            g_autofree char *where = g_key_file_get_string(state->file, GROUP, "mountpoint", NULL);

            snprintf(message, size, "%s is already mounted on %s", name,
                     where ? where : "another folder");
            return -EBUSY;
        }
        if (!told)
            log_line(LOG_NOTICE, "waiting for the last mount of %s to finish writing", name);
        told = true;
        g_usleep(POLL_US);
    }
    load(state);
    return 0;
}

struct state *state_lock(const char *name, const char *mountpoint, char *message, size_t size)
{
    g_autofree char *folder = folder_state();
    g_autofree char *hash = g_compute_checksum_for_string(G_CHECKSUM_SHA256, name, -1);
    g_autofree char *lock = g_strdup_printf("%s/%s.lock", folder, hash);
    int error = folder_make(folder);

    if (error) {
        snprintf(message, size, "%s: %s", folder, g_strerror(-error));
        return NULL;
    }

    struct state *state = g_new0(struct state, 1);
    state->path = g_build_filename(folder, hash, NULL);
    state->lock = open(lock, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (state->lock < 0) {
        snprintf(message, size, "%s: %s", lock, g_strerror(errno));
        goto failed;
    }
    if (take(state, name, message, size))
        goto failed;

    g_key_file_set_string(state->file, GROUP, "volume", name);
    g_key_file_set_string(state->file, GROUP, "mountpoint", mountpoint);
    if (store(state, "mounted", message, size))
        goto failed;
    return state;

failed:
    state_unlock(state);
    return NULL;
}

void state_previous(const struct state *state, uint8_t id[ENCSAN_ID_BYTES])
{
    g_autofree char *text = g_key_file_get_string(state->file, GROUP, "mount_id", NULL);

    memset(id, 0, ENCSAN_ID_BYTES);
    if (!text || strlen(text) != 2 * ENCSAN_ID_BYTES ||
        strspn(text, "0123456789abcdef") != 2 * ENCSAN_ID_BYTES)
        return;
    for (int i = 0; i < ENCSAN_ID_BYTES; i++)
        id[i] = (uint8_t)(g_ascii_xdigit_value(text[2 * i]) << 4 |
                          g_ascii_xdigit_value(text[2 * i + 1]));
}

int state_mounted(struct state *state, const uint8_t id[ENCSAN_ID_BYTES], char *message,
                  size_t size)
{
    char text[2 * ENCSAN_ID_BYTES + 1];

    for (int i = 0; i < ENCSAN_ID_BYTES; i++)
        snprintf(text + 2 * i, 3, "%02x", id[i]);
    g_key_file_set_string(state->file, GROUP, "mount_id", text);
    return store(state, "mounted", message, size);
}

int state_finishing(struct state *state, char *message, size_t size)
{
    return store(state, "finishing", message, size);
}

void state_unlock(struct state *state)
{
    if (!state)
        return;
    if (state->lock >= 0)
        close(state->lock);
    g_clear_pointer(&state->file, g_key_file_free);
    g_free(state->path);
    g_free(state);
}
