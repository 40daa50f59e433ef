// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Reads: pieces of at most a segment, opened straight into the reader's
 * buffer, then covered with what is staged or retained. Since such data is
 * kept until every read sent before its receipt has ended, bytes that were
 * written after a read was sent are always still here when its answer comes.
 *
 * A piece is on reads_free, or on reads_sent from the moment it has a number
 * until its bytes are complete; all that time it has a slot. When its session
 * is lost it is on reads_lost, too, until another one is there. A request is on
 * reads_queued until all its pieces have left.
 */
#include "pipeline.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/param.h>

#include "clock.h"

static void read_job(struct job *job);

static void read_complete(struct slot *slot)
{
    struct read_piece *p = slot->owner;

    workers_push(p->volume->workers, &p->job);
}

int read_init(struct encsan *v)
{
    v->reads = calloc(v->slot_count, sizeof *v->reads);
    if (!v->reads)
        return -1;
    for (unsigned i = 0; i < v->slot_count; i++) {
        v->reads[i].volume = v;
        TAILQ_INSERT_TAIL(&v->reads_free, &v->reads[i], queue);
    }
    return 0;
}

/* Where blocks are read to: `page` has their pages, or `out` takes them all. */
struct destination {
    uint8_t *out;
    const uint32_t *page;
};

static uint8_t *block_at(struct encsan *v, const struct destination *to, uint64_t index)
{
    return to->page ? page_at(v, to->page[index]) : to->out + index * ENCSAN_BLOCK_BYTES;
}

/* Copies what `tree` has of [lba, lba + blocks) over `to`; returns how many blocks. */
static uint64_t cover(struct encsan *v, struct segment_tree *tree, uint64_t lba, uint64_t blocks,
                      const struct destination *to)
{
    uint64_t covered = 0;
    struct segment *s = segment_overlap(tree, lba, blocks);

    for (; s && s->lba < lba + blocks; s = RB_NEXT(segment_tree, tree, s)) {
        uint64_t first = s->lba > lba ? s->lba : lba;
        uint64_t end = s->lba + s->blocks < lba + blocks ? s->lba + s->blocks : lba + blocks;

        for (uint64_t b = first; b < end; b++) {
            uint8_t *block = block_at(v, to, b - lba);

            if (s->operation == WIRE_OP_WRITE)
                memcpy(block, segment_page(v, s, b - s->lba), ENCSAN_BLOCK_BYTES);
            else
                memset(block, 0, ENCSAN_BLOCK_BYTES);
        }
        covered += end - first;
    }
    return covered;
}

/* True: all of it was there. */
static bool overlay(struct encsan *v, uint64_t lba, uint64_t blocks, const struct destination *to)
{
    bool whole = cover(v, &v->retained, lba, blocks, to) == blocks;

    return cover(v, &v->staged, lba, blocks, to) == blocks || whole;
}

static struct destination destination_of(const struct read_piece *p)
{
    return (struct destination){p->out, p->ahead ? p->ahead->page : NULL};
}

/* By a worker: no key is used on the caller's or the session's thread. */
static void send_job(struct job *job)
{
    struct read_piece *p = (struct read_piece *)((char *)job - offsetof(struct read_piece, job));
    struct encsan *v = p->volume;
    int error = sa_cdb_make(p->sa, WIRE_SEALED_READ, wire_read_field(p->lba, p->blocks),
                            p->slot->cdb);

    p->job.run = read_job;
    volume_lock(v);
    if (error) {
        volume_fail(v, -EIO, "the limit of messages under one key is reached: mount anew");
        p->slot->status = SLOT_LOST;
        workers_push(v->workers, &p->job);
    } else {
        v->stats.reads_sent++;
        session_submit(p->nexus->session, p->slot);
    }
    volume_unlock(v);
}

static void send_piece(struct encsan *v, struct read_piece *p)
{
    p->nexus = nexus_take(v, p->slot->bytes, &p->sa);
    if (!p->nexus) {
        TAILQ_INSERT_TAIL(&v->reads_lost, p, resend);
        return;
    }
    p->job.run = send_job;
    workers_push(v->workers, &p->job);
}

void read_part_ended(struct encsan *v, struct request *r, int error)
{
    if (error)
        r->error = error;
    if (--r->pending == 0 && r->progress == r->blocks)
        volume_finish(v, r, r->error);
}

static void start_piece(struct encsan *v, uint64_t lba, uint64_t blocks, struct request *r,
                        struct ahead *a, uint8_t *out)
{
    struct read_piece *p = TAILQ_FIRST(&v->reads_free);

    TAILQ_REMOVE(&v->reads_free, p, queue);
    p->slot = v->free_slots[--v->free_slot_count];
    p->slot->owner = p;
    p->slot->complete = read_complete;
    p->slot->cdb_bytes = WIRE_CDB_BYTES;
    p->slot->out = false;
    p->slot->bytes = (uint32_t)WIRE_READ_BYTES(blocks);
    p->request = r;
    p->ahead = a;
    p->lba = lba;
    p->blocks = (uint32_t)blocks;
    p->out = out;
    p->attempts = 0;
    p->sent_us = now_us();
    p->number = ++v->read_number;
    TAILQ_INSERT_TAIL(&v->reads_sent, p, queue);
    send_piece(v, p);
}

void read_for_ahead(struct encsan *v, struct ahead *a)
{
    start_piece(v, a->lba, a->blocks, NULL, a, NULL);
}

/* On a long line, and where little else is read, a request is spread over the sessions:
 * after a pause TCP sends little in its first flight, and doubles that with each round trip. */
static uint64_t piece_blocks(const struct encsan *v, const struct request *r)
{
    unsigned reads = v->slot_count - v->free_slot_count - v->in_flight;
    uint64_t each;

    if (v->live_sessions < 2 || reads >= v->live_sessions || nexus_rtt_min_us(v) <= SPREAD_RTT_US)
        return v->segment_blocks;
    each = MAX(r->blocks / v->live_sessions, SPREAD_READ_BLOCKS);
    return MIN(each, v->segment_blocks);
}

/* Asks for the request's next piece, or copies it. False: no slot is free. */
static bool next_piece(struct encsan *v, struct request *r)
{
    uint64_t lba = r->lba + r->progress;
    uint64_t blocks = r->blocks - r->progress;
    uint8_t *out = r->out + r->progress * ENCSAN_BLOCK_BYTES;
    enum readahead_found found = READAHEAD_COPIED;

    if (blocks > r->piece)
        blocks = r->piece;
    if (!overlay(v, lba, blocks, &(struct destination){.out = out}))
        found = readahead_find(v, r, lba, &blocks, out);
    if (found == READAHEAD_NOTHING && v->free_slot_count == 0)
        return false;
    r->progress += blocks;
    if (found == READAHEAD_COPIED)
        return true;
    r->pending++;
    if (found == READAHEAD_NOTHING)
        start_piece(v, lba, blocks, r, NULL, out);
    return true;
}

static void send_lost(struct encsan *v)
{
    struct read_piece *p;

    while (v->live_sessions > 0 && (p = TAILQ_FIRST(&v->reads_lost))) {
        TAILQ_REMOVE(&v->reads_lost, p, resend);
        v->stats.retries++;
        send_piece(v, p);
    }
}

void read_pump(struct encsan *v)
{
    struct request *r;
    bool more;

    send_lost(v);
    while (!v->error && (r = TAILQ_FIRST(&v->reads_queued))) {
        if (r->progress == 0)
            r->piece = piece_blocks(v, r);
        r->pending++; /* ours, so that it does not end while pieces leave */
        while (!v->error && r->progress < r->blocks && next_piece(v, r))
            ;
        more = r->progress < r->blocks;
        if (!more && !v->error) /* volume_fail takes the queue apart itself */
            TAILQ_REMOVE(&v->reads_queued, r, queue);
        read_part_ended(v, r, 0);
        if (more)
            return;
    }
    readahead_pump(v);
}

/* 0; -EIO that the target says under seal; -EBUSY: its disk is away; -EAGAIN: nothing usable came. */
static int open_piece(struct read_piece *p)
{
    struct wire_read header;
    struct iovec out[1 + WIRE_DATA_BLOCKS_MAX] = {{&header, sizeof header}};
    int pieces = 2;

    if (p->ahead)
        pieces = 1 + pipeline_gather(p->volume, p->ahead->page, p->blocks, out + 1);
    else
        out[1] = (struct iovec){p->out, (size_t)p->blocks * ENCSAN_BLOCK_BYTES};
    if (p->slot->status != SLOT_GOOD)
        return -EAGAIN;
    if (sa_open_answer(p->sa, p->slot->cdb, p->slot->data, p->slot->bytes, out, pieces) != 0)
        return -EBADMSG;
    if (header.status != 0 && header.sense_key == WIRE_SENSE_NOT_READY)
        return -EBUSY;
    return header.status == 0 ? 0 : -EIO;
}

static int judge(struct encsan *v, struct read_piece *p, int error)
{
    if (error == -EBADMSG) {
        v->stats.security_errors++;
        volume_log(v, "security: an answer to a read did not authenticate and was dropped");
    }
    if (v->error || v->ending || (error != -EBADMSG && error != -EAGAIN && error != -EBUSY))
        return error ? -EIO : 0;
    if (p->slot->status == SLOT_LOST) {
        TAILQ_INSERT_TAIL(&v->reads_lost, p, resend);
        return -EAGAIN;
    }
    if (error != -EBUSY && ++p->attempts == ATTEMPTS_MAX) /* the target has waited for its disk */
        return -EIO;
    v->stats.retries++;
    send_piece(v, p);
    return -EAGAIN;
}

static void end_piece(struct encsan *v, struct read_piece *p, int error)
{
    v->free_slots[v->free_slot_count++] = p->slot;
    TAILQ_REMOVE(&v->reads_sent, p, queue);
    TAILQ_INSERT_HEAD(&v->reads_free, p, queue);
    if (p->ahead)
        readahead_answered(v, p->ahead, now_us() - p->sent_us, error);
    else
        read_part_ended(v, p->request, error);
    pthread_cond_broadcast(&v->idle);
}

void read_fail_lost(struct encsan *v, int error)
{
    struct read_piece *p;

    while ((p = TAILQ_FIRST(&v->reads_lost))) {
        TAILQ_REMOVE(&v->reads_lost, p, resend);
        end_piece(v, p, error);
    }
}

static void read_job(struct job *job)
{
    struct read_piece *p = (struct read_piece *)((char *)job - offsetof(struct read_piece, job));
    struct encsan *v = p->volume;
    uint64_t start_us = now_us();
    int error = open_piece(p);

    volume_lock(v);
    v->stats.open_ns += (now_us() - start_us) * 1000;
    v->opened_bytes += p->slot->bytes;
    nexus_give(p->nexus, p->slot, p->sa);
    error = judge(v, p, error);
    if (error != -EAGAIN) {
        struct destination to = destination_of(p);

        if (error == 0)
            overlay(v, p->lba, p->blocks, &to);
        end_piece(v, p, error);
    }
    pipeline_pump(v);
    volume_unlock(v);
}
