// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * encsan-target by PROTOCOL, from an initiator that also breaks its rules:
 * handshake and leases, order and copies of writes, receipts, forged and
 * repeated commands.
 */
#include <string.h>

#include "client.h"

#define GOOD SCSI_STATUS_GOOD
#define CHECK SCSI_STATUS_CHECK_CONDITION

struct fixture {
    struct target target;
    struct client *c; /* holds the lease */
};

static void set_up(struct fixture *f, gconstpointer unused)
{
    memset(f, 0, sizeof *f);
    target_start(&f->target);
    f->c = client_open(&f->target);
    client_attach(f->c, WIRE_INTENT_ACQUIRE, 0);
}

static void tear_down(struct fixture *f, gconstpointer unused)
{
    client_close(f->c);
    target_stop(&f->target);
}

static void assert_block(const struct fixture *f, uint64_t block, uint8_t fill)
{
    uint8_t got[BLOCK], expected[BLOCK];

    memset(expected, fill, BLOCK);
    target_peek(&f->target, block, got);
    g_assert_cmpmem(got, BLOCK, expected, BLOCK);
}

static void write_ok(struct client *c, uint64_t lba, uint64_t ordinal, uint64_t after, uint8_t fill)
{
    g_assert_cmpint(
        client_write(c, &(struct write){WIRE_OP_WRITE, lba, 1, ordinal, after, fill}).code, ==,
        GOOD);
}

static struct wire_receipt sync_ok(struct client *c, uint64_t ordinal)
{
    struct wire_receipt receipt;

    g_assert_true(client_sync(c, ordinal, &receipt));
    return receipt;
}

static void assert_durable(struct client *c, uint64_t ordinal)
{
    struct wire_receipt receipt = sync_ok(c, ordinal);

    g_assert_cmpuint(wire_get64(receipt.durable), ==, ordinal);
}

/* ---- what it is for ---- */

static void test_round_trip(struct fixture *f, gconstpointer unused)
{
    const uint32_t blocks = WIRE_DATA_BLOCKS_MAX;
    g_autofree uint8_t *in = g_malloc(blocks * BLOCK), *expected = g_malloc(blocks * BLOCK);
    const struct write w = {WIRE_OP_WRITE, 100, blocks, 1, 0, 0xA5};

    memset(expected, 0xA5, blocks * BLOCK);
    g_assert_cmpint(client_write(f->c, &w).code, ==, GOOD);
    g_assert_cmpint(client_read(f->c, 100, blocks, in), ==, GOOD);
    g_assert_cmpmem(in, blocks * BLOCK, expected, blocks * BLOCK);
    assert_durable(f->c, 1);
    assert_block(f, 100, 0xA5);
    assert_block(f, 100 + blocks, 0);
    g_assert_cmpint(client_write(f->c, &(struct write){WIRE_OP_ZEROES, 100, 2, 2, 0, 0}).code, ==,
                    GOOD);
    g_assert_cmpint(client_write(f->c, &(struct write){WIRE_OP_UNMAP, 103, 2, 3, 0, 0}).code, ==,
                    GOOD);
    assert_durable(f->c, 3);
    assert_block(f, 100, 0);
    assert_block(f, 102, 0xA5);
    assert_block(f, 104, 0);
    assert_block(f, 105, 0xA5);
}

/* ---- ordinals ---- */

static void test_copies(struct fixture *f, gconstpointer unused)
{
    write_ok(f->c, 5, 1, 0, 1);
    write_ok(f->c, 5, 1, 0, 2); /* answered, and skipped */
    assert_block(f, 5, 1);
    assert_durable(f->c, 1);
    write_ok(f->c, 5, 1, 0, 3);
    assert_block(f, 5, 1);
    write_ok(f->c, 6, 3, 2, 4); /* waits */
    write_ok(f->c, 6, 3, 2, 5); /* takes its place */
    write_ok(f->c, 7, 2, 0, 6);
    assert_durable(f->c, 3);
    assert_block(f, 6, 5);
}

static void test_after(struct fixture *f, gconstpointer unused)
{
    const struct write backwards = {WIRE_OP_WRITE, 1, 1, 9, 9, 9};
    struct wire_receipt receipt;

    write_ok(f->c, 2, 2, 1, 2);
    write_ok(f->c, 3, 3, 2, 3);
    assert_block(f, 2, 0);
    receipt = sync_ok(f->c, 0);
    g_assert_cmpuint(wire_get64(receipt.executed), ==, 0);
    g_assert_cmphex(receipt.bitmap[0], ==, 0);
    write_ok(f->c, 1, 1, 0, 1);
    assert_durable(f->c, 3);
    assert_block(f, 2, 2);
    assert_block(f, 3, 3);
    g_assert_cmpint(client_write(f->c, &backwards).code, ==, CHECK);
    assert_block(f, 1, 1);
}

static void test_waiting_limit(struct fixture *f, gconstpointer unused)
{
    const struct write more = {WIRE_OP_WRITE, 99, 1, 99, 1, 9};

    for (uint64_t i = 0; i < WIRE_WAITING_MAX; i++)
        write_ok(f->c, 10 + i, 2 + i, 1, 7);
    g_assert_cmpint(client_write(f->c, &more).code, ==, SCSI_STATUS_TASK_SET_FULL);
    write_ok(f->c, 1, 1, 0, 1);
    assert_durable(f->c, 1 + WIRE_WAITING_MAX);
    assert_block(f, 10 + WIRE_WAITING_MAX - 1, 7);
    g_assert_cmpint(client_write(f->c, &more).code, ==, GOOD);
    assert_block(f, 99, 9);
}

static void test_window(struct fixture *f, gconstpointer unused)
{
    const struct write beyond = {WIRE_OP_WRITE, 1, 1, WIRE_ORDINAL_WINDOW + 1, 0, 1};
    const struct write last = {WIRE_OP_WRITE, 1, 1, WIRE_ORDINAL_WINDOW, 0, 1};

    g_assert_cmpint(client_write(f->c, &beyond).code, ==, CHECK);
    g_assert_cmpint(client_write(f->c, &last).code, ==, GOOD);
    write_ok(f->c, 2, 1, 0, 2);
    assert_durable(f->c, 1);
    g_assert_cmpint(client_write(f->c, &beyond).code, ==, GOOD);
}

/* ---- receipts ---- */

static void test_short_receipt(struct fixture *f, gconstpointer unused)
{
    struct wire_receipt receipt;
    gint64 start;

    write_ok(f->c, 1, 1, 0, 1);
    write_ok(f->c, 3, 3, 0, 3);
    write_ok(f->c, 12, 12, 0, 12);
    start = g_get_monotonic_time();
    receipt = sync_ok(f->c, 12);
    g_assert_cmpint(g_get_monotonic_time() - start, >=, WIRE_SYNC_WAIT_US * 9 / 10);
    g_assert_cmpint(g_get_monotonic_time() - start, <, WIRE_SYNC_WAIT_US * 3);
    g_assert_cmpuint(wire_get64(receipt.executed), ==, 1);
    g_assert_cmphex(receipt.bitmap[0], ==, 1u << 1);
    g_assert_cmphex(receipt.bitmap[1], ==, 1u << 2);
    g_assert_cmpuint(wire_get64(receipt.failed_ordinal), ==, 0);
}

static void test_failed_write(struct fixture *f, gconstpointer unused)
{
    const struct write outside = {WIRE_OP_WRITE, DISK_BYTES / BLOCK, 1, 2, 0, 1};
    const struct write none = {.operation = WIRE_OP_NONE, .ordinal = 2};
    struct wire_receipt receipt;

    write_ok(f->c, 1, 1, 0, 1);
    g_assert_cmpint(client_write(f->c, &outside).code, ==, CHECK);
    write_ok(f->c, 3, 3, 2, 3);
    assert_durable(f->c, 1);
    receipt = sync_ok(f->c, 0);
    g_assert_cmpuint(wire_get64(receipt.failed_ordinal), ==, 2);
    g_assert_cmphex(receipt.failed_sense_key, ==, 0x05);
    g_assert_cmphex(receipt.failed_asc, ==, 0x21);
    assert_block(f, 3, 0);
    g_assert_cmpint(client_write(f->c, &none).code, ==, GOOD);
    assert_durable(f->c, 3);
    receipt = sync_ok(f->c, 0);
    g_assert_cmpuint(wire_get64(receipt.failed_ordinal), ==, 0);
    assert_block(f, 3, 3);
}

static void test_read_outside(struct fixture *f, gconstpointer unused)
{
    uint8_t in[2 * BLOCK];

    g_assert_cmpint(client_read(f->c, DISK_BYTES / BLOCK - 1, 1, in), ==, GOOD);
    g_assert_cmpint(client_read(f->c, DISK_BYTES / BLOCK - 1, 2, in), ==, CHECK);
    g_assert_cmpint(client_read(f->c, WIRE_LBA_MAX - 1, 1, in), ==, CHECK);
}

/* ---- forged and repeated ---- */

static void test_replay(struct fixture *f, gconstpointer unused)
{
    g_autofree uint8_t *out = g_malloc(WIRE_PDU_DATA_MAX);
    uint8_t cdb[WIRE_CDB_BYTES], in[WIRE_SYNC_BYTES];
    const struct write w = {WIRE_OP_WRITE, 1, 1, 1, 0, 1};
    size_t bytes = client_seal(f->c, &w, cdb, out);

    g_assert_cmpint(client_out(f->c, cdb, sizeof cdb, out, bytes).code, ==, GOOD);
    g_assert_cmpint(client_out(f->c, cdb, sizeof cdb, out, bytes).code, ==, CHECK);
    g_assert_cmpint(sa_cdb_make(f->c->sa, WIRE_SEALED_SYNC, 0, cdb), ==, 0);
    g_assert_cmpint(client_in(f->c, cdb, sizeof cdb, in, sizeof in).code, ==, GOOD);
    g_assert_cmpint(client_in(f->c, cdb, sizeof cdb, in, sizeof in).code, ==, CHECK);
    g_assert_cmpint(sa_cdb_make(f->c->sa, WIRE_SEALED_READ, wire_read_field(0, 1), cdb), ==, 0);
    g_autofree uint8_t *read = g_malloc(WIRE_READ_BYTES(1));
    g_assert_cmpint(client_in(f->c, cdb, sizeof cdb, read, WIRE_READ_BYTES(1)).code, ==, GOOD);
    g_assert_cmpint(client_in(f->c, cdb, sizeof cdb, read, WIRE_READ_BYTES(1)).code, ==, CHECK);
}

static void test_flipped(struct fixture *f, gconstpointer unused)
{
    g_autofree uint8_t *out = g_malloc(WIRE_PDU_DATA_MAX);
    uint8_t cdb[WIRE_CDB_BYTES];
    const struct write w = {WIRE_OP_WRITE, 1, 1, 1, 0, 1};
    size_t bytes = client_seal(f->c, &w, cdb, out);
    const size_t places[] = {0, 40, bytes - 1};

    for (unsigned i = 1; i < WIRE_CDB_BYTES; i++) {
        cdb[i] ^= 0x10;
        g_assert_cmpint(client_out(f->c, cdb, sizeof cdb, out, bytes).code, ==, CHECK);
        cdb[i] ^= 0x10;
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(places); i++) {
        out[places[i]] ^= 1;
        g_assert_cmpint(client_out(f->c, cdb, sizeof cdb, out, bytes).code, ==, CHECK);
        out[places[i]] ^= 1;
    }
    g_assert_cmpint(client_out(f->c, cdb, sizeof cdb, out, bytes - 8).code, ==, CHECK);
    assert_block(f, 1, 0);
    /* none of it has used up the number */
    g_assert_cmpint(client_out(f->c, cdb, sizeof cdb, out, bytes).code, ==, GOOD);
    assert_block(f, 1, 1);
}

static void test_many_bad_tags(struct fixture *f, gconstpointer unused)
{
    struct client *other = client_open(&f->target);
    uint8_t cdb[WIRE_CDB_BYTES] = {WIRE_SEALED_SYNC}, in[WIRE_SYNC_BYTES];
    unsigned n = 0;

    while (n < WIRE_BAD_TAGS_MAX + 10 &&
           client_in(other, cdb, sizeof cdb, in, sizeof in).code == CHECK)
        n++;
    g_assert_cmpuint(n, >=, WIRE_BAD_TAGS_MAX - 1);
    g_assert_cmpuint(n, <=, WIRE_BAD_TAGS_MAX);
    client_close(other);
    write_ok(f->c, 1, 1, 0, 1);
}

static void test_plain_refused(struct fixture *f, gconstpointer unused)
{
    const uint8_t read_10[10] = {0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0};
    const uint8_t write_16[16] = {0x8A, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0};
    uint8_t block[BLOCK] = {1};

    g_assert_cmphex(client_in(f->c, read_10, 10, block, BLOCK).sense, ==, ACCESS_DENIED);
    g_assert_cmphex(client_out(f->c, write_16, 16, block, BLOCK).sense, ==, ACCESS_DENIED);
    assert_block(f, 0, 0);
}

/* ---- handshakes ---- */

static void test_refusals(struct fixture *f, gconstpointer unused)
{
    static const struct {
        struct hello hello;
        enum wire_refusal refusal;
    } cases[] = {
        {{.who = MALLORY, .intent = WIRE_INTENT_ACQUIRE}, WIRE_REFUSED_INITIATOR},
        {{.version = 2, .intent = WIRE_INTENT_ACQUIRE}, WIRE_REFUSED_VERSION},
        {{.suites = WIRE_SUITE_BIT(WIRE_SUITE_NULL), .intent = WIRE_INTENT_ACQUIRE},
         WIRE_REFUSED_SUITE},
        {{.intent = WIRE_INTENT_ACQUIRE}, WIRE_REFUSED_HELD},
        {{.intent = WIRE_INTENT_RO}, WIRE_REFUSED_HELD},
        {{.intent = WIRE_INTENT_STEAL, .generation = 2}, WIRE_REFUSED_GENERATION},
        {{.intent = WIRE_INTENT_RESUME, .generation = 1}, WIRE_REFUSED_GENERATION},
    };
    const struct hello wrong_target = {.wrong_target = true, .intent = WIRE_INTENT_ACQUIRE};
    struct client *other = client_open(&f->target);

    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_assert_true(client_handshake(other, &cases[i].hello));
        g_assert_cmpint(other->welcome.refusal, ==, cases[i].refusal);
    }
    g_assert_cmpmem(other->welcome.holder_mount_id, WIRE_ID_BYTES, f->c->mount_id, WIRE_ID_BYTES);
    g_assert_false(client_handshake(other, &wrong_target));
    client_close(other);
    write_ok(f->c, 1, 1, 0, 1);
}

/* Message 1, which could be a replay, leaves the working SA alone. */
static void test_pending(struct fixture *f, gconstpointer unused)
{
    const struct hello resume = {.intent = WIRE_INTENT_RESUME, .generation = 1};
    struct sa *first = f->c->sa, *second;
    struct wire_receipt receipt;
    uint8_t in[BLOCK];

    g_assert_true(client_handshake(f->c, &resume));
    g_assert_cmpint(f->c->welcome.refusal, ==, WIRE_ACCEPTED);
    second = f->c->sa;
    g_assert_cmpint(sa_index(first), !=, sa_index(second));
    g_assert_cmpint(client_read(f->c, 0, 1, in), ==, -1); /* no SEALED WRITE has opened under it */
    g_assert_false(client_sync(f->c, 0, &receipt));
    f->c->sa = first;
    write_ok(f->c, 1, 1, 0, 1);
    f->c->sa = second;
    write_ok(f->c, 2, 2, 0, 2);
    assert_durable(f->c, 2);
    f->c->sa = first; /* previous: still served */
    assert_durable(f->c, 2);
    f->c->sa = second;
    sa_free(first);
}

/* ---- leases ---- */

static void test_next_holder(struct fixture *f, gconstpointer unused)
{
    struct client *next = client_open(&f->target);
    struct wire_receipt receipt;

    write_ok(f->c, 1, 1, 0, 1);
    write_ok(f->c, 3, 3, 2, 3); /* waits, and goes with its session */
    client_close(f->c);
    f->c = next;
    client_attach(next, WIRE_INTENT_ACQUIRE, 0);
    g_assert_cmpuint(wire_get64(next->welcome.generation), ==, 1);
    receipt = sync_ok(next, 0);
    g_assert_cmpuint(wire_get64(receipt.generation), ==, 2);
    g_assert_cmpuint(wire_get64(receipt.durable), ==, 0);
    write_ok(next, 2, 1, 0, 2); /* numbers begin anew */
    write_ok(next, 4, 2, 0, 4);
    assert_durable(next, 2);
    assert_block(f, 1, 1);
    assert_block(f, 2, 2);
    assert_block(f, 3, 0);
}

static void test_resume(struct fixture *f, gconstpointer unused)
{
    struct client *again = client_again(&f->target, f->c);
    struct wire_receipt receipt;

    write_ok(f->c, 1, 1, 0, 1);
    write_ok(f->c, 3, 3, 2, 3);
    client_leave(f->c);
    f->c = again;
    client_attach(again, WIRE_INTENT_RESUME, 1);
    receipt = sync_ok(again, 1);
    g_assert_cmpuint(wire_get64(receipt.generation), ==, 1);
    g_assert_cmpuint(wire_get64(receipt.durable), ==,
                     1); /* what was executed has outlived the session */
    write_ok(again, 2, 2, 0, 2);
    assert_durable(again, 2);
    assert_block(f, 3, 0); /* what waited has not */
    write_ok(again, 3, 3, 2, 4);
    assert_durable(again, 3);
    assert_block(f, 3, 4);
}

static void test_two_at_once(struct fixture *f, gconstpointer unused)
{
    const struct hello acquire = {.intent = WIRE_INTENT_ACQUIRE};
    const struct write none = {.operation = WIRE_OP_NONE}, w = {WIRE_OP_WRITE, 1, 1, 1, 0, 1};
    struct client *first = client_open(&f->target), *second = client_open(&f->target);
    struct wire_receipt receipt;
    uint8_t in[BLOCK];

    client_close(f->c);
    g_assert_true(client_handshake(first, &acquire));
    g_assert_true(client_handshake(second, &acquire));
    g_assert_cmpint(first->welcome.refusal, ==, WIRE_ACCEPTED);
    g_assert_cmpint(second->welcome.refusal, ==, WIRE_ACCEPTED);
    g_assert_cmpint(client_write(second, &none).code, ==, GOOD);
    g_assert_cmpint(client_write(first, &none).code, ==, CHECK);
    receipt = sync_ok(first, 0);
    g_assert_cmpint(receipt.lease_state, ==, WIRE_LEASE_FENCED);
    g_assert_cmpint(client_write(first, &w).code, ==, CHECK);
    g_assert_cmpint(client_read(first, 0, 1, in), !=, GOOD);
    assert_block(f, 1, 0);
    g_assert_cmpint(client_write(second, &w).code, ==, GOOD);
    client_close(first);
    f->c = second;
}

static void test_read_only(struct fixture *f, gconstpointer unused)
{
    const struct hello acquire = {.intent = WIRE_INTENT_ACQUIRE};
    const struct write w = {WIRE_OP_WRITE, 1, 1, 1, 0, 1};
    struct client *first = client_open(&f->target), *second = client_open(&f->target);
    uint8_t in[BLOCK];

    client_close(f->c);
    client_attach(first, WIRE_INTENT_RO, 0);
    client_attach(second, WIRE_INTENT_RO, 0);
    g_assert_cmpint(client_read(first, 0, 1, in), ==, GOOD);
    g_assert_cmpint(client_write(first, &w).code, ==, CHECK);
    assert_block(f, 1, 0);
    f->c = client_open(&f->target);
    g_assert_true(client_handshake(f->c, &acquire));
    g_assert_cmpint(f->c->welcome.refusal, ==, WIRE_REFUSED_HELD);
    client_close(first);
    client_close(second);
    client_attach(f->c, WIRE_INTENT_ACQUIRE, 0);
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*run)(struct fixture *f, gconstpointer unused);
    } tests[] = {
        {"/target/round-trip", test_round_trip},
        {"/target/copies", test_copies},
        {"/target/after", test_after},
        {"/target/waiting-limit", test_waiting_limit},
        {"/target/ordinal-window", test_window},
        {"/target/short-receipt", test_short_receipt},
        {"/target/failed-write", test_failed_write},
        {"/target/read-outside", test_read_outside},
        {"/target/replay", test_replay},
        {"/target/flipped", test_flipped},
        {"/target/many-bad-tags", test_many_bad_tags},
        {"/target/plain-refused", test_plain_refused},
        {"/target/refusals", test_refusals},
        {"/target/pending", test_pending},
        {"/target/next-holder", test_next_holder},
        {"/target/resume", test_resume},
        {"/target/two-at-once", test_two_at_once},
        {"/target/read-only", test_read_only},
    };

    g_test_init(&argc, &argv, NULL);
    for (size_t i = 0; i < G_N_ELEMENTS(tests); i++)
        g_test_add(tests[i].name, struct fixture, NULL, set_up, tests[i].run, tear_down);
    return g_test_run();
}
