// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Two who fight for a LUN, under load: nothing of a generation that was taken
 * over is written after the takeover, and a generation never comes twice,
 * wherever the target is killed.
 */
#include <signal.h>
#include <stdatomic.h>
#include <string.h>

#include "client.h"

enum { BLOCKS = 16, SESSIONS = 3, TAKEOVERS = 40, WRITES = 60, KILLS = 30 };

/* ---- a mount that writes as fast as it can ---- */

struct writer {
    struct mount *mount;
    struct client *client;
    GThread *thread;
};

struct mount {
    enum who who;
    uint64_t generation;
    uint8_t fill;
    atomic_uint_fast64_t ordinal; /* the last one that is taken */
    atomic_uint written;
    struct writer writers[SESSIONS];
};

/* Until it is refused. */
static gpointer write_on(gpointer data)
{
    struct writer *w = data;
    struct mount *m = w->mount;
    struct wire_receipt receipt;
    struct status status;

    do {
        uint64_t ordinal = atomic_fetch_add(&m->ordinal, 1) + 1;

        status = client_write(
            w->client, &(struct write){WIRE_OP_WRITE, ordinal % BLOCKS, 1, ordinal, 0, m->fill});
        atomic_fetch_add(&m->written, status.code == SCSI_STATUS_GOOD);
        if (ordinal % 32 == 0)
            g_assert_true(client_sync(w->client, 0, &receipt));
    } while (status.code == SCSI_STATUS_GOOD);
    g_assert_cmphex(status.sense, ==, ACCESS_DENIED);
    do /* it is refused from the beginning of the takeover on, and fenced at its end */
        g_assert_true(client_sync(w->client, 0, &receipt));
    while (receipt.lease_state == WIRE_LEASE_HELD);
    g_assert_cmpint(receipt.lease_state, ==, WIRE_LEASE_FENCED);
    g_assert_cmpuint(wire_get64(receipt.generation), >, m->generation);
    return NULL;
}

static void assert_all(const struct target *t, uint8_t fill)
{
    uint8_t got[BLOCK], expected[BLOCK];

    memset(expected, fill, BLOCK);
    for (uint64_t block = 0; block < BLOCKS; block++) {
        target_peek(t, block, got);
        g_assert_cmpmem(got, BLOCK, expected, BLOCK);
    }
}

static void mount_take(struct mount *m, const struct target *t, uint64_t generation)
{
    struct hello hello = {.who = m->who, .intent = WIRE_INTENT_STEAL, .generation = generation};

    m->fill = (uint8_t)(generation + 1);
    atomic_store(&m->ordinal, 0);
    atomic_store(&m->written, 0);
    m->writers[0].client = client_open(t);
    g_assert_cmpint(client_take(m->writers[0].client, &hello), ==, WIRE_ACCEPTED);
    m->generation = m->writers[0].client->generation;
    g_assert_cmpuint(m->generation, ==, generation + 1);
    hello.intent = WIRE_INTENT_RESUME;
    hello.generation = m->generation;
    for (unsigned i = 1; i < SESSIONS; i++) {
        m->writers[i].client = client_again(t, m->writers[0].client);
        g_assert_cmpint(client_take(m->writers[i].client, &hello), ==, WIRE_ACCEPTED);
    }
}

static void mount_fill(struct mount *m)
{
    const struct write all = {WIRE_OP_WRITE, 0, BLOCKS, atomic_fetch_add(&m->ordinal, 1) + 1, 0,
                              m->fill};

    g_assert_cmpint(client_write(m->writers[0].client, &all).code, ==, SCSI_STATUS_GOOD);
}

static void mount_start(struct mount *m)
{
    for (unsigned i = 0; i < SESSIONS; i++) {
        m->writers[i].mount = m;
        m->writers[i].thread = g_thread_new("writer", write_on, &m->writers[i]);
    }
    while (atomic_load(&m->written) < WRITES)
        g_usleep(1000);
}

static void mount_join(struct mount *m)
{
    for (unsigned i = 0; i < SESSIONS; i++) {
        g_thread_join(m->writers[i].thread);
        client_cut(m->writers[i].client);
    }
}

static void test_fight(void)
{
    struct mount mounts[2] = {{.who = ALICE}, {.who = BOB}};
    struct mount *m = NULL, *last = NULL;
    struct target t;

    target_start(&t);
    for (uint64_t i = 0; i < TAKEOVERS; i++, last = m) {
        m = &mounts[i % 2];
        mount_take(m, &t, i);
        mount_fill(m);
        assert_all(&t, m->fill); /* already, whatever the last one has on its way */
        if (last)
            mount_join(last);
        assert_all(&t, m->fill); /* and nothing of it came late */
        mount_start(m);
    }
    struct client *c = client_open(&t);
    client_attach(c, WIRE_INTENT_STEAL, TAKEOVERS);
    mount_join(last);
    client_close(c);
    target_stop(&t);
}

/* ---- the target is killed while a lease changes hands ---- */

struct thief {
    const struct target *target;
    uint64_t granted; /* the highest generation so far */
    atomic_uint count;
};

/* From whoever has it, again and again, until the target is gone. */
static gpointer steal_on(gpointer data)
{
    struct thief *thief = data;
    enum wire_refusal refusal = WIRE_ACCEPTED;

    while (refusal != LOST) {
        struct client *c = client_try_open(thief->target);
        struct hello hello = {.intent = WIRE_INTENT_STEAL, .generation = thief->granted};

        if (!c)
            break;
        refusal = client_take(c, &hello);
        if (refusal == WIRE_REFUSED_GENERATION)
            thief->granted = wire_get64(c->welcome.generation); /* recorded, and killed then */
        if (refusal == WIRE_ACCEPTED)
            thief->granted = c->generation;
        atomic_fetch_add(&thief->count, refusal == WIRE_ACCEPTED);
        client_cut(c);
    }
    return NULL;
}

static void test_killed_in_a_takeover(void)
{
    const char *const long_lease[] = {"--lease-timeout", "86400", NULL};
    struct target t;
    struct thief thief = {.target = &t};
    GRand *random = g_rand_new_with_seed(6);

    target_start(&t);
    for (unsigned i = 0; i < KILLS; i++) {
        struct client *c = client_open(&t);
        const struct hello ask = {.who = BOB, .intent = WIRE_INTENT_ACQUIRE};
        GThread *thread;

        /* what was granted was recorded; one more may have been, and nobody heard of it */
        g_assert_true(client_handshake(c, &ask));
        g_assert_cmpint(c->welcome.refusal, ==, i ? WIRE_REFUSED_HELD : WIRE_ACCEPTED);
        g_assert_cmpuint(wire_get64(c->welcome.generation), >=, thief.granted);
        g_assert_cmpuint(wire_get64(c->welcome.generation), <=, thief.granted + 1);
        client_cut(c);
        atomic_store(&thief.count, 0);
        thread = g_thread_new("thief", steal_on, &thief);
        while (atomic_load(&thief.count) < 2)
            g_usleep(1000);
        g_usleep((gulong)g_rand_int_range(random, 0, 10000)); /* anywhere in it */
        target_end(&t, SIGKILL);
        g_thread_join(thread);
        target_run(&t, long_lease);
    }
    g_rand_free(random);
    target_stop(&t);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/takeover/fight", test_fight);
    g_test_add_func("/takeover/killed-in-a-takeover", test_killed_in_a_takeover);
    return g_test_run();
}
