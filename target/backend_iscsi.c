// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * A LUN of another iSCSI target as a disk: backend.h. Here are its commands and
 * what it says of itself (SBC-3); the sessions are upstream.c's.
 *
 * What it has answered may lie in its cache. So what was written counts: begun,
 * ended, flushed. If the disk was lost between, `losses` grows.
 */
#include "backend.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "clock.h"
#include "upstream.h"

#define TRANSFER_BYTES_MAX (1u << 20)
#define WRITE_SAME_BYTES_MAX (64u << 20) /* ends in reasonable time also where zeros are written */
#define FLUSH_WAIT_US 20000000
#define SERIAL_BYTES_MAX 252

enum {
    INQUIRY = 0x12,
    SYNCHRONIZE_CACHE_10 = 0x35,
    READ_16 = 0x88,
    WRITE_16 = 0x8A,
    WRITE_SAME_16 = 0x93,
    SERVICE_ACTION_IN_16 = 0x9E,
    READ_CAPACITY_16 = 0x10,
    GET_LBA_STATUS = 0x12,
};

struct identity { /* of a disk: another one has another */
    uint32_t block_bytes;
    uint8_t serial[SERIAL_BYTES_MAX]; /* VPD page 80h, zeros where there is none */
};

struct disk {
    struct backend backend;
    struct upstream *upstream;
    uint64_t bytes_max;
    struct identity identity;
    uint32_t transfer_bytes_max; /* constant, as the next one */
    uint32_t write_same_bytes_max;
    atomic_bool unmaps; /* WRITE SAME with UNMAP works, and zeros are read afterwards */

    pthread_mutex_t lock;    /* guards what follows */
    uint64_t begun, flushed; /* of the calls that write; up to `flushed` they are on stable storage */
    unsigned writing;
};

static uint8_t zeros[256u << 10]; /* nobody writes to it */

static struct disk *disk_of(struct backend *backend)
{
    return (struct disk *)backend;
}

/* ---- what is written and not flushed ---- */

static void write_begins(struct disk *d)
{
    pthread_mutex_lock(&d->lock);
    d->begun++;
    d->writing++;
    pthread_mutex_unlock(&d->lock);
}

static void write_ends(struct disk *d)
{
    pthread_mutex_lock(&d->lock);
    d->writing--;
    pthread_mutex_unlock(&d->lock);
}

static void lost(void *opaque)
{
    struct disk *d = opaque;

    pthread_mutex_lock(&d->lock);
    if (d->begun != d->flushed)
        atomic_fetch_add(&d->backend.losses, 1);
    if (d->writing == 0)
        d->flushed = d->begun;
    pthread_mutex_unlock(&d->lock);
}

/* ---- commands ---- */

static void put_range(struct upstream_command *c, const struct disk *d, uint64_t bytes,
                      uint64_t offset)
{
    wire_put64(c->cdb + 2, offset / d->backend.block_bytes);
    wire_put32(c->cdb + 10, (uint32_t)(bytes / d->backend.block_bytes));
}

/* ILLEGAL REQUEST that nobody has asked for. */
static int plain_error(int error)
{
    return error == -EOPNOTSUPP ? -EREMOTEIO : error;
}

static int transfer(struct disk *d, uint8_t opcode, uint8_t *data, size_t count, uint64_t offset)
{
    int error = 0;

    while (count && !error) {
        uint32_t n = count < d->transfer_bytes_max ? (uint32_t)count : d->transfer_bytes_max;
        struct upstream_command c = {
            .cdb = {opcode}, .out = opcode == WRITE_16, .bytes = n, .data = data};

        put_range(&c, d, n, offset);
        error = plain_error(upstream_run(d->upstream, &c));
        if (!error && c.missing)
            error = -EREMOTEIO;
        data += n;
        offset += n;
        count -= n;
    }
    return error;
}

static int iscsi_pread(struct backend *backend, void *buf, size_t count, uint64_t offset)
{
    return transfer(disk_of(backend), READ_16, buf, count, offset);
}

static int iscsi_pwrite(struct backend *backend, const void *buf, size_t count, uint64_t offset)
{
    struct disk *d = disk_of(backend);
    int error;

    write_begins(d);
    error = transfer(d, WRITE_16, (uint8_t *)buf, count, offset);
    write_ends(d);
    return error;
}

static int write_zeros(struct disk *d, uint64_t count, uint64_t offset)
{
    int error = 0;

    while (count && !error) {
        size_t n = count < sizeof zeros ? (size_t)count : sizeof zeros;

        error = transfer(d, WRITE_16, zeros, n, offset);
        offset += n;
        count -= n;
    }
    return error;
}

/* SBC-3, 5.43: unlike after UNMAP, zeros are read in any case. */
static int write_same(struct disk *d, uint64_t count, uint64_t offset)
{
    enum { UNMAP = 0x08 };
    int error = 0;

    while (count && !error) {
        uint64_t n = count < d->write_same_bytes_max ? count : d->write_same_bytes_max;
        struct upstream_command c = {.cdb = {WRITE_SAME_16, UNMAP},
                                     .out = true,
                                     .bytes = d->backend.block_bytes,
                                     .data = zeros};

        put_range(&c, d, n, offset);
        error = upstream_run(d->upstream, &c);
        offset += n;
        count -= n;
    }
    return error;
}

static int iscsi_zero(struct backend *backend, uint64_t count, uint64_t offset)
{
    struct disk *d = disk_of(backend);
    int error = -EOPNOTSUPP;

    write_begins(d);
    if (d->unmaps)
        error = write_same(d, count, offset);
    if (error == -EOPNOTSUPP || error == -EREMOTEIO) { /* some say so where what is below them can't */
        d->unmaps = false;
        error = write_zeros(d, count, offset);
    }
    write_ends(d);
    return error;
}

/* SBC-3, 5.4: of the first descriptor, the blocks from `offset` on. */
static int iscsi_extent(struct backend *backend, uint64_t offset, uint64_t *count, bool *mapped)
{
    struct disk *d = disk_of(backend);
    uint8_t answer[8 + 16] = {0};
    struct upstream_command c = {.cdb = {SERVICE_ACTION_IN_16, GET_LBA_STATUS},
                                 .bytes = sizeof answer,
                                 .data = answer};
    uint64_t blocks;
    int error = -EOPNOTSUPP;

    *mapped = true;
    put_range(&c, d, 0, offset);
    wire_put32(c.cdb + 10, sizeof answer);
    if (d->unmaps)
        error = upstream_run(d->upstream, &c);
    if (error || c.missing || wire_get64(answer + 8) != offset / backend->block_bytes)
        return error == -EOPNOTSUPP ? 0 : error;
    *mapped = (answer[8 + 12] & 0x0F) == 0;
    blocks = wire_get32(answer + 8 + 8);
    if (blocks > 0 && blocks * backend->block_bytes < *count)
        *count = blocks * backend->block_bytes;
    return 0;
}

/* Where the disk is lost meanwhile, the answer would be one about nothing. */
static int synchronize(struct disk *d)
{
    struct upstream_command c = {.cdb = {SYNCHRONIZE_CACHE_10}, .once = true};
    unsigned losses = atomic_load(&d->backend.losses);
    uint64_t until_us = now_us() + FLUSH_WAIT_US;
    int error;

    do
        error = plain_error(upstream_run(d->upstream, &c));
    while (error == -EAGAIN && atomic_load(&d->backend.losses) == losses && now_us() < until_us &&
           !upstream_has_given_up(d->upstream));
    if (error && error != -EAGAIN)
        atomic_fetch_add(&d->backend.losses, 1);
    return atomic_load(&d->backend.losses) != losses && !error ? -EAGAIN : error;
}

static int iscsi_flush(struct backend *backend)
{
    struct disk *d = disk_of(backend);
    uint64_t begun;
    bool whole, clean;
    int error;

    pthread_mutex_lock(&d->lock);
    begun = d->begun;
    clean = begun == d->flushed;
    whole = d->writing == 0;
    pthread_mutex_unlock(&d->lock);
    if (clean)
        return 0;
    error = synchronize(d);
    pthread_mutex_lock(&d->lock);
    if (!error && whole && begun > d->flushed)
        d->flushed = begun;
    pthread_mutex_unlock(&d->lock);
    return error;
}

static void iscsi_give_up(struct backend *backend)
{
    upstream_give_up(disk_of(backend)->upstream);
}

static void iscsi_await(struct backend *backend, uint64_t until_us)
{
    upstream_await(disk_of(backend)->upstream, until_us);
}

static void iscsi_report(struct backend *backend, struct backend_report *report)
{
    upstream_report(disk_of(backend)->upstream, report);
}

static void iscsi_use_password(struct backend *backend, const char *path)
{
    upstream_use_password(disk_of(backend)->upstream, path);
}

static int iscsi_grow(struct backend *backend, uint64_t bytes, char *message, size_t size);

static void iscsi_close(struct backend *backend)
{
    struct disk *d = disk_of(backend);

    upstream_close(d->upstream);
    pthread_mutex_destroy(&d->lock);
    free(d);
}

static const struct backend_operations operations = {
    .pread = iscsi_pread,
    .pwrite = iscsi_pwrite,
    .zero = iscsi_zero,
    .unmap = iscsi_zero,
    .extent = iscsi_extent,
    .flush = iscsi_flush,
    .give_up = iscsi_give_up,
    .await = iscsi_await,
    .report = iscsi_report,
    .use_password = iscsi_use_password,
    .grow = iscsi_grow,
    .close = iscsi_close,
};

/* ---- what it says of itself ---- */

/* Of what does not come: zeros. */
static int ask(struct upstream *u, const struct upstream_command *like, uint8_t *answer,
               uint32_t bytes)
{
    struct upstream_command c = *like;
    int error;

    memset(answer, 0, bytes);
    c.bytes = bytes;
    c.data = answer;
    error = upstream_ask(u, &c);
    if (!error && c.missing < bytes)
        memset(answer + bytes - c.missing, 0, c.missing);
    return error;
}

static int inquire(struct upstream *u, uint8_t page, uint8_t *answer, uint8_t bytes)
{
    const struct upstream_command c = {.cdb = {INQUIRY, page != 0, page, 0, bytes}};
    int error = ask(u, &c, answer, bytes);

    if (!error && page != 0 && answer[1] != page)
        error = -EOPNOTSUPP;
    return error;
}

/* A page that it has not says nothing. */
static int inquire_page(struct upstream *u, uint8_t page, uint8_t *answer, uint8_t bytes)
{
    int error = inquire(u, page, answer, bytes);

    if (error == -EOPNOTSUPP)
        memset(answer, 0, bytes);
    return error == -EOPNOTSUPP ? 0 : error;
}

static uint32_t limit_of(uint64_t blocks, uint32_t block_bytes, uint32_t most)
{
    return blocks > 0 && blocks < most / block_bytes ? (uint32_t)blocks * block_bytes : most;
}

/* VPD pages B0h and B2h: what it takes at once, and whether it unmaps. */
static int learn_limits(struct disk *d, struct upstream *u, bool zeros_when_unmapped)
{
    enum { LBPWS = 0x40 };
    uint32_t block_bytes = d->identity.block_bytes;
    uint8_t limits[64], provisioning[8];
    int error = inquire_page(u, 0xB0, limits, sizeof limits);

    if (!error)
        error = inquire_page(u, 0xB2, provisioning, sizeof provisioning);
    d->transfer_bytes_max = limit_of(wire_get32(limits + 8), block_bytes, TRANSFER_BYTES_MAX);
    d->write_same_bytes_max = limit_of(wire_get64(limits + 36), block_bytes, WRITE_SAME_BYTES_MAX);
    d->unmaps = zeros_when_unmapped && provisioning[5] & LBPWS;
    return error;
}

static int fail(int error, const char *what, char *message, size_t size)
{
    snprintf(message, size, "%s%s%s", what, error ? ": " : "", error ? strerror(-error) : "");
    return -1;
}

static const struct upstream_command read_capacity = {
    .cdb = {SERVICE_ACTION_IN_16, READ_CAPACITY_16, [13] = 32}};

/* In bytes, of what READ CAPACITY (16) has answered. */
static uint64_t capacity_bytes(const uint8_t capacity[32])
{
    return (wire_get64(capacity) + 1) * wire_get32(capacity + 8);
}

/* Can a disk of that many bytes be what ours was? */
static int check_bytes(const struct disk *d, uint64_t bytes, char *message, size_t size)
{
    if (bytes < d->backend.bytes)
        return fail(0, "has become smaller", message, size);
    if (bytes < WIRE_BLOCK_BYTES)
        return fail(0, "is smaller than a block", message, size);
    return bytes > d->bytes_max ? fail(0, "is larger than 1 PiB", message, size) : 0;
}

/* Block size and serial number; 0 or -errno. */
static int identify(struct upstream *u, struct identity *identity, uint8_t capacity[32])
{
    uint8_t serial[SERIAL_BYTES_MAX];
    int error = ask(u, &read_capacity, capacity, 32);

    if (!error)
        error = inquire_page(u, 0x80, serial, sizeof serial);
    memset(identity, 0, sizeof *identity);
    identity->block_bytes = wire_get32(capacity + 8);
    if (!error)
        memcpy(identity->serial, serial, sizeof serial);
    return error;
}

/* The first time. */
static int learn(struct disk *d, struct upstream *u, const uint8_t capacity[32], char *message,
                 size_t size)
{
    enum { LBPME_AND_LBPRZ = 0xC0 };
    const struct upstream_command synchronize_cache = {.cdb = {SYNCHRONIZE_CACHE_10}};
    uint32_t block_bytes = d->identity.block_bytes;
    uint8_t nothing[1];
    int error;

    if (block_bytes != 512 && block_bytes != 4096)
        return fail(0, "has blocks that are neither of 512 nor of 4096 bytes", message, size);
    if (check_bytes(d, capacity_bytes(capacity), message, size) != 0)
        return -1;
    error = ask(u, &synchronize_cache, nothing, 0);
    if (error)
        return fail(error, "cannot be flushed (SYNCHRONIZE CACHE)", message, size);
    error = learn_limits(d, u, (capacity[14] & LBPME_AND_LBPRZ) == LBPME_AND_LBPRZ);
    if (error)
        return fail(error, "INQUIRY", message, size);
    d->backend.block_bytes = block_bytes;
    d->backend.physical_bytes = block_bytes << (capacity[13] & 0x0F);
    d->backend.bytes = capacity_bytes(capacity); /* last: whoever sees it sees the others */
    return 0;
}

static int opened(void *opaque, struct upstream *u, char *message, size_t size)
{
    struct disk *d = opaque;
    struct identity now;
    uint8_t standard[36], capacity[32];
    int error = inquire(u, 0, standard, sizeof standard);

    if (!error && standard[0] != 0)
        return fail(0, "there is no disk with this LUN", message, size);
    if (!error)
        error = identify(u, &now, capacity);
    if (error)
        return fail(error, "INQUIRY or READ CAPACITY", message, size);
    if (d->backend.bytes == 0) {
        d->identity = now;
        return learn(d, u, capacity, message, size);
    }
    if (memcmp(&now, &d->identity, sizeof now) != 0)
        return fail(0, "another disk answers where ours was", message, size);
    return check_bytes(d, capacity_bytes(capacity), message, size);
}

/* It has the size that it has. Of one that is away now nothing new is known. */
static int iscsi_grow(struct backend *backend, uint64_t bytes, char *message, size_t size)
{
    struct disk *d = disk_of(backend);
    uint8_t capacity[32] = {0};
    struct upstream_command c = read_capacity;
    int error;

    c.bytes = sizeof capacity;
    c.data = capacity;
    if (backend->bytes == 0 || !upstream_is_there(d->upstream))
        return 0;
    error = upstream_run(d->upstream, &c);
    if (error == -EAGAIN)
        return 0;
    if (error || c.missing || wire_get32(capacity + 8) != backend->block_bytes)
        return fail(error, "READ CAPACITY", message, size);
    if (check_bytes(d, capacity_bytes(capacity), message, size) != 0)
        return -1;
    backend->bytes = capacity_bytes(capacity);
    return 0;
}

struct backend *backend_iscsi_open(const struct upstream_settings *settings, char *message,
                                   size_t size)
{
    struct disk *d = calloc(1, sizeof *d);
    struct upstream_events events = {.opened = opened, .lost = lost, .opaque = d};

    if (!d) {
        snprintf(message, size, "%s: out of memory", settings->name);
        return NULL;
    }
    d->backend.operations = &operations;
    d->bytes_max = settings->bytes_max;
    pthread_mutex_init(&d->lock, NULL);
    d->upstream = upstream_open(settings, &events, message, size);
    if (d->upstream)
        return &d->backend;
    pthread_mutex_destroy(&d->lock);
    free(d);
    return NULL;
}
