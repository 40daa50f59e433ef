// SPDX-License-Identifier: LGPL-2.1-or-later
/* State files: state.h. Written under another name, made durable, renamed. */
#include "state.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <glib.h>

#include "backend.h"

#define SUFFIX ".encsan-state"
/* For devices, beside which a state would not outlive a boot, and for disks elsewhere. */
#define DEVICES_FOLDER "/var/lib/encsan-target"
#define HASH_BYTES 32

static const uint8_t magic[8] = "ENCSANst";

struct image { /* as it is in the file; integers are big-endian */
    uint8_t magic[8];
    uint8_t version[4];
    uint8_t starts[4];
    uint8_t volume_id[WIRE_ID_BYTES];
    uint8_t generation[8];
    uint8_t held[8]; /* 0 or 1 */
    uint8_t key[WIRE_KEY_BYTES];
    uint8_t mount_id[WIRE_ID_BYTES];
    uint8_t since[8];
    uint8_t address[64];
    uint8_t hash[HASH_BYTES]; /* SHA-256 of what is before it */
};
_Static_assert(sizeof(struct image) == 200, "state file");

#define VERSION 1

/* ---- the name ---- */

/* Of a disk that is not there yet: where it is going to be. Of an URL: without
 * the user, who may change. */
static char *resolve(const char *disk)
{
    g_autofree char *folder = g_path_get_dirname(disk), *name = g_path_get_basename(disk);
    const char *at = strrchr(disk, '@');
    g_autofree char *resolved = NULL;
    char *path;

    if (backend_is_upstream(disk))
        return at ? g_strconcat(UPSTREAM_SCHEME, at + 1, NULL) : g_strdup(disk);
    path = realpath(disk, NULL);
    if (path || errno != ENOENT)
        return path;
    resolved = realpath(folder, NULL);
    return resolved ? g_build_filename(resolved, name, NULL) : NULL;
}

static bool is_device(const char *path)
{
    struct stat st;

    return backend_is_upstream(path) || (stat(path, &st) == 0 && S_ISBLK(st.st_mode));
}

char *state_path_with(const char *suffix, const char *disk, const char *folder, char *message,
                      size_t size)
{
    g_autofree char *resolved = resolve(disk), *name = NULL, *file = NULL;

    if (!resolved) {
        snprintf(message, size, "%s: %s", disk, strerror(errno));
        return NULL;
    }
    if (!folder && !is_device(resolved))
        return g_strconcat(resolved, suffix, NULL);
    name = g_uri_escape_string(resolved, NULL, FALSE); /* two disks never share a name */
    file = g_strconcat(name, suffix, NULL);
    return g_build_filename(folder ? folder : DEVICES_FOLDER, file, NULL);
}

char *state_path(const char *disk, const char *folder, char *message, size_t size)
{
    return state_path_with(SUFFIX, disk, folder, message, size);
}

int state_make_folder(const char *path)
{
    g_autofree char *folder = g_path_get_dirname(path);

    return g_mkdir_with_parents(folder, 0700) == 0 ? 0 : -errno;
}

/* ---- the bytes ---- */

static void make_hash(const struct image *image, uint8_t hash[HASH_BYTES])
{
    g_autoptr(GChecksum) sum = g_checksum_new(G_CHECKSUM_SHA256);
    gsize bytes = HASH_BYTES;

    g_checksum_update(sum, (const guchar *)image, offsetof(struct image, hash));
    g_checksum_get_digest(sum, hash, &bytes);
}

static void encode(const struct state *state, struct image *image)
{
    memset(image, 0, sizeof *image);
    memcpy(image->magic, magic, sizeof magic);
    wire_put32(image->version, VERSION);
    wire_put32(image->starts, state->starts);
    memcpy(image->volume_id, state->volume_id, WIRE_ID_BYTES);
    wire_put64(image->generation, state->generation);
    wire_put64(image->held, state->held);
    memcpy(image->key, state->holder.key, WIRE_KEY_BYTES);
    memcpy(image->mount_id, state->holder.mount_id, WIRE_ID_BYTES);
    wire_put64(image->since, state->holder.since);
    memcpy(image->address, state->holder.address, sizeof image->address);
    make_hash(image, image->hash);
}

/* NULL, or what is wrong. */
static const char *decode(const struct image *image, struct state *state)
{
    uint8_t hash[HASH_BYTES];

    make_hash(image, hash);
    if (memcmp(image->magic, magic, sizeof magic) != 0)
        return "no state of an encsan-target";
    if (memcmp(image->hash, hash, sizeof hash) != 0)
        return "damaged: its checksum is wrong";
    if (wire_get32(image->version) != VERSION)
        return "of another version of encsan-target";
    state->starts = wire_get32(image->starts);
    memcpy(state->volume_id, image->volume_id, WIRE_ID_BYTES);
    state->generation = wire_get64(image->generation);
    state->held = wire_get64(image->held) != 0;
    memcpy(state->holder.key, image->key, WIRE_KEY_BYTES);
    memcpy(state->holder.mount_id, image->mount_id, WIRE_ID_BYTES);
    state->holder.since = wire_get64(image->since);
    memcpy(state->holder.address, image->address, sizeof image->address);
    return NULL;
}

/* ---- the file ---- */

/* How many bytes there are, at most `size`; or -errno. */
static ssize_t read_all(int fd, void *buf, size_t size)
{
    size_t bytes = 0;

    while (bytes < size) {
        ssize_t n = read(fd, (char *)buf + bytes, size - bytes);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        if (n == 0)
            break;
        bytes += (size_t)n;
    }
    return (ssize_t)bytes;
}

int state_load(const char *path, struct state *state, char *message, size_t size)
{
    uint8_t bytes[sizeof(struct image) + 1]; /* one more, to see that there is none */
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    const char *wrong;
    ssize_t n;

    memset(state, 0, sizeof *state);
    if (fd < 0 && errno == ENOENT)
        return 1;
    n = fd < 0 ? -errno : read_all(fd, bytes, sizeof bytes);
    if (fd >= 0)
        close(fd);
    if (n < 0)
        wrong = strerror((int)-n);
    else if (n != sizeof(struct image))
        wrong = "damaged: its length is wrong";
    else
        wrong = decode((const struct image *)bytes, state);
    if (!wrong)
        return 0;
    snprintf(message, size,
             "%s: %s; it says who may write to the disk: once no mount of it is left, remove it",
             path, wrong);
    return -1;
}

static int sync_folder_of(const char *path)
{
    g_autofree char *folder = g_path_get_dirname(path);
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC), error;

    if (fd < 0)
        return -errno;
    error = fsync(fd) == 0 ? 0 : -errno;
    close(fd);
    return error;
}

static int write_durably(const char *path, const struct image *image)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600), error = 0;
    ssize_t n;

    if (fd < 0)
        return -errno;
    n = write(fd, image, sizeof *image);
    if (n < 0 || fsync(fd) != 0)
        error = -errno;
    else if (n != sizeof *image)
        error = -ENOSPC;
    if (close(fd) != 0 && !error)
        error = -errno;
    return error;
}

int state_save(const char *path, const struct state *state)
{
    g_autofree char *draft = g_strconcat(path, ".new", NULL);
    struct image image;
    int error;

    encode(state, &image);
    error = write_durably(draft, &image);
    if (!error && rename(draft, path) != 0)
        error = -errno;
    return error ? error : sync_folder_of(path); /* a draft that stays is written anew */
}

int state_remove(const char *path)
{
    if (unlink(path) != 0)
        return errno == ENOENT ? 0 : -errno;
    return sync_folder_of(path);
}
