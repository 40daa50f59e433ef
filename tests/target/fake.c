// SPDX-License-Identifier: LGPL-2.1-or-later
/* A lease by itself: fake.h. */
#include "fake.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>

#include <glib/gstdio.h>

/* ---- the disk ---- */

static int fake_flush(struct backend *backend)
{
    struct disk *disk = (struct disk *)backend;

    int error = atomic_load(&disk->error);

    atomic_fetch_add(&disk->flushes, 1);
    if (error && error != -EAGAIN)
        atomic_fetch_add(&backend->losses, 1);
    return error;
}

static const struct backend_operations operations = {.flush = fake_flush};

/* ---- the lease ---- */

void fixture_set_up(struct fixture *f, gconstpointer unused)
{
    GError *error = NULL;

    memset(f, 0, sizeof *f);
    f->folder = g_dir_make_tmp("encsan-lease-XXXXXX", &error);
    g_assert_no_error(error);
    f->path = g_build_filename(f->folder, "state", NULL);
    f->disk.backend.operations = &operations;
}

void fixture_tear_down(struct fixture *f, gconstpointer unused)
{
    fixture_end(f);
    g_unlink(f->path);
    g_assert_cmpint(g_rmdir(f->folder), ==, 0);
    g_free(f->path);
    g_free(f->folder);
}

void fixture_start(struct fixture *f, uint64_t timeout_us)
{
    const struct lease_settings settings = {
        .name = "LUN 1", .state_path = f->path, .timeout_us = timeout_us};

    fixture_end(f);
    f->lease = lease_new(&settings, &f->disk.backend, f->message, sizeof f->message);
}

void fixture_end(struct fixture *f)
{
    if (f->lease)
        g_assert_cmpuint(lease_audit(f->lease).twice, ==, 0);
    lease_free(f->lease);
    f->lease = NULL;
}

/* ---- mounts ---- */

void mount_init(struct mount *m, const struct fixture *f, char key, uint8_t id)
{
    memset(m, 0, sizeof *m);
    g_assert_nonnull(f->lease);
    m->lease = f->lease;
    m->hello.version = WIRE_VERSION;
    memset(m->hello.mount_id, id, WIRE_ID_BYTES);
    memset(m->grant.who.key, key, WIRE_KEY_BYTES);
    memset(m->grant.who.mount_id, id, WIRE_ID_BYTES);
    g_snprintf(m->grant.who.address, sizeof m->grant.who.address, "%c-%u", key, id);
    m->grant.who.since = id;
    m->grant.session = m;
}

struct wire_welcome mount_describe(struct mount *m, enum wire_intent intent, uint64_t generation)
{
    struct wire_welcome welcome;

    memset(&welcome, 0, sizeof welcome);
    m->hello.intent = (uint8_t)intent;
    wire_put64(m->hello.generation, generation);
    lease_describe(m->lease, &m->hello, m->grant.who.key, &welcome);
    return welcome;
}

enum wire_refusal mount_take(struct mount *m, enum wire_intent intent, uint64_t generation)
{
    struct wire_welcome welcome = mount_describe(m, intent, generation);

    if (welcome.refusal != WIRE_ACCEPTED)
        return welcome.refusal;
    lease_attach(m->lease, &m->grant, &m->hello, wire_get64(welcome.generation));
    if (m->grant.state != WIRE_LEASE_FENCED)
        return WIRE_ACCEPTED;
    mount_end_session(m);
    return WIRE_REFUSED_HELD;
}

void mount_end_session(struct mount *m)
{
    lease_end_session(m->lease, m);
    lease_detach(m->lease, &m->grant);
}

/* ---- writes ---- */

static struct write *write_of(struct lease_write *write)
{
    return (struct write *)write;
}

static void execute(struct lease_write *write)
{
    atomic_fetch_add(&write_of(write)->executed, 1);
}

static void drop(struct lease_write *write)
{
    atomic_fetch_add(&write_of(write)->dropped, 1);
}

static void answer(struct lease_write *write, struct sense sense)
{
    write_of(write)->sense = sense;
    atomic_fetch_add(&write_of(write)->answered, 1);
}

void write_init(struct write *w, struct mount *m, uint64_t ordinal, uint64_t after)
{
    memset(w, 0, sizeof *w);
    w->write = (struct lease_write){
        .grant = &m->grant,
        .ordinal = ordinal,
        .after = after,
        .bytes = WIRE_BLOCK_BYTES,
        .execute = execute,
        .drop = drop,
        .answer = answer,
    };
}

enum lease_verdict write_claim(struct write *w, struct mount *m, uint64_t ordinal, uint64_t after)
{
    write_init(w, m, ordinal, after);
    return lease_claim(m->lease, &w->write);
}

void write_ok(struct mount *m, uint64_t ordinal)
{
    struct write w;

    g_assert_cmpint(write_claim(&w, m, ordinal, 0), ==, LEASE_EXECUTE);
    g_assert_cmpint(lease_finish(m->lease, &w.write, SENSE_NONE).key, ==, 0);
}

struct wire_receipt receipt_of(struct mount *m)
{
    struct wire_receipt receipt;

    lease_receipt(m->lease, &m->grant, &receipt);
    return receipt;
}

struct sync {
    struct lease_sync sync;
    pthread_mutex_t lock; /* GLib's own are unknown to ThreadSanitizer */
    pthread_cond_t cond;
    bool answered;
};

static void synced(struct lease_sync *s)
{
    struct sync *sync = (struct sync *)s;

    pthread_mutex_lock(&sync->lock);
    sync->answered = true;
    pthread_cond_signal(&sync->cond);
    pthread_mutex_unlock(&sync->lock);
}

static void sync_once(struct mount *m, uint64_t ordinal)
{
    struct sync sync = {{.grant = &m->grant, .ordinal = ordinal, .answer = synced},
                        PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, false};

    lease_sync(m->lease, &sync.sync);
    pthread_mutex_lock(&sync.lock);
    while (!sync.answered)
        pthread_cond_wait(&sync.cond, &sync.lock);
    pthread_mutex_unlock(&sync.lock);
    pthread_mutex_destroy(&sync.lock);
    pthread_cond_destroy(&sync.cond);
}

void wait_durable(struct mount *m, uint64_t ordinal)
{
    struct wire_receipt receipt;

    do {
        sync_once(m, ordinal);
        receipt = receipt_of(m);
        g_assert_cmpint(receipt.lease_state, ==, WIRE_LEASE_HELD);
    } while (wire_get64(receipt.durable) < ordinal);
}
