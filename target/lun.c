// SPDX-License-Identifier: LGPL-2.1-or-later
/* Opening, growing and closing LUNs: lun.h. */
#include "lun.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <glib.h>

#include "target.h"

#define PLAIN_BLOCK_BYTES 512 /* of a disk that is not there yet */

/* ---- opening ---- */

/* NAA 3h, locally assigned (SPC-4, 7.8.6.6.4): a hash of the target's name and the number. */
static void make_id(struct lun *lun)
{
    g_autofree char *text = g_strdup_printf("%s/%u", lun->target_name, lun->number);
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

static int open_lease(const struct target *target, const struct config *config, struct lun *lun,
                      const char *path, char *message, size_t size)
{
    g_autofree char *name = g_strdup_printf("LUN %s", lun->label);
    const struct lease_settings settings = {
        .name = name,
        .state_path = path,
        .must_exist = target->keeps_no_state,
        .timeout_us = config->lease_timeout_s * UINT64_C(1000000),
    };

    lun->lease = lease_new(&settings, lun->backend, message, size);
    return lun->lease ? 0 : -1;
}

static int check_size(const struct lun *lun, char *message, size_t size)
{
    uint64_t blocks = lun->backend->bytes / lun->block_bytes;

    if (backend_is_upstream(lun->path))
        return 0; /* it looks at that itself, whenever it comes */
    if (blocks > 0 && (!lun->sealed || blocks <= WIRE_LBA_MAX))
        return 0;
    snprintf(message, size, "%s: %s; see size=", lun->path,
             blocks == 0 ? "is smaller than a block" : "is larger than 1 PiB");
    return -1;
}

/* A disk that may be away has workers of its own: those that wait for it are
 * missed by nobody else. */
static struct backend *open_backend(const struct target *target, struct lun *lun,
                                    const struct lun_settings *settings, char *message, size_t size)
{
    g_autofree char *name = g_strdup_printf("LUN %s", lun->label);
    const struct upstream_settings upstream = {
        .name = name,
        .url = lun->path,
        .password_file = settings->password_file,
        .initiator = lun->target_name,
        .isid = g_str_hash(lun->path) & 0xffffff,
        .bytes_max = lun->sealed ? WIRE_LBA_MAX * WIRE_BLOCK_BYTES : UINT64_MAX,
    };

    lun->workers = target->workers;
    if (!backend_is_upstream(lun->path))
        return backend_file_open(lun->path, settings->bytes, message, size);
    lun->own_workers = workers_new("upstream", UPSTREAM_WORKERS);
    lun->workers = lun->own_workers;
    if (lun->own_workers)
        return backend_iscsi_open(&upstream, message, size);
    snprintf(message, size, "%s: out of memory or threads", name);
    return NULL;
}

static int open_disk(const struct target *target, const struct config *config, struct lun *lun,
                     const struct lun_settings *settings, char *message, size_t size)
{
    g_autofree char *state = NULL;

    if (lun->sealed)
        state = state_path(lun->path, config->state_folder, message, size);
    else
        state = reservations_path(lun->path, config->state_folder, message, size);
    if (!state || prepare_state(target, settings, state, message, size) != 0)
        return -1;
    lun->backend = open_backend(target, lun, settings, message, size);
    if (!lun->backend)
        return -1;
    lun->block_bytes = lun->sealed ? WIRE_BLOCK_BYTES : PLAIN_BLOCK_BYTES;
    if (check_size(lun, message, size) != 0)
        return -1;
    lun_look_for_disk(lun);
    if (lun->sealed)
        return open_lease(target, config, lun, state, message, size);
    lun->unit = unit_new(state, lun->backend, settings->read_only, message, size);
    return lun->unit ? 0 : -1;
}

struct lun *lun_open(const struct target *target, const struct config *config,
                     const struct lun_settings *settings, char *message, size_t size)
{
    static atomic_uint opened;
    struct lun *lun = g_new0(struct lun, 1);
    g_autofree char *where = config_where(config, settings);
    char wrong[512], unused[256];

    atomic_init(&lun->references, 1);
    lun->number = settings->number;
    lun->index = atomic_fetch_add(&opened, 1);
    lun->target_name = g_strdup(config_target(config, settings->target)->name);
    lun->label = config_lun_label(settings);
    lun->path = g_strdup(settings->path);
    lun->sealed = !settings->plain;
    lun->settings = settings;
    make_id(lun);
    if (open_disk(target, config, lun, settings, wrong, sizeof wrong) == 0)
        return lun;
    snprintf(message, size, "%s%s", where, wrong);
    if (lun->backend)
        lun_close(lun, unused, sizeof unused);
    lun_unref(lun);
    return NULL;
}

/* ---- growing ---- */

int lun_grow(struct lun *lun, const struct lun_settings *settings, bool *grown, char *message,
             size_t size)
{
    struct backend *backend = lun->backend;

    *grown = false;
    lun_look_for_disk(lun);
    if (backend->operations->grow(backend, settings->bytes, message, size) != 0 ||
        check_size(lun, message, size) != 0)
        return -1;
    *grown = backend->bytes / lun->block_bytes > lun->blocks;
    return 0;
}

void lun_show_size(struct lun *lun)
{
    lun->blocks = lun->backend->bytes / lun->block_bytes;
}

/* ---- coming ---- */

void lun_look_for_disk(struct lun *lun)
{
    uint64_t bytes = lun->backend->bytes, none = 0;

    if (bytes == 0 || lun->blocks > 0)
        return;
    if (!lun->sealed)
        lun->block_bytes = lun->backend->block_bytes;
    /* several may look, and a reload make it larger meanwhile */
    if (atomic_compare_exchange_strong(&lun->blocks, &none, bytes / lun->block_bytes) && lun->unit)
        unit_has_grown(lun->unit);
}

void lun_await_disk(struct lun *lun, uint64_t until_us)
{
    if (lun->backend->operations->await)
        lun->backend->operations->await(lun->backend, until_us);
    lun_look_for_disk(lun);
}

bool lun_report_disk(struct lun *lun, struct backend_report *report)
{
    if (!lun->backend->operations->report)
        return false;
    lun_look_for_disk(lun);
    lun->backend->operations->report(lun->backend, report);
    return true;
}

/* ---- the end ---- */

void lun_give_up(struct lun *lun)
{
    if (lun->backend->operations->give_up)
        lun->backend->operations->give_up(lun->backend);
}

int lun_close(struct lun *lun, char *message, size_t size)
{
    int error;

    lun_give_up(lun);
    if (lun->lease)
        lease_close(lun->lease);
    if (lun->unit)
        unit_close(lun->unit);
    error = lun->backend->operations->flush(lun->backend);
    if (error)
        snprintf(message, size, "LUN %s: the last flush failed: %s", lun->label, strerror(-error));
    lun->backend->operations->close(lun->backend);
    lun->backend = NULL;
    return error ? -1 : 0;
}

struct lun *lun_ref(struct lun *lun)
{
    atomic_fetch_add(&lun->references, 1);
    return lun;
}

void lun_unref(struct lun *lun)
{
    if (!lun || atomic_fetch_sub(&lun->references, 1) > 1)
        return;
    if (lun->own_workers)
        workers_free(lun->own_workers);
    lease_free(lun->lease);
    unit_free(lun->unit);
    g_free(lun->target_name);
    g_free(lun->label);
    g_free(lun->path);
    g_free(lun);
}
