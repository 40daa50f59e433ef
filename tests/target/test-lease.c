// SPDX-License-Identifier: LGPL-2.1-or-later
/* Who gets a lease, keeps it, loses it: target/lease.c by itself. */
#include <string.h>

#include <glib/gstdio.h>

#include "fake.h"

#define ACQUIRE WIRE_INTENT_ACQUIRE
#define RESUME WIRE_INTENT_RESUME
#define STEAL WIRE_INTENT_STEAL
#define RO WIRE_INTENT_RO

#define assert_takes(m, intent, generation)                                                        \
    g_assert_cmpint(mount_take(m, intent, generation), ==, WIRE_ACCEPTED)
#define assert_refused(m, intent, generation, why)                                                 \
    g_assert_cmpint(mount_take(m, intent, generation), ==, why)

static void assert_fenced(struct mount *m)
{
    struct write w;

    g_assert_cmpint(write_claim(&w, m, 1000, 0), ==, LEASE_FENCED);
    g_assert_false(lease_may_read(m->lease, &m->grant));
    g_assert_cmpint(receipt_of(m).lease_state, ==, WIRE_LEASE_FENCED);
}

static void test_one_writer(struct fixture *f, gconstpointer unused)
{
    struct mount a, b;
    struct wire_welcome welcome;

    fixture_start(f, NEVER);
    mount_init(&a, f, 'A', 1);
    mount_init(&b, f, 'B', 2);
    assert_takes(&a, ACQUIRE, 0);
    g_assert_cmpuint(a.grant.generation, ==, 1);
    assert_refused(&b, ACQUIRE, 0, WIRE_REFUSED_HELD);
    assert_refused(&b, RO, 0, WIRE_REFUSED_HELD);
    assert_refused(&b, RESUME, 1, WIRE_REFUSED_GENERATION);
    welcome = mount_describe(&b, ACQUIRE, 0);
    g_assert_cmpmem(welcome.holder_key, WIRE_KEY_BYTES, a.grant.who.key, WIRE_KEY_BYTES);
    g_assert_cmpstr((char *)welcome.holder_address, ==, "A-1");
    g_assert_cmpuint(wire_get64(welcome.holder_since), ==, 1);
    g_assert_true(lease_release(f->lease, &a.grant));
    assert_fenced(&a);
    g_assert_false(lease_release(f->lease, &a.grant));
    mount_end_session(&a);
    assert_refused(&a, RESUME, 1, WIRE_REFUSED_GENERATION);
    assert_takes(&b, ACQUIRE, 0);
    g_assert_cmpuint(b.grant.generation, ==, 2);
    mount_end_session(&b);
}

/* The end of all sessions, which anybody on the path can bring about, frees nothing. */
static void test_cut(struct fixture *f, gconstpointer unused)
{
    struct mount a, b;

    fixture_start(f, NEVER);
    mount_init(&a, f, 'A', 1);
    mount_init(&b, f, 'B', 2);
    assert_takes(&a, ACQUIRE, 0);
    write_ok(&a, 1);
    mount_end_session(&a);
    assert_refused(&b, ACQUIRE, 0, WIRE_REFUSED_HELD);
    assert_refused(&b, RO, 0, WIRE_REFUSED_HELD);
    assert_takes(&a, RESUME, 1);
    g_assert_cmpuint(wire_get64(receipt_of(&a).executed), ==, 1);
    mount_end_session(&a);
}

static void test_timeout(struct fixture *f, gconstpointer unused)
{
    struct mount a, b;

    fixture_start(f, 0);
    mount_init(&a, f, 'A', 1);
    mount_init(&b, f, 'B', 2);
    assert_takes(&a, ACQUIRE, 0);
    assert_refused(&b, ACQUIRE, 0, WIRE_REFUSED_HELD); /* while there is a session */
    mount_end_session(&a);
    assert_takes(&a, RESUME, 1); /* ended, but nobody else has come */
    mount_end_session(&a);
    assert_takes(&b, ACQUIRE, 0);
    assert_refused(&a, RESUME, 1, WIRE_REFUSED_GENERATION);
    mount_end_session(&b);
}

static void test_predecessor(struct fixture *f, gconstpointer unused)
{
    struct mount a, next, b;

    fixture_start(f, NEVER);
    mount_init(&a, f, 'A', 1);
    mount_init(&next, f, 'A', 2);
    mount_init(&b, f, 'B', 3);
    memset(next.hello.previous_mount_id, 1, WIRE_ID_BYTES);
    memset(b.hello.previous_mount_id, 1, WIRE_ID_BYTES);
    assert_takes(&a, ACQUIRE, 0);
    assert_refused(&next, ACQUIRE, 0, WIRE_REFUSED_HELD);
    mount_end_session(&a);
    assert_refused(&b, ACQUIRE, 0, WIRE_REFUSED_HELD); /* the id alone is no proof */
    assert_takes(&next, ACQUIRE, 0);
    g_assert_cmpuint(next.grant.generation, ==, 2);
    assert_refused(&a, RESUME, 1, WIRE_REFUSED_GENERATION);
    mount_end_session(&next);
}

static void test_swap(struct fixture *f, gconstpointer unused)
{
    struct mount a, b;

    fixture_start(f, NEVER);
    mount_init(&a, f, 'A', 1);
    mount_init(&b, f, 'B', 2);
    g_assert_cmpint(mount_describe(&a, ACQUIRE, 0).refusal, ==, WIRE_ACCEPTED);
    assert_takes(&b, ACQUIRE, 0);
    g_assert_true(lease_release(f->lease, &b.grant));
    lease_attach(f->lease, &a.grant, &a.hello, 0); /* free, but it is not as message 2 said */
    assert_fenced(&a);
    mount_end_session(&a);
    mount_end_session(&b);
    g_assert_cmpint(mount_describe(&a, STEAL, 1).refusal, ==, WIRE_ACCEPTED);
    assert_takes(&b, STEAL, 1);
    lease_attach(f->lease, &a.grant, &a.hello, 1);
    assert_fenced(&a);
    mount_end_session(&a);
    mount_end_session(&b);
}

/* ---- takeovers ---- */

struct thief {
    struct mount mount;
    atomic_bool done;
};

static gpointer steal(gpointer data)
{
    struct thief *thief = data;

    assert_takes(&thief->mount, STEAL, 1);
    atomic_store(&thief->done, true);
    return NULL;
}

static void wait_until_fenced(struct mount *m)
{
    struct write w;

    while (write_claim(&w, m, 100, 0) != LEASE_FENCED) {
        lease_finish(m->lease, &w.write, SENSE_ABORTED);
        g_usleep(50);
    }
}

static void test_steal(struct fixture *f, gconstpointer unused)
{
    struct write executing, copy, waiting;
    struct thief thief = {.done = false};
    struct mount a;
    GThread *thread;
    unsigned flushes;

    fixture_start(f, NEVER);
    mount_init(&a, f, 'A', 1);
    mount_init(&thief.mount, f, 'B', 2);
    assert_takes(&a, ACQUIRE, 0);
    assert_refused(&thief.mount, STEAL, 0, WIRE_REFUSED_GENERATION);
    assert_refused(&thief.mount, STEAL, 2, WIRE_REFUSED_GENERATION);
    g_assert_cmpint(write_claim(&executing, &a, 1, 0), ==, LEASE_EXECUTE);
    g_assert_cmpint(write_claim(&copy, &a, 1, 0), ==, LEASE_COPY);
    g_assert_cmpint(write_claim(&waiting, &a, 2, 1), ==, LEASE_WAITS);
    thread = g_thread_new("thief", steal, &thief);
    wait_until_fenced(&a);
    g_assert_false(atomic_load(&thief.done)); /* it waits for what executes */
    g_assert_cmpuint(wire_get64(receipt_of(&a).generation), ==, 1);
    flushes = atomic_load(&f->disk.flushes);
    g_assert_cmpint(lease_finish(f->lease, &executing.write, SENSE_NONE).key, ==, 0);
    g_thread_join(thread);
    g_assert_cmpuint(atomic_load(&copy.answered), ==, 1);
    g_assert_cmpuint(atomic_load(&waiting.dropped), ==, 1);
    g_assert_cmpuint(atomic_load(&waiting.executed), ==, 0);
    g_assert_cmpuint(atomic_load(&f->disk.flushes), >, flushes);
    g_assert_cmpuint(thief.mount.grant.generation, ==, 2);
    assert_fenced(&a);
    write_ok(&thief.mount, 1); /* its numbers are its own */
    mount_end_session(&a);
    mount_end_session(&thief.mount);
}

static void test_readers(struct fixture *f, gconstpointer unused)
{
    struct mount first, second, writer;
    struct write w;

    fixture_start(f, NEVER);
    mount_init(&first, f, 'A', 1);
    mount_init(&second, f, 'B', 2);
    mount_init(&writer, f, 'B', 3);
    assert_takes(&first, RO, 0);
    assert_takes(&second, RO, 0);
    g_assert_true(lease_may_read(f->lease, &first.grant));
    g_assert_cmpint(write_claim(&w, &first, 1, 0), ==, LEASE_READ_ONLY);
    assert_refused(&writer, ACQUIRE, 0, WIRE_REFUSED_HELD);
    mount_end_session(&first);
    assert_refused(&writer, ACQUIRE, 0, WIRE_REFUSED_HELD);
    assert_takes(&writer, STEAL, 0);
    assert_fenced(&second);
    mount_end_session(&second);
    assert_refused(&first, RO, 0, WIRE_REFUSED_HELD);
    mount_end_session(&writer);
}

/* A reader of an ended lease sees a disk that nobody changes any more. */
static void test_reader_after_the_end(struct fixture *f, gconstpointer unused)
{
    struct mount a, reader;
    struct write executing, late;

    fixture_start(f, 0);
    mount_init(&a, f, 'A', 1);
    mount_init(&reader, f, 'B', 2);
    assert_takes(&a, ACQUIRE, 0);
    g_assert_cmpint(write_claim(&executing, &a, 1, 0), ==, LEASE_EXECUTE);
    lease_end_session(f->lease, &a);
    g_assert_cmpint(lease_finish(f->lease, &executing.write, SENSE_NONE).key, ==, 0);
    assert_takes(&reader, RO, 0);
    g_assert_cmpuint(atomic_load(&f->disk.flushes), >, 0);
    g_assert_cmpint(write_claim(&late, &a, 2, 0), ==, LEASE_FENCED);
    lease_detach(f->lease, &a.grant);
    assert_refused(&a, RESUME, 1, WIRE_REFUSED_GENERATION);
    mount_end_session(&reader);
    fixture_start(f, NEVER);
    mount_init(&a, f, 'A', 1);
    assert_refused(&a, RESUME, 1, WIRE_REFUSED_GENERATION);
}

/* ---- restarts ---- */

static void test_restart(struct fixture *f, gconstpointer unused)
{
    struct wire_welcome before, after;
    struct mount a, b;

    fixture_start(f, NEVER);
    mount_init(&a, f, 'A', 1);
    before = mount_describe(&a, ACQUIRE, 0);
    assert_takes(&a, ACQUIRE, 0);
    write_ok(&a, 1);
    mount_end_session(&a);
    fixture_start(f, NEVER);
    mount_init(&a, f, 'A', 1);
    mount_init(&b, f, 'B', 2);
    after = mount_describe(&b, ACQUIRE, 0);
    g_assert_cmpint(after.refusal, ==, WIRE_REFUSED_HELD);
    g_assert_cmpstr((char *)after.holder_address, ==, "A-1");
    g_assert_cmpmem(after.volume_id, WIRE_ID_BYTES, before.volume_id, WIRE_ID_BYTES);
    g_assert_cmpuint(wire_get64(after.boot_id.counter), >, wire_get64(before.boot_id.counter));
    assert_refused(&b, RO, 0, WIRE_REFUSED_HELD);
    wire_put64(a.hello.base, 10);
    assert_takes(&a, RESUME, 1);
    g_assert_cmpuint(wire_get64(receipt_of(&a).durable), ==, 10);
    write_ok(&a, 11);
    wait_durable(&a, 11);
    g_assert_true(lease_release(f->lease, &a.grant));
    mount_end_session(&a);
    fixture_start(f, NEVER);
    mount_init(&b, f, 'B', 2);
    assert_takes(&b, ACQUIRE, 0);
    g_assert_cmpuint(b.grant.generation, ==, 2);
    mount_end_session(&b);
}

/* The grace period is over: whoever comes first has it. */
static void test_after_grace(struct fixture *f, gconstpointer unused)
{
    struct mount a, b;

    fixture_start(f, NEVER);
    mount_init(&a, f, 'A', 1);
    assert_takes(&a, ACQUIRE, 0);
    mount_end_session(&a);
    fixture_start(f, 0);
    mount_init(&a, f, 'A', 1);
    mount_init(&b, f, 'B', 2);
    assert_takes(&b, ACQUIRE, 0);
    assert_refused(&a, RESUME, 1, WIRE_REFUSED_GENERATION);
    mount_end_session(&b);
}

static void test_damaged(struct fixture *f, gconstpointer unused)
{
    g_autofree char *before = NULL, *after = NULL;
    gsize count, still;
    struct mount a;

    fixture_start(f, NEVER);
    mount_init(&a, f, 'A', 1);
    assert_takes(&a, ACQUIRE, 0);
    mount_end_session(&a);
    fixture_end(f);
    g_assert_true(g_file_get_contents(f->path, &before, &count, NULL));
    before[count / 2] ^= 1;
    g_assert_true(g_file_set_contents(f->path, before, (gssize)count, NULL));
    fixture_start(f, NEVER);
    g_assert_null(f->lease);
    g_assert_true(g_str_has_prefix(f->message, f->path));
    g_assert_true(g_file_get_contents(f->path, &after, &still, NULL));
    g_assert_cmpmem(after, still, before, count); /* it is evidence */
}

/* What cannot be recorded is not granted, and takes nothing away. */
static void test_not_recorded(struct fixture *f, gconstpointer unused)
{
    g_autofree char *elsewhere = g_strconcat(f->folder, ".away", NULL);
    struct mount a, b;

    fixture_start(f, NEVER);
    mount_init(&a, f, 'A', 1);
    mount_init(&b, f, 'B', 2);
    assert_takes(&a, ACQUIRE, 0);
    g_assert_cmpint(g_rename(f->folder, elsewhere), ==, 0);
    assert_refused(&b, STEAL, 1, WIRE_REFUSED_HELD);
    g_assert_false(lease_release(f->lease, &a.grant));
    write_ok(&a, 1);
    g_assert_cmpint(g_rename(elsewhere, f->folder), ==, 0);
    assert_takes(&b, STEAL, 1);
    assert_fenced(&a);
    mount_end_session(&a);
    mount_end_session(&b);
}

/* A target that ends with its only client makes no file, but respects one. */
static void test_no_state(struct fixture *f, gconstpointer unused)
{
    const struct lease_settings settings = {
        .name = "LUN 1", .state_path = f->path, .must_exist = true, .timeout_us = 0};
    struct mount a, b;

    f->lease = lease_new(&settings, &f->disk.backend, f->message, sizeof f->message);
    mount_init(&a, f, 'A', 1);
    assert_takes(&a, ACQUIRE, 0);
    mount_end_session(&a);
    fixture_end(f);
    g_assert_false(g_file_test(f->path, G_FILE_TEST_EXISTS));
    fixture_start(f, NEVER);
    mount_init(&a, f, 'A', 1);
    assert_takes(&a, ACQUIRE, 0);
    mount_end_session(&a);
    fixture_end(f);
    f->lease = lease_new(&settings, &f->disk.backend, f->message, sizeof f->message);
    mount_init(&b, f, 'B', 2);
    assert_takes(&b, ACQUIRE, 0);
    mount_end_session(&b);
    fixture_start(f, NEVER);
    mount_init(&a, f, 'A', 1);
    assert_refused(&a, RESUME, 1, WIRE_REFUSED_GENERATION); /* others have written since */
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*run)(struct fixture *f, gconstpointer unused);
    } tests[] = {
        {"/lease/one-writer", test_one_writer},
        {"/lease/cut", test_cut},
        {"/lease/timeout", test_timeout},
        {"/lease/predecessor", test_predecessor},
        {"/lease/compare-and-swap", test_swap},
        {"/lease/steal", test_steal},
        {"/lease/readers", test_readers},
        {"/lease/reader-after-the-end", test_reader_after_the_end},
        {"/lease/restart", test_restart},
        {"/lease/after-grace", test_after_grace},
        {"/lease/damaged", test_damaged},
        {"/lease/not-recorded", test_not_recorded},
        {"/lease/no-state", test_no_state},
    };

    g_test_init(&argc, &argv, NULL);
    for (size_t i = 0; i < G_N_ELEMENTS(tests); i++)
        g_test_add(tests[i].name, struct fixture, NULL, fixture_set_up, tests[i].run,
                   fixture_tear_down);
    return g_test_run();
}
