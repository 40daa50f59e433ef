// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Segments on their way: from READY to DURABLE. pipeline.h has the states.
 *
 * At most `depth` segments with data are SEALING or IN_FLIGHT, but for urgent ones:
 * each has a slot, and a nexus, under whose keys it is sealed and over whose session it leaves. A
 * segment whose session is lost is sealed again for another. Workers seal without
 * the lock; what they read (pages, range, ordinal) does not change from SEALING on.
 *
 * A byte that is written is copied into a page when it is staged, sealed from there
 * into the slot, and sent from that by libiscsi. One that is read is received in a
 * slot and opened from there into the reader's buffer, or, read ahead, into a page
 * from which it is copied to the reader.
 */
#include "pipeline.h"

#include <errno.h>
#include <string.h>

#include "clock.h"

/* The depth is that which data needs to fill the line. Ranges, which have none, get slots beside it. */
static bool is_deep_enough(const struct encsan *v, const struct segment_list *list)
{
    unsigned share = TAILQ_EMPTY(&v->ready) ? RANGES_SHARE : RANGES_SHARE_OF_MANY;

    if (v->write_pace.fixed)
        return v->in_flight >= v->write_pace.depth;
    if (list == &v->ranges)
        return v->ranges_in_flight >= v->slot_count / share;
    return v->in_flight - v->ranges_in_flight >= v->write_pace.depth;
}

static bool may_start(const struct encsan *v, const struct segment_list *list)
{
    if (v->live_sessions == 0)
        return false;
    if (list == &v->urgent)
        return v->free_slot_count > SLOTS_FOR_READS;
    return !is_deep_enough(v, list) && v->free_slot_count > SLOTS_FOR_READS + SLOTS_FOR_URGENT;
}

/* Bytes a second of one worker. Until something was measured: fast enough not to matter. */
static double worker_rate(uint64_t bytes, uint64_t ns)
{
    return ns ? (double)bytes * 1e9 / (double)ns : 1e10;
}

struct model pipeline_model(struct encsan *v)
{
    struct model m = {
        .rtt_s = nexus_rtt_min_us(v) / 1e6,
        .round_trips = 1,
        .seal = worker_rate(v->sealed_bytes, v->stats.seal_ns),
        .workers = workers_count(v->workers),
    };

    /* what the target's processors do is not known: they are taken to be as ours */
    m.open = v->opened_bytes ? worker_rate(v->opened_bytes, v->stats.open_ns) : m.seal;
    m.target_workers = m.workers;
    return m;
}

int pipeline_gather(struct encsan *v, const uint32_t *page, uint64_t count, struct iovec *out)
{
    int pieces = 0;

    for (uint64_t i = 0; i < count; i++) {
        uint8_t *data = page_at(v, page[i]);
        struct iovec *last = out + pieces - 1;

        if (i > 0 && (uint8_t *)last->iov_base + last->iov_len == data)
            last->iov_len += ENCSAN_BLOCK_BYTES;
        else
            out[pieces++] = (struct iovec){data, ENCSAN_BLOCK_BYTES};
    }
    return pieces;
}

static void take_slot(struct encsan *v, struct segment *s)
{
    s->slot = v->free_slots[--v->free_slot_count];
    s->slot->owner = s;
    s->slot->bytes = (uint32_t)WIRE_WRITE_BYTES(s->operation == WIRE_OP_WRITE ? s->blocks : 0);
    s->nexus = nexus_take(v, s->slot->bytes, &s->sa);
    v->in_flight++;
    v->ranges_in_flight += s->operation != WIRE_OP_WRITE;
}

static void give_slot(struct encsan *v, struct segment *s)
{
    nexus_give(s->nexus, s->slot, s->sa);
    v->free_slots[v->free_slot_count++] = s->slot;
    s->slot = NULL;
    v->in_flight--;
    v->ranges_in_flight -= s->operation != WIRE_OP_WRITE;
    pthread_cond_broadcast(&v->idle);
}

static void accepted(struct encsan *v, struct segment *s)
{
    s->state = SEGMENT_ACCEPTED;
    s->accepted_event = ++v->event;
    if (s->receipted)
        pipeline_durable(v, s);
}

void pipeline_resend(struct encsan *v, struct segment *s)
{
    struct segment *before = TAILQ_LAST(&v->resend, segment_list);

    v->stats.retries++;
    s->state = SEGMENT_RESEND;
    /* most come in their order, so the place is near the end */
    while (before && before->ordinal > s->ordinal)
        before = TAILQ_PREV(before, segment_list, queue);
    if (before)
        TAILQ_INSERT_AFTER(&v->resend, before, s, queue);
    else
        TAILQ_INSERT_HEAD(&v->resend, s, queue);
}

void pipeline_resend_accepted(struct encsan *v)
{
    struct segment *s;

    TAILQ_FOREACH(s, &v->outstanding, order)
    {
        s->attempts = 0;
        if (s->state == SEGMENT_ACCEPTED)
            pipeline_resend(v, s);
    }
}

/* A write that waits for others (`after`) is answered GOOD at once, and gone
 * when its session is; the next receipt would say so, but later. */
void pipeline_session_lost(struct encsan *v, const struct nexus *n)
{
    struct segment *s;

    TAILQ_FOREACH(s, &v->outstanding, order)
    {
        if (s->barrier && s->nexus == n && s->state == SEGMENT_ACCEPTED)
            pipeline_resend(v, s);
    }
}

/* What iSCSI says is a hint: at most, the segment is sent once more. */
static void answered(struct encsan *v, struct segment *s, const struct slot *slot)
{
    accepted(v, s);
    if (s->state != SEGMENT_ACCEPTED)
        return;
    if (slot->status == SLOT_LOST) {
        pipeline_resend(v, s);
    } else if (slot->status == SLOT_BUSY) {
        s->state = SEGMENT_RETRY;
        TAILQ_INSERT_TAIL(&v->retry, s, queue);
        volume_wake_ticker(v);
    } else if (slot->status == SLOT_CHECK && ++s->attempts < ATTEMPTS_MAX) {
        if (!v->error)
            volume_log(v, "write refused by the target (sense %X/%02X/%02X), sent again",
                       slot->sense_key, slot->ascq >> 8, slot->ascq & 0xff);
        pipeline_resend(v, s);
    } else if (slot->status == SLOT_CHECK) {
        receipt_want(v, s->ordinal); /* which says, under seal, what is the matter */
    }
}

static void answer_job(struct job *job)
{
    struct segment *s = (struct segment *)((char *)job - offsetof(struct segment, job));
    struct encsan *v = s->volume;
    struct slot *slot = s->slot;

    volume_lock(v);
    give_slot(v, s);
    if (slot->status == SLOT_GOOD && s->whole) {
        struct model line = pipeline_model(v);

        pace_answered(&v->write_pace, &line, s->blocks, now_us() - s->sent_us, now_us());
    }
    answered(v, s, slot);
    pipeline_pump(v);
    volume_unlock(v);
}

/* The session's thread: it has nothing to do but the network. */
static void write_complete(struct slot *slot)
{
    struct segment *s = slot->owner;

    s->job.run = answer_job;
    workers_push(s->volume->workers, &s->job);
}

static int seal(struct encsan *v, struct segment *s)
{
    struct wire_write header = {.operation = (uint8_t)s->operation};
    struct iovec in[1 + WIRE_DATA_BLOCKS_MAX] = {{&header, sizeof header}};
    uint64_t data_blocks = s->operation == WIRE_OP_WRITE ? s->blocks : 0;
    int pieces = 1 + pipeline_gather(v, s->page, data_blocks, in + 1);
    int error;

    wire_put32(header.blocks, (uint32_t)s->blocks);
    wire_put64(header.lba, s->lba);
    wire_put64(header.ordinal, s->ordinal);
    wire_put64(header.after, s->after);
    s->slot->cdb_bytes = WIRE_CDB_BYTES;
    s->slot->out = true;
    s->slot->complete = write_complete;
    error = sa_cdb_make(s->sa, WIRE_SEALED_WRITE, 0, s->slot->cdb);
    return error ? error : sa_seal_write(s->sa, s->slot->cdb, in, pieces, s->slot->data);
}

static void seal_job(struct job *job)
{
    struct segment *s = (struct segment *)((char *)job - offsetof(struct segment, job));
    struct encsan *v = s->volume;
    uint64_t start_us = now_us();
    int error = seal(v, s);

    volume_lock(v);
    TAILQ_REMOVE(&v->sealing, s, queue);
    v->stats.seal_ns += (now_us() - start_us) * 1000;
    v->sealed_bytes += s->slot->bytes;
    if (error || v->error) {
        s->slot->status = SLOT_BUSY; /* it never left */
        give_slot(v, s);
        accepted(v, s);
        if (error)
            volume_fail(v, -EIO, error == -ERANGE ? "the limit of data under one key is reached: mount anew"
                                                  : "OpenSSL cannot seal");
    } else {
        s->state = SEGMENT_IN_FLIGHT;
        s->sent_us = now_us();
        v->stats.segments_sent++;
        session_submit(s->nexus->session, s->slot);
        receipt_ask(v);
    }
    volume_unlock(v);
}

static void start(struct encsan *v, struct segment *s)
{
    s->state = SEGMENT_SEALING;
    TAILQ_INSERT_TAIL(&v->sealing, s, queue);
    take_slot(v, s);
    s->job.run = seal_job;
    workers_push(v->workers, &s->job);
}

/* From here on its range and bytes are fixed. */
static void give_ordinal(struct encsan *v, struct segment *s)
{
    TAILQ_REMOVE(stage_ready_list(v, s), s, queue);
    TAILQ_REMOVE(&v->by_age, s, order);
    RB_REMOVE(segment_tree, &v->staged, s);
    s->ordinal = ++v->ordinal;
    s->after = s->barrier ? s->ordinal - 1 : 0;
    s->whole = s->operation == WIRE_OP_WRITE && s->blocks == v->write_pace.blocks;
    RB_INSERT(segment_tree, &v->retained, s);
    TAILQ_INSERT_TAIL(&v->outstanding, s, order);
    if (s->operation == WIRE_OP_WRITE) {
        v->staged_blocks -= s->blocks;
        v->retained_blocks += s->blocks;
        v->unsynced_blocks += s->blocks;
    } else {
        v->unsynced_ranges++;
    }
    if (v->unsynced_blocks >= v->page_count / 4 || v->unsynced_ranges >= RANGE_SEGMENTS / 4)
        receipt_want(v, v->ordinal);
}

static void hold(struct encsan *v, struct segment *s, const struct segment *older)
{
    s->state = SEGMENT_HELD;
    TAILQ_REMOVE(stage_ready_list(v, s), s, queue);
    TAILQ_INSERT_TAIL(&v->held, s, queue);
    if (older->state != SEGMENT_DURABLE)
        receipt_want(v, v->ordinal);
}

static bool is_urgent_held(const struct encsan *v)
{
    const struct segment *s;

    TAILQ_FOREACH(s, &v->held, queue)
        if (s->urgent)
            return true;
    return false;
}

/* Something older is held: it comes back before the barrier. */
static bool must_wait(const struct encsan *v, const struct segment *s)
{
    if (!s->barrier)
        return false;
    return s->urgent ? is_urgent_held(v) : TAILQ_FIRST(&v->by_age) != s;
}

/* How many of a READY segment's blocks are sent at once. Of a small urgent one on a
 * long line, as few as TCP sends in its first flight after a pause: the rest goes in
 * other sessions, so that an fsync still takes one round trip. */
static uint64_t blocks_at_once(struct encsan *v, const struct segment *s)
{
    if (!s->urgent)
        return v->write_pace.blocks;
    return s->blocks <= SPREAD_BLOCKS_MAX && v->live_sessions > 1 &&
                   nexus_rtt_min_us(v) > SPREAD_RTT_US
               ? SPREAD_BLOCKS
               : s->blocks;
}

/* The rest is a segment that follows. */
static void split(struct encsan *v, struct segment_list *list, struct segment *s)
{
    uint64_t blocks = blocks_at_once(v, s);
    struct segment *rest;

    if (s->barrier || s->operation != WIRE_OP_WRITE || s->blocks <= blocks)
        return;
    rest = segment_take(v, s->operation, s->lba + blocks);
    if (!rest)
        return;
    rest->state = s->state;
    rest->urgent = s->urgent;
    rest->age = s->age;
    rest->blocks = s->blocks - blocks;
    memcpy(rest->page, s->page + blocks, rest->blocks * sizeof rest->page[0]);
    s->blocks = blocks;
    RB_INSERT(segment_tree, &v->staged, rest);
    TAILQ_INSERT_AFTER(&v->by_age, s, rest, order);
    TAILQ_INSERT_AFTER(list, s, rest, queue);
}

/* The next segment of the list that may have an ordinal; NULL: none now. */
static struct segment *next_ready(struct encsan *v, struct segment_list *list)
{
    struct segment *s, *older;

    while ((s = TAILQ_FIRST(list))) {
        if (v->ordinal - v->durable >= v->ordinal_window) {
            receipt_want(v, v->ordinal);
            return NULL;
        }
        split(v, list, s);
        older = segment_overlap(&v->retained, s->lba, s->blocks);
        if (!older)
            return must_wait(v, s) ? NULL : s;
        hold(v, s, older);
    }
    return NULL;
}

static void release_held(struct encsan *v)
{
    struct segment *s;

    while ((s = TAILQ_LAST(&v->held, segment_list))) {
        TAILQ_REMOVE(&v->held, s, queue);
        s->state = SEGMENT_READY;
        TAILQ_INSERT_HEAD(stage_ready_list(v, s), s, queue);
    }
}

void pipeline_durable(struct encsan *v, struct segment *s)
{
    if (s->state == SEGMENT_RESEND)
        TAILQ_REMOVE(&v->resend, s, queue);
    else if (s->state == SEGMENT_RETRY)
        TAILQ_REMOVE(&v->retry, s, queue);
    s->state = SEGMENT_DURABLE;
    s->last_read = v->read_number;
    TAILQ_REMOVE(&v->outstanding, s, order);
    TAILQ_INSERT_TAIL(&v->durable_segments, s, queue);
}

void pipeline_reclaim(struct encsan *v)
{
    struct read_piece *oldest = TAILQ_FIRST(&v->reads_sent);
    struct segment *s;
    bool freed = false;

    while ((s = TAILQ_FIRST(&v->durable_segments)) && (!oldest || s->last_read < oldest->number)) {
        TAILQ_REMOVE(&v->durable_segments, s, queue);
        RB_REMOVE(segment_tree, &v->retained, s);
        if (s->operation == WIRE_OP_WRITE)
            v->retained_blocks -= s->blocks;
        segment_free(v, s);
        freed = true;
    }
    if (freed)
        release_held(v);
}

static bool is_urgent_older(const struct segment_list *list, uint64_t age)
{
    const struct segment *s;

    TAILQ_FOREACH(s, list, queue)
        if (s->urgent && s->age <= age)
            return true;
    return false;
}

/* Something that the flush covers has no ordinal yet. (None of it is FILLING any more:
 * the flush has made it READY when it came.) */
static bool is_staged_for(const struct encsan *v, const struct request *r)
{
    const struct segment *oldest = TAILQ_FIRST(&v->by_age);

    if (r->flags & ENCSAN_URGENT)
        return is_urgent_older(&v->urgent, r->age) || is_urgent_older(&v->held, r->age);
    return oldest && oldest->age <= r->age;
}

/* A flush is as far as the last ordinal once nothing older is staged. */
static void advance_flushes(struct encsan *v)
{
    struct request *r, *next;

    for (r = TAILQ_FIRST(&v->flushes); r; r = next) {
        next = TAILQ_NEXT(r, queue);
        if (r->ordinal == 0 && is_staged_for(v, r))
            continue;
        if (r->ordinal == 0) {
            r->ordinal = v->ordinal;
            receipt_want(v, r->ordinal);
        }
        if (r->ordinal <= v->durable) {
            TAILQ_REMOVE(&v->flushes, r, queue);
            volume_finish(v, r, 0);
        }
    }
}

static void advance_leaving(struct encsan *v)
{
    struct request *r, *next;

    for (r = TAILQ_FIRST(&v->leaving); r; r = next) {
        next = TAILQ_NEXT(r, queue);
        if (segment_overlap(&v->staged, r->lba, r->blocks))
            continue;
        TAILQ_REMOVE(&v->leaving, r, queue);
        volume_finish(v, r, 0);
    }
}

static void start_ready(struct encsan *v, struct segment_list *list)
{
    struct segment *s;

    while (may_start(v, list) && (s = next_ready(v, list))) {
        give_ordinal(v, s);
        start(v, s);
    }
}

static void start_resends(struct encsan *v)
{
    struct segment *s;

    while (may_start(v, &v->resend) && (s = TAILQ_FIRST(&v->resend))) {
        TAILQ_REMOVE(&v->resend, s, queue);
        start(v, s);
    }
}

void pipeline_pump(struct encsan *v)
{
    pipeline_reclaim(v);
    if (v->error || v->ending)
        return;
    stage_parked(v);
    start_resends(v);
    start_ready(v, &v->urgent);
    if (TAILQ_EMPTY(&v->resend)) {
        start_ready(v, &v->ranges);
        start_ready(v, &v->ready);
    }
    if (is_deep_enough(v, &v->ready))
        pace_full(&v->write_pace);
    advance_flushes(v);
    advance_leaving(v);
    receipt_ask(v);
    read_pump(v);
}
