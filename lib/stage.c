// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Data that has not left: requests become staged segments. The volume's lock
 * is held throughout. Nothing here waits: a request that lacks memory, or that
 * meets something that must leave first, is parked and tried again.
 */
#include "pipeline.h"

#include <string.h>

#include "clock.h"

int segment_compare(struct segment *a, struct segment *b)
{
    return a->lba < b->lba ? -1 : a->lba > b->lba;
}

RB_GENERATE(segment_tree, segment, by_lba, segment_compare)

/* The first segment of `tree` that has a block in [lba, lba + blocks). */
struct segment *segment_overlap(struct segment_tree *tree, uint64_t lba, uint64_t blocks)
{
    struct segment key = {.lba = lba};
    struct segment *next = RB_NFIND(segment_tree, tree, &key);
    struct segment *previous = next ? RB_PREV(segment_tree, tree, next) : RB_MAX(segment_tree, tree);

    if (previous && previous->lba + previous->blocks > lba)
        return previous;
    return next && next->lba < lba + blocks ? next : NULL;
}

struct segment *segment_take(struct encsan *v, enum wire_operation operation, uint64_t lba)
{
    struct segment *s = TAILQ_FIRST(&v->free_segments);

    if (!s)
        return NULL;
    TAILQ_REMOVE(&v->free_segments, s, queue);
    s->operation = operation;
    s->barrier = s->urgent = s->receipted = false;
    s->lba = lba;
    s->blocks = 0;
    s->staged_us = now_us();
    s->ordinal = s->after = 0;
    s->attempts = 0;
    s->slot = NULL;
    v->range_count += operation != WIRE_OP_WRITE;
    return s;
}

static struct segment *segment_new(struct encsan *v, enum wire_operation operation, uint64_t lba)
{
    struct segment *s = segment_take(v, operation, lba);

    if (!s)
        return NULL;
    s->age = ++v->age;
    s->state = SEGMENT_FILLING;
    RB_INSERT(segment_tree, &v->staged, s);
    TAILQ_INSERT_TAIL(&v->by_age, s, order);
    TAILQ_INSERT_TAIL(&v->filling, s, queue);
    volume_wake_ticker(v);
    return s;
}

/* Of a segment that is on no list and in no tree any more. */
void segment_free(struct encsan *v, struct segment *s)
{
    if (s->operation == WIRE_OP_WRITE)
        for (uint64_t i = 0; i < s->blocks; i++)
            v->free_pages[v->free_page_count++] = s->page[i];
    else
        v->range_count--;
    s->state = SEGMENT_FREE;
    TAILQ_INSERT_HEAD(&v->free_segments, s, queue);
}

/* Many small ranges must not hold up the data behind them: they have a list of their own. */
struct segment_list *stage_ready_list(struct encsan *v, const struct segment *s)
{
    if (s->urgent)
        return &v->urgent;
    return s->operation == WIRE_OP_WRITE ? &v->ready : &v->ranges;
}

void stage_ready(struct encsan *v, struct segment *s)
{
    if (s->state != SEGMENT_FILLING)
        return;
    s->state = SEGMENT_READY;
    TAILQ_REMOVE(&v->filling, s, queue);
    TAILQ_INSERT_TAIL(stage_ready_list(v, s), s, queue);
}

static void make_urgent(struct encsan *v, struct segment *s)
{
    if (s->urgent)
        return;
    if (s->state == SEGMENT_READY) {
        TAILQ_REMOVE(stage_ready_list(v, s), s, queue);
        TAILQ_INSERT_TAIL(&v->urgent, s, queue);
    }
    s->urgent = true;
    stage_ready(v, s);
}

void stage_urgent(struct encsan *v, uint64_t lba, uint64_t blocks)
{
    struct segment *s = segment_overlap(&v->staged, lba, blocks);

    for (; s && s->lba < lba + blocks; s = RB_NEXT(segment_tree, &v->staged, s))
        make_urgent(v, s);
}

void stage_all_ready(struct encsan *v)
{
    struct segment *s;

    while ((s = TAILQ_FIRST(&v->filling)))
        stage_ready(v, s);
}

void stage_urgent_ready(struct encsan *v)
{
    struct segment *s, *next;

    for (s = TAILQ_FIRST(&v->filling); s; s = next) {
        next = TAILQ_NEXT(s, queue);
        if (s->urgent)
            stage_ready(v, s);
    }
}

void stage_old_ready(struct encsan *v, uint64_t staged_before_us)
{
    struct segment *s;

    while ((s = TAILQ_FIRST(&v->filling)) && s->staged_us < staged_before_us)
        stage_ready(v, s);
}

/* Newer bytes for blocks that are staged already. Returns how many blocks. */
static uint64_t absorb(struct encsan *v, struct segment *s, uint64_t lba, uint64_t blocks,
                       const uint8_t *in)
{
    uint64_t first = lba - s->lba;
    uint64_t n = s->blocks - first < blocks ? s->blocks - first : blocks;

    for (uint64_t i = 0; i < n; i++)
        memcpy(segment_page(v, s, first + i), in + i * ENCSAN_BLOCK_BYTES, ENCSAN_BLOCK_BYTES);
    return n;
}

/* A part of the cache is kept, so that a journal does not wait behind a copy, and
 * half of it also from all but small writes, which then need not wait either. */
static uint32_t pages_kept(const struct encsan *v, const struct request *r)
{
    uint32_t kept = v->page_count / STAGE_KEPT_SHARE;

    if (r->flags & ENCSAN_URGENT)
        return 0;
    return r->blocks <= SMALL_BLOCKS ? kept / 2 : kept;
}

static bool have_pages(struct encsan *v, const struct request *r, uint64_t count)
{
    while (v->free_page_count < count + pages_kept(v, r))
        if (!readahead_give_up(v))
            return false;
    return true;
}

static bool take_page(struct encsan *v, const struct request *r, uint32_t *page)
{
    if (!have_pages(v, r, 1))
        return false;
    *page = v->free_pages[--v->free_page_count];
    return true;
}

/* The request's next bytes for blocks behind the segment's end, as far as it, its
 * neighbour and memory allow. */
static uint64_t extend(struct encsan *v, struct segment *s, const struct request *r)
{
    struct segment *next = RB_NEXT(segment_tree, &v->staged, s);
    const uint8_t *in = r->in + r->progress * ENCSAN_BLOCK_BYTES;
    uint64_t room = v->segment_blocks - s->blocks;
    uint64_t n = 0;

    if (next && next->lba - (s->lba + s->blocks) < room)
        room = next->lba - (s->lba + s->blocks);
    if (r->blocks - r->progress < room)
        room = r->blocks - r->progress;
    while (n < room && take_page(v, r, &s->page[s->blocks])) {
        memcpy(segment_page(v, s, s->blocks), in + n * ENCSAN_BLOCK_BYTES, ENCSAN_BLOCK_BYTES);
        s->blocks++;
        n++;
    }
    v->staged_blocks += n;
    if (s->blocks == v->segment_blocks)
        stage_ready(v, s);
    return n;
}

/* A staged segment that ends where `lba` begins, and may grow. */
static struct segment *growable(struct encsan *v, uint64_t lba, bool urgent)
{
    struct segment *s = lba ? segment_overlap(&v->staged, lba - 1, 1) : NULL;

    if (!s || s->operation != WIRE_OP_WRITE || s->barrier || s->blocks == v->segment_blocks ||
        s->urgent != urgent)
        return NULL;
    return s;
}

static uint64_t stage_some(struct encsan *v, struct request *r)
{
    uint64_t lba = r->lba + r->progress, blocks = r->blocks - r->progress;
    const uint8_t *in = r->in + r->progress * ENCSAN_BLOCK_BYTES;
    bool urgent = r->flags & ENCSAN_URGENT;
    struct segment *s = segment_overlap(&v->staged, lba, 1);

    if (s && (s->barrier || s->operation != WIRE_OP_WRITE))
        return 0;
    if (s && urgent)
        make_urgent(v, s);
    if (s)
        return absorb(v, s, lba, blocks, in);
    if (!have_pages(v, r, 1))
        return 0;
    s = growable(v, lba, urgent);
    if (!s) {
        s = segment_new(v, WIRE_OP_WRITE, lba);
        if (s)
            s->urgent = urgent;
    }
    return s ? extend(v, s, r) : 0;
}

static bool stage_write(struct encsan *v, struct request *r)
{
    while (r->progress < r->blocks) {
        uint64_t n = stage_some(v, r);

        if (n == 0)
            return false;
        r->progress += n;
    }
    return true;
}

/* A journal's commit block: a segment of its own, behind everything older. */
static bool stage_barrier(struct encsan *v, struct request *r)
{
    bool urgent = r->flags & ENCSAN_URGENT;
    struct segment *s;

    if (urgent)
        stage_urgent_ready(v);
    else
        stage_all_ready(v);
    stage_urgent(v, r->lba, r->blocks);
    if (segment_overlap(&v->staged, r->lba, r->blocks) || !have_pages(v, r, r->blocks))
        return false;
    s = segment_new(v, WIRE_OP_WRITE, r->lba);
    if (!s)
        return false;
    s->barrier = true;
    s->urgent = urgent;
    extend(v, s, r);
    stage_ready(v, s);
    r->progress = r->blocks;
    return true;
}

/* Zeroes and unmaps have no bytes to merge: they wait until nothing overlaps. */
static bool stage_range(struct encsan *v, struct request *r)
{
    uint64_t lba = r->lba + r->progress, left = r->blocks - r->progress;
    struct segment *s;

    if (segment_overlap(&v->staged, lba, left))
        return false;
    if (segment_overlap(&v->retained, lba, left)) {
        receipt_want(v, v->ordinal);
        return false;
    }
    while (r->progress < r->blocks) {
        uint64_t blocks = r->blocks - r->progress;

        if (v->range_count >= RANGE_SEGMENTS) {
            receipt_want(v, v->ordinal);
            return false;
        }
        s = segment_new(v, r->kind == REQUEST_ZERO ? WIRE_OP_ZEROES : WIRE_OP_UNMAP,
                        r->lba + r->progress);
        if (!s)
            return false;
        s->blocks = blocks < UINT32_MAX ? blocks : UINT32_MAX;
        r->progress += s->blocks;
        stage_ready(v, s);
    }
    return true;
}

bool stage_request(struct encsan *v, struct request *r)
{
    readahead_drop(v, r->lba, r->blocks);
    if (r->kind != REQUEST_WRITE)
        return stage_range(v, r);
    return r->flags & ENCSAN_AFTER_ALL ? stage_barrier(v, r) : stage_write(v, r);
}

/* A discard is done only when it has left: who has many sends them one after another, and few
 * are here at a time. */
void stage_finish(struct encsan *v, struct request *r)
{
    if (r->kind == REQUEST_DISCARD)
        TAILQ_INSERT_TAIL(&v->leaving, r, queue);
    else
        volume_finish(v, r, 0);
}

static void stage_list(struct encsan *v, struct request_list *list)
{
    struct request *r;

    while ((r = TAILQ_FIRST(list)) && stage_request(v, r)) {
        TAILQ_REMOVE(list, r, queue);
        stage_finish(v, r);
    }
    /* who waits needs memory or a receipt: everything leaves, and is asked for */
    if (r) {
        stage_all_ready(v);
        receipt_want(v, v->ordinal);
    }
}

void stage_parked(struct encsan *v)
{
    stage_list(v, &v->parked_urgent);
    stage_list(v, &v->parked);
}
