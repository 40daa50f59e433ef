// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * What a cut, a restart, SIGTERM and SIGKILL of the target leave of a lease,
 * and of what was written: everything that a receipt covered is there.
 */
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>

#include "client.h"

#define LONG "86400" /* seconds: a lease that does not end within the test */
enum { KILLS = 100, SLOTS = 8 };

static const char *const long_lease[] = {"--lease-timeout", LONG, NULL};

static void set_up(struct target *t, gconstpointer unused)
{
    target_start(t);
}

static void tear_down(struct target *t, gconstpointer unused)
{
    target_stop(t);
}

static void restart(struct target *t, int signal, const char *const *arguments)
{
    target_end(t, signal);
    target_run(t, arguments);
}

static void write_ok(struct client *c, uint64_t lba, uint64_t ordinal, uint8_t fill)
{
    g_assert_cmpint(client_write(c, &(struct write){WIRE_OP_WRITE, lba, 1, ordinal, 0, fill}).code,
                    ==, SCSI_STATUS_GOOD);
}

static uint8_t first_byte(const struct target *t, uint64_t lba)
{
    uint8_t block[BLOCK];

    target_peek(t, lba, block);
    for (unsigned i = 1; i < BLOCK; i++)
        g_assert_cmphex(block[i], ==, block[0]);
    return block[0];
}

static enum wire_refusal ask(const struct target *t, const struct hello *hello)
{
    struct client *c = client_open(t);
    enum wire_refusal refusal;

    g_assert_true(client_handshake(c, hello));
    refusal = c->welcome.refusal;
    client_cut(c);
    return refusal;
}

static const struct hello bob = {.who = BOB, .intent = WIRE_INTENT_ACQUIRE};
static const struct hello bob_reads = {.who = BOB, .intent = WIRE_INTENT_RO};
static const struct hello alice = {.who = ALICE, .intent = WIRE_INTENT_ACQUIRE};

/* ---- the lease ---- */

static void test_grace(struct target *t, gconstpointer unused)
{
    const struct hello resume = {.intent = WIRE_INTENT_RESUME, .generation = 1, .base = 1};
    struct client *c = client_open(t), *again;
    struct wire_receipt before, after;

    client_attach(c, WIRE_INTENT_ACQUIRE, 0);
    write_ok(c, 1, 1, 1);
    g_assert_true(client_sync(c, 1, &before));
    restart(t, SIGKILL, long_lease);
    g_assert_cmpint(ask(t, &bob), ==, WIRE_REFUSED_HELD);
    g_assert_cmpint(ask(t, &bob_reads), ==, WIRE_REFUSED_HELD);
    g_assert_cmpint(ask(t, &alice), ==, WIRE_REFUSED_HELD); /* the same user, another mount */
    again = client_again(t, c);
    g_assert_cmpint(client_take(again, &resume), ==, WIRE_ACCEPTED);
    g_assert_cmpuint(again->generation, ==, 1);
    g_assert_cmpmem(again->welcome.volume_id, WIRE_ID_BYTES, c->welcome.volume_id, WIRE_ID_BYTES);
    write_ok(again, 2, 2, 2);
    g_assert_true(client_sync(again, 2, &after));
    g_assert_cmpuint(wire_get64(after.durable), ==, 2);
    g_assert_cmpuint(wire_get64(after.boot_id.counter), >, wire_get64(before.boot_id.counter));
    client_cut(c);
    client_close(again);
    g_assert_cmpint(ask(t, &bob), ==, WIRE_ACCEPTED); /* given back: at once */
    restart(t, SIGKILL, long_lease);
    g_assert_cmpint(ask(t, &bob), ==, WIRE_ACCEPTED);
}

static void test_no_grace(struct target *t, gconstpointer unused)
{
    const char *const none[] = {"--lease-timeout", "0", NULL};
    const struct hello resume = {.intent = WIRE_INTENT_RESUME, .generation = 1};
    struct client *c = client_open(t), *next;

    client_attach(c, WIRE_INTENT_ACQUIRE, 0);
    restart(t, SIGKILL, none);
    next = client_open(t);
    g_assert_cmpint(client_take(next, &bob), ==, WIRE_ACCEPTED);
    g_assert_cmpuint(next->generation, ==, 2);
    g_assert_cmpint(ask(t, &resume), ==, WIRE_REFUSED_GENERATION);
    client_cut(c);
    client_close(next);
}

/* A Logout, which anybody can forge, and a cut free nothing before the time is over. */
static void test_timeout(struct target *t, gconstpointer unused)
{
    const char *const one[] = {"--lease-timeout", "1", NULL};
    struct client *c, *next;
    gint64 start;

    restart(t, SIGTERM, one);
    c = client_open(t);
    client_attach(c, WIRE_INTENT_ACQUIRE, 0);
    start = g_get_monotonic_time();
    client_leave(c);
    while (ask(t, &bob) == WIRE_REFUSED_HELD)
        g_usleep(20000);
    g_assert_cmpint(g_get_monotonic_time() - start, >=, 1000000);
    next = client_open(t);
    g_assert_cmpint(client_take(next, &bob), ==, WIRE_ACCEPTED);
    client_close(next);
}

static void test_next_mount(struct target *t, gconstpointer unused)
{
    struct client *c, *next;
    struct hello hello = alice;

    restart(t, SIGTERM, long_lease);
    c = client_open(t);
    client_attach(c, WIRE_INTENT_ACQUIRE, 0);
    hello.previous = c->mount_id;
    g_assert_cmpint(ask(t, &hello), ==, WIRE_REFUSED_HELD);
    target_end(t, SIGKILL); /* whose sessions are gone with it, for certain */
    target_run(t, long_lease);
    g_assert_cmpint(ask(t, &bob), ==, WIRE_REFUSED_HELD);
    next = client_open(t);
    g_assert_cmpint(client_take(next, &hello), ==, WIRE_ACCEPTED);
    g_assert_cmpuint(next->generation, ==, 2);
    client_cut(c);
    client_close(next);
}

/* ---- SIGTERM ---- */

static atomic_bool asked;

static void note_log(int level, const char *message)
{
    if (strstr(message, "requests logout"))
        atomic_store(&asked, true);
}

static void serve_until_lost(struct iscsi_context *iscsi)
{
    struct pollfd fd = {.fd = iscsi_get_fd(iscsi)};

    do {
        fd.events = (short)iscsi_which_events(iscsi);
        g_assert_cmpint(poll(&fd, 1, 60000), ==, 1);
    } while (iscsi_service(iscsi, fd.revents) == 0 && iscsi_is_logged_in(iscsi));
}

static void test_sigterm(struct target *t, gconstpointer unused)
{
    struct client *c, *idle;

    restart(t, SIGTERM, long_lease);
    c = client_open(t);
    idle = client_open(t); /* says nothing, hears nothing */
    client_attach(c, WIRE_INTENT_ACQUIRE, 0);
    write_ok(c, 1, 1, 1);
    write_ok(c, 2, 3, 3);
    atomic_store(&asked, false);
    iscsi_set_log_level(c->iscsi, 2);
    iscsi_set_log_fn(c->iscsi, note_log);
    g_assert_cmpint(kill(t->pid, SIGTERM), ==, 0);
    serve_until_lost(c->iscsi);
    g_assert_true(atomic_load(&asked));
    target_end(t, SIGTERM); /* asserts that it ends, and well */
    g_assert_cmphex(first_byte(t, 1), ==, 1);
    g_assert_cmphex(first_byte(t, 2), ==, 3);
    target_run(t, long_lease);
    g_assert_cmpint(ask(t, &bob), ==, WIRE_REFUSED_HELD);
    client_cut(c);
    client_cut(idle);
}

/* ---- SIGKILL ---- */

struct writer {
    struct client *client;
    uint64_t ordinal;      /* the last one that was sent */
    uint64_t durable;      /* that a receipt covered */
    uint8_t synced[SLOTS]; /* the fill of each block that a receipt covered */
    atomic_uint receipts;
};

/* Each write goes to the next block, and is synced before the one after it. */
static bool write_and_sync(struct writer *w, uint64_t ordinal)
{
    const struct write write = {WIRE_OP_WRITE, ordinal % SLOTS, 1, ordinal, 0,
                                (uint8_t)(ordinal / SLOTS)};
    struct wire_receipt receipt;

    w->ordinal = ordinal;
    if (client_write(w->client, &write).code != SCSI_STATUS_GOOD)
        return false;
    do {
        if (!client_sync(w->client, ordinal, &receipt))
            return false;
        g_assert_cmpint(receipt.lease_state, ==, WIRE_LEASE_HELD);
    } while (wire_get64(receipt.durable) < ordinal);
    g_assert_cmpuint(wire_get64(receipt.durable), ==, ordinal);
    w->durable = ordinal;
    w->synced[ordinal % SLOTS] = write.fill;
    atomic_fetch_add(&w->receipts, 1);
    return true;
}

static gpointer write_on(gpointer data)
{
    struct writer *w = data;

    while (write_and_sync(w, w->durable + 1))
        ;
    return NULL;
}

static void come_back(struct writer *w, const struct target *t)
{
    struct client *again = client_again(t, w->client);
    const struct hello hello = {
        .intent = WIRE_INTENT_RESUME, .generation = w->client->generation, .base = w->durable};

    g_assert_cmpint(client_take(again, &hello), ==, WIRE_ACCEPTED);
    client_cut(w->client);
    w->client = again;
}

/* No block is older than its receipt, nor newer than what was sent. */
static void assert_kept(const struct writer *w, const struct target *t)
{
    for (uint64_t slot = 0; slot < SLOTS; slot++) {
        uint8_t got = first_byte(t, slot);

        if (slot != w->ordinal % SLOTS || got != (uint8_t)(w->ordinal / SLOTS))
            g_assert_cmphex(got, ==, w->synced[slot]);
    }
}

static void test_sigkill(struct target *t, gconstpointer unused)
{
    struct writer w = {.client = client_open(t)};
    GRand *random = g_rand_new_with_seed(1);

    client_attach(w.client, WIRE_INTENT_ACQUIRE, 0);
    for (unsigned i = 0; i < KILLS; i++) {
        unsigned receipts = atomic_load(&w.receipts) + (unsigned)g_rand_int_range(random, 1, 10);
        GThread *thread = g_thread_new("writer", write_on, &w);

        while (atomic_load(&w.receipts) < receipts)
            g_usleep(500);
        target_end(t, SIGKILL);
        g_thread_join(thread);
        assert_kept(&w, t);
        target_run(t, long_lease);
        come_back(&w, t);
    }
    g_assert_true(write_and_sync(&w, w.durable + 1));
    client_close(w.client);
    g_rand_free(random);
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*run)(struct target *t, gconstpointer unused);
    } tests[] = {
        {"/restart/grace", test_grace},           {"/restart/no-grace", test_no_grace},
        {"/restart/timeout", test_timeout},       {"/restart/next-mount", test_next_mount},
        {"/restart/sigterm", test_sigterm},       {"/restart/sigkill", test_sigkill},
    };

    g_test_init(&argc, &argv, NULL);
    for (size_t i = 0; i < G_N_ELEMENTS(tests); i++)
        g_test_add(tests[i].name, struct target, NULL, set_up, tests[i].run, tear_down);
    return g_test_run();
}
