// SPDX-License-Identifier: LGPL-2.1-or-later
/* LUNs, opened at start and closed in the end: target.h. */
#include "target.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <glib.h>
#include <openssl/crypto.h>

/* NAA 3h, locally assigned (SPC-4, 7.8.6.6.4): a hash of the target's name and the number. */
static void make_id(const struct target *target, struct lun *lun)
{
    g_autofree char *text = g_strdup_printf("%s/%u", target->config->name, lun->number);
    g_autoptr(GChecksum) sum = g_checksum_new(G_CHECKSUM_SHA256);
    uint8_t hash[32];
    gsize len = sizeof hash;

    g_checksum_update(sum, (const guchar *)text, -1);
    g_checksum_get_digest(sum, hash, &len);
    memcpy(lun->id, hash, sizeof lun->id);
    lun->id[0] = (uint8_t)(0x30 | (lun->id[0] & 0x0F));
}

/* A disk that is made now has nothing to do with one that was there before. */
static int prepare_state(const struct target *target, const struct lun_settings *settings,
                         const char *path, char *message, size_t size)
{
    int error = target->keeps_no_state ? 0 : state_make_folder(path);

    if (!error && settings->bytes > 0 && access(settings->path, F_OK) != 0 && errno == ENOENT)
        error = state_remove(path);
    if (error)
        snprintf(message, size, "%s: %s", path, strerror(-error));
    return error;
}

static int open_lease(const struct target *target, struct lun *lun, const char *path, char *message,
                      size_t size)
{
    g_autofree char *name = g_strdup_printf("LUN %u", lun->number);
    const struct lease_settings settings = {
        .name = name,
        .state_path = path,
        .must_exist = target->keeps_no_state,
        .timeout_us = target->config->lease_timeout_s * UINT64_C(1000000),
    };

    lun->lease = lease_new(&settings, lun->backend, message, size);
    return lun->lease ? 0 : -1;
}

static int open_lun(struct target *target, struct lun *lun, const struct lun_settings *settings,
                    char *message, size_t size)
{
    g_autofree char *state = NULL;

    lun->sealed = !settings->plain;
    lun->block_bytes = lun->sealed ? WIRE_BLOCK_BYTES : PLAIN_BLOCK_BYTES;
    if (lun->sealed)
        state = state_path(settings->path, target->config->state_folder, message, size);
    else
        state = reservations_path(settings->path, target->config->state_folder, message, size);
    if (!state || prepare_state(target, settings, state, message, size) != 0)
        return -1;
    lun->backend = backend_file_open(settings->path, settings->bytes, message, size);
    if (!lun->backend)
        return -1;
    lun->blocks = lun->backend->bytes / lun->block_bytes;
    if (lun->blocks == 0 || (lun->sealed && lun->blocks > WIRE_LBA_MAX)) {
        snprintf(message, size, "%s: %s; see size=", settings->path,
                 lun->blocks == 0 ? "is smaller than a block" : "is larger than 1 PiB");
        return -1;
    }
    make_id(target, lun);
    if (lun->sealed)
        return open_lease(target, lun, state, message, size);
    lun->unit = unit_new(state, settings->read_only, message, size);
    return lun->unit ? 0 : -1;
}

static int compare_numbers(const void *a, const void *b)
{
    const struct lun_settings *const *left = a, *const *right = b;

    return (int)(*left)->number - (int)(*right)->number;
}

int target_open_luns(struct target *target, char *message, size_t size)
{
    g_autoptr(GPtrArray) sorted = g_ptr_array_copy(target->config->luns, NULL, NULL);
    int error = 0;

    g_ptr_array_set_free_func(sorted, NULL);
    g_ptr_array_sort(sorted, compare_numbers);
    target->luns = g_new0(struct lun, sorted->len);
    while (target->lun_count < sorted->len && !error) {
        struct lun *lun = &target->luns[target->lun_count];

        lun->index = target->lun_count++;
        lun->settings = sorted->pdata[lun->index];
        lun->number = lun->settings->number;
        error = open_lun(target, lun, lun->settings, message, size);
    }
    return error;
}

int target_close(struct target *target, char *message, size_t size)
{
    int result = 0;

    for (unsigned i = 0; i < target->lun_count; i++) {
        struct lun *lun = &target->luns[i];
        int error;

        lease_free(lun->lease);
        unit_free(lun->unit);
        if (!lun->backend)
            continue;
        error = lun->backend->operations->flush(lun->backend);
        if (error) {
            snprintf(message, size, "LUN %u: the last flush failed: %s", lun->number,
                     strerror(-error));
            result = -1;
        }
        lun->backend->operations->close(lun->backend);
    }
    g_free(target->luns);
    OPENSSL_cleanse(target->key, sizeof target->key);
    return result;
}

struct lun *target_lun(const struct target *target, unsigned number)
{
    for (unsigned i = 0; i < target->lun_count; i++)
        if (target->luns[i].number == number)
            return &target->luns[i];
    return NULL;
}

bool target_shows(const struct lun *lun, const struct user *user)
{
    char **names = lun->settings->users;

    return !names || (user && g_strv_contains((const char *const *)names, user->name));
}

static bool is_listed(const struct lun *lun, const struct initiator *initiator)
{
    char **names = lun->settings->initiators;

    return !names || g_strv_contains((const char *const *)names, initiator->name);
}

bool target_allows(const struct target *target, const struct lun *lun, const uint8_t key[KEY_BYTES])
{
    const GPtrArray *initiators = target->config->initiators;

    for (unsigned i = 0; i < initiators->len; i++) {
        const struct initiator *initiator = initiators->pdata[i];

        if (CRYPTO_memcmp(initiator->key, key, KEY_BYTES) == 0 && is_listed(lun, initiator))
            return true;
    }
    return false;
}

struct sense target_write_sense(int error)
{
    if (error == 0)
        return SENSE_NONE;
    return error == -ENOSPC || error == -EDQUOT ? SENSE_SPACE_ALLOCATION : SENSE_WRITE_ERROR;
}
