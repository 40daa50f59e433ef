// SPDX-License-Identifier: LGPL-2.1-or-later
/* Writes of a lease: at most once, in order, and what a failed flush does: target/claim.c and
 * durable.c by themselves. */
#include <errno.h>
#include <string.h>

#include "fake.h"

static void take(struct mount *m, struct fixture *f)
{
    fixture_start(f, NEVER);
    mount_init(m, f, 'A', 1);
    g_assert_cmpint(mount_take(m, WIRE_INTENT_ACQUIRE, 0), ==, WIRE_ACCEPTED);
}

static void test_copies(struct fixture *f, gconstpointer unused)
{
    struct write first, copy, waiting, newer;
    struct mount m;

    take(&m, f);
    g_assert_cmpint(write_claim(&first, &m, 1, 0), ==, LEASE_EXECUTE);
    g_assert_cmpint(write_claim(&copy, &m, 1, 0), ==, LEASE_COPY);
    g_assert_cmpint(lease_finish(f->lease, &first.write, SENSE_NONE).key, ==, 0);
    g_assert_cmpuint(atomic_load(&copy.answered), ==, 1);
    g_assert_cmpint(copy.sense.key, ==, 0);
    g_assert_cmpint(write_claim(&copy, &m, 1, 0), ==, LEASE_EXECUTED);
    g_assert_cmpint(write_claim(&waiting, &m, 3, 2), ==, LEASE_WAITS);
    g_assert_cmpint(write_claim(&newer, &m, 3, 2), ==, LEASE_WAITS);
    g_assert_cmpuint(atomic_load(&waiting.dropped), ==, 1);
    write_ok(&m, 2);
    wait_durable(&m, 2);
    g_assert_cmpuint(atomic_load(&newer.executed), ==, 1);
    lease_finish(f->lease, &newer.write, SENSE_NONE);
    wait_durable(&m, 3);
    g_assert_cmpuint(lease_audit(f->lease).executed, ==, 3);
    mount_end_session(&m);
}

static void test_end_of_a_session(struct fixture *f, gconstpointer unused)
{
    struct write executing, waiting, other, late;
    struct mount m, again;

    take(&m, f);
    again = m;
    again.grant.session = &again;
    g_assert_cmpint(mount_take(&again, WIRE_INTENT_RESUME, 1), ==, WIRE_ACCEPTED);
    g_assert_cmpint(write_claim(&executing, &m, 1, 0), ==, LEASE_EXECUTE);
    g_assert_cmpint(write_claim(&waiting, &m, 3, 2), ==, LEASE_WAITS);
    g_assert_cmpint(write_claim(&other, &again, 4, 2), ==, LEASE_WAITS);
    lease_end_session(f->lease, &m);
    g_assert_cmpuint(atomic_load(&waiting.dropped), ==, 1);
    g_assert_cmpuint(atomic_load(&other.dropped), ==, 0);
    g_assert_cmpint(write_claim(&late, &m, 2, 0), ==, LEASE_FENCED); /* left in its buffers */
    g_assert_cmpint(lease_finish(f->lease, &executing.write, SENSE_NONE).key, ==, 0);
    lease_detach(f->lease, &m.grant);
    write_ok(&again, 2);
    wait_durable(&again, 2);
    g_assert_cmpuint(atomic_load(&other.executed), ==, 1);
    lease_finish(f->lease, &other.write, SENSE_NONE);
    mount_end_session(&again);
}

/* ---- at most once, by many at a time ---- */

enum { THREADS = 6, ORDINALS = 3000 };

struct hammer {
    struct mount *mount;
    atomic_uint *executions; /* of each ordinal */
    unsigned seed;
};

static void hammer_once(struct hammer *h, uint64_t ordinal)
{
    struct write *w = g_new(struct write, 1);
    enum lease_verdict verdict = write_claim(w, h->mount, ordinal, 0);

    if (verdict == LEASE_EXECUTE) {
        atomic_fetch_add(&h->executions[ordinal], 1);
        g_thread_yield();
        lease_finish(h->mount->lease, &w->write, SENSE_NONE);
    } else if (verdict == LEASE_COPY) {
        while (atomic_load(&w->answered) == 0)
            g_usleep(50);
    } else {
        g_assert_cmpint(verdict, ==, LEASE_EXECUTED);
    }
    g_free(w);
}

static gpointer hammer_all(gpointer data)
{
    struct hammer *h = data;
    GRand *random = g_rand_new_with_seed(h->seed);

    for (uint64_t ordinal = 1; ordinal < ORDINALS; ordinal++) {
        hammer_once(h, ordinal);
        hammer_once(h, (uint64_t)g_rand_int_range(random, 1, ORDINALS));
    }
    g_rand_free(random);
    return NULL;
}

static void test_many_at_a_time(struct fixture *f, gconstpointer unused)
{
    g_autofree atomic_uint *executions = g_new0(atomic_uint, ORDINALS);
    struct hammer hammers[THREADS];
    GThread *threads[THREADS];
    struct mount m;

    take(&m, f);
    for (unsigned i = 0; i < THREADS; i++) {
        hammers[i] = (struct hammer){&m, executions, i};
        threads[i] = g_thread_new("hammer", hammer_all, &hammers[i]);
    }
    for (unsigned i = 0; i < THREADS; i++)
        g_thread_join(threads[i]);
    for (unsigned i = 1; i < ORDINALS; i++)
        g_assert_cmpuint(atomic_load(&executions[i]), ==, 1);
    wait_durable(&m, ORDINALS - 1);
    mount_end_session(&m);
}

/* ---- failures ---- */

static void test_failed_write(struct fixture *f, gconstpointer unused)
{
    struct write full, after;
    struct wire_receipt receipt;
    struct mount m;

    take(&m, f);
    write_ok(&m, 1);
    g_assert_cmpint(write_claim(&full, &m, 2, 0), ==, LEASE_EXECUTE);
    g_assert_cmpint(write_claim(&after, &m, 3, 2), ==, LEASE_WAITS);
    lease_finish(f->lease, &full.write, SENSE_SPACE_ALLOCATION);
    wait_durable(&m, 1);
    receipt = receipt_of(&m);
    g_assert_cmpuint(wire_get64(receipt.failed_ordinal), ==, 2);
    g_assert_cmphex(receipt.failed_sense_key, ==, 0x07);
    g_assert_cmphex(receipt.failed_asc, ==, 0x27);
    g_assert_cmphex(receipt.failed_ascq, ==, 0x07);
    g_assert_cmpuint(atomic_load(&after.executed), ==, 0);
    write_ok(&m, 2);
    wait_durable(&m, 2);
    g_assert_cmpuint(atomic_load(&after.executed), ==, 1);
    g_assert_cmpuint(wire_get64(receipt_of(&m).failed_ordinal), ==, 0);
    lease_finish(f->lease, &after.write, SENSE_NONE);
    mount_end_session(&m);
}

/* What was not durable is absent, under a boot id that tells it. */
static void test_failed_flush(struct fixture *f, gconstpointer unused)
{
    struct wire_receipt before, after;
    struct write executing;
    struct mount m;

    take(&m, f);
    write_ok(&m, 1);
    wait_durable(&m, 1);
    write_ok(&m, 2);
    write_ok(&m, 4);
    g_assert_cmpint(write_claim(&executing, &m, 5, 0), ==, LEASE_EXECUTE);
    before = receipt_of(&m);
    atomic_store(&f->disk.error, -EIO);
    g_assert_cmpint(lease_flush(f->lease), ==, -EIO);
    atomic_store(&f->disk.error, 0);
    after = receipt_of(&m);
    g_assert_cmpuint(wire_get64(after.boot_id.counter), >, wire_get64(before.boot_id.counter));
    g_assert_cmpint(memcmp(after.boot_id.random, before.boot_id.random, 8), !=, 0);
    g_assert_cmpint(after.lease_state, ==, WIRE_LEASE_HELD);
    g_assert_cmpuint(wire_get64(after.durable), ==, 1);
    g_assert_cmpuint(wire_get64(after.executed), ==, 1);
    g_assert_cmphex(after.bitmap[0], ==, 0);
    /* its bytes may be lost, though it did not fail */
    g_assert_cmpint(lease_finish(f->lease, &executing.write, SENSE_NONE).key, ==,
                    SENSE_ABORTED.key);
    g_assert_cmphex(receipt_of(&m).bitmap[0], ==, 0);
    for (uint64_t ordinal = 2; ordinal <= 5; ordinal++)
        write_ok(&m, ordinal);
    wait_durable(&m, 5);
    mount_end_session(&m);
    fixture_start(f, NEVER);
    mount_init(&m, f, 'A', 1);
    g_assert_cmpuint(wire_get64(mount_describe(&m, WIRE_INTENT_RESUME, 1).boot_id.counter), >,
                     wire_get64(after.boot_id.counter));
}

/* A disk that is away is no reason to forget anything; one that was reset meanwhile is, and other
 * bits of the boot id say so. */
static void test_disk_away_and_reset(struct fixture *f, gconstpointer unused)
{
    struct wire_receipt before, away, after;
    struct mount m;

    take(&m, f);
    write_ok(&m, 1);
    before = receipt_of(&m);
    atomic_store(&f->disk.error, -EAGAIN);
    g_assert_cmpint(lease_flush(f->lease), ==, -EAGAIN);
    away = receipt_of(&m);
    g_assert_cmpmem(&away.boot_id, sizeof away.boot_id, &before.boot_id, sizeof before.boot_id);
    g_assert_cmpuint(wire_get64(away.durable), ==, 0);
    g_assert_cmpuint(wire_get64(away.executed), ==, 1);
    atomic_fetch_add(&f->disk.backend.losses, 1);
    g_assert_cmpint(lease_flush(f->lease), ==, -EIO);
    atomic_store(&f->disk.error, 0);
    after = receipt_of(&m);
    g_assert_cmpuint(wire_get64(after.boot_id.counter) & ~(uint64_t)WIRE_BOOT_FLUSHES, >,
                     wire_get64(before.boot_id.counter) & ~(uint64_t)WIRE_BOOT_FLUSHES);
    g_assert_cmpuint(wire_get64(after.executed), ==, 0);
    write_ok(&m, 1);
    wait_durable(&m, 1);
    after = receipt_of(&m);
    atomic_store(&f->disk.error, -EIO);
    g_assert_cmpint(lease_flush(f->lease), ==, -EIO);
    away = receipt_of(&m);
    g_assert_cmpuint(wire_get64(away.boot_id.counter) - wire_get64(after.boot_id.counter), ==, 1);
    mount_end_session(&m);
}

/* A base that another session of the mount names later settles what is below it. */
static void test_later_base(struct fixture *f, gconstpointer unused)
{
    struct write waiting, stale, copy;
    struct mount m, again;

    take(&m, f);
    write_ok(&m, 2);
    write_ok(&m, 8);
    g_assert_cmpint(write_claim(&waiting, &m, 7, 5), ==, LEASE_WAITS);
    g_assert_cmpint(write_claim(&stale, &m, 4, 3), ==, LEASE_WAITS);
    again = m;
    again.grant.session = &again;
    wire_put64(again.hello.base, 5);
    g_assert_cmpint(mount_take(&again, WIRE_INTENT_RESUME, 1), ==, WIRE_ACCEPTED);
    g_assert_cmpuint(wire_get64(receipt_of(&m).durable), ==, 5);
    g_assert_cmpuint(atomic_load(&waiting.executed), ==, 1);
    g_assert_cmpuint(atomic_load(&stale.executed), ==, 0);
    g_assert_cmpuint(atomic_load(&stale.dropped), ==, 1);
    lease_finish(f->lease, &waiting.write, SENSE_NONE);
    write_ok(&m, 6);
    wait_durable(&m, 8);
    g_assert_cmpint(write_claim(&copy, &m, 3, 0), ==, LEASE_EXECUTED);
    mount_end_session(&m);
    mount_end_session(&again);
}

/* Only what the holder was told moves its window on. */
static void test_window(struct fixture *f, gconstpointer unused)
{
    struct mount m, thief;
    struct write w;

    take(&m, f);
    mount_init(&thief, f, 'B', 2);
    g_assert_cmpint(mount_take(&thief, WIRE_INTENT_STEAL, 1), ==, WIRE_ACCEPTED);
    write_ok(&thief, 1);
    g_assert_cmpint(lease_flush(f->lease), ==, 0);
    g_assert_cmpint(receipt_of(&m).lease_state, ==, WIRE_LEASE_FENCED);
    g_assert_cmpint(write_claim(&w, &thief, WIRE_ORDINAL_WINDOW + 1, 0), ==, LEASE_INVALID);
    wait_durable(&thief, 1);
    write_ok(&thief, WIRE_ORDINAL_WINDOW + 1);
    mount_end_session(&m);
    mount_end_session(&thief);
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*run)(struct fixture *f, gconstpointer unused);
    } tests[] = {
        {"/claims/copies", test_copies},
        {"/claims/end-of-a-session", test_end_of_a_session},
        {"/claims/many-at-a-time", test_many_at_a_time},
        {"/claims/failed-write", test_failed_write},
        {"/claims/failed-flush", test_failed_flush},
        {"/claims/disk-away-and-reset", test_disk_away_and_reset},
        {"/claims/later-base", test_later_base},
        {"/claims/window", test_window},
    };

    g_test_init(&argc, &argv, NULL);
    for (size_t i = 0; i < G_N_ELEMENTS(tests); i++)
        g_test_add(tests[i].name, struct fixture, NULL, fixture_set_up, tests[i].run,
                   fixture_tear_down);
    return g_test_run();
}
