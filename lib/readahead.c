// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Reading ahead of sequential readers, so that one does not wait a round trip
 * for each request: the mirror of sealing ahead. The volume's lock is held
 * throughout.
 *
 * A read that starts where an earlier one ended makes a stream; from then on
 * the stream is asked for up to a window beyond its reader, but never beyond
 * the end that the reader named. Who has only begun, as at a file's beginning, is
 * read ahead of a little. Other reads cost nothing here.
 *
 * The states of an `ahead`, a segment at most:
 *
 *   FREE   on ahead_free; has no pages.
 *   ASKED  in the tree `ahead`; a read_piece fills its pages; reads of its
 *          blocks wait on `waiters`.
 *   READY  in the tree and on ahead_ready, oldest first; its bytes are what
 *          the disk, or a later write, has: whoever stages a write drops it.
 *          Who needs pages takes the oldest one's that no stream comes to; a
 *          writer even those that a stream comes to last, to ask for them again.
 *
 * What is on its way is limited for the volume, as the line is one: pace.h says how
 * much that is.
 */
#include "pipeline.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/param.h>

#include "clock.h"

#define WINDOW_MIN 2
#define BEGINNING_BLOCKS_MAX 96 /* read ahead of a reader that has only begun */
#define NEAR_SEGMENTS 8 /* requests of one reader may overtake each other by so much */
#define RECENT_READS 256 /* a stream that had none of the last so many is no longer read */
#define SLOTS_KEPT 8    /* for reads that somebody waits for */
#define PAGES_KEPT_SHARE 8 /* of all pages: for writers, and a commit's reads */

struct ahead_wait {
    TAILQ_ENTRY(ahead_wait) queue;
    struct encsan *volume;
    struct request *request;
    uint64_t lba, blocks;
    uint8_t *out;
};

static int ahead_compare(struct ahead *a, struct ahead *b)
{
    return a->lba < b->lba ? -1 : a->lba > b->lba;
}

RB_PROTOTYPE(ahead_tree, ahead, by_lba, ahead_compare)
RB_GENERATE(ahead_tree, ahead, by_lba, ahead_compare)

static unsigned most_window(const struct encsan *v)
{
    unsigned slots = v->slot_count - SLOTS_KEPT;

    return v->ahead_count < slots ? v->ahead_count : slots;
}

int readahead_init(struct encsan *v, unsigned window)
{
    uint64_t most = v->page_count / 2 / v->segment_blocks;

    RB_INIT(&v->ahead);
    TAILQ_INIT(&v->ahead_free);
    TAILQ_INIT(&v->ahead_ready);
    TAILQ_INIT(&v->waits_free);
    if (window == ENCSAN_NO_READAHEAD || most == 0)
        return 0;
    v->ahead_count = most < AHEAD_SEGMENTS_MAX ? (unsigned)most : AHEAD_SEGMENTS_MAX;
    v->ahead_pages_max = v->ahead_count * v->segment_blocks;
    pace_init(&v->read_pace, window, START_SEGMENTS * v->sessions, most_window(v), v->segment_blocks);
    v->aheads = calloc(v->ahead_count, sizeof *v->aheads);
    v->waits = calloc(AHEAD_WAITS, sizeof *v->waits);
    if (!v->aheads || !v->waits)
        return -1;
    for (unsigned i = 0; i < AHEAD_WAITS; i++)
        TAILQ_INSERT_TAIL(&v->waits_free, &v->waits[i], queue);
    for (unsigned i = 0; i < v->ahead_count; i++) {
        TAILQ_INIT(&v->aheads[i].waiters);
        TAILQ_INSERT_TAIL(&v->ahead_free, &v->aheads[i], queue);
    }
    return 0;
}

void readahead_free(struct encsan *v)
{
    free(v->aheads);
    free(v->waits);
}

/* The first that has a block in [lba, lba + blocks). */
static struct ahead *ahead_overlap(struct encsan *v, uint64_t lba, uint64_t blocks)
{
    struct ahead key = {.lba = lba};
    struct ahead *next = RB_NFIND(ahead_tree, &v->ahead, &key);
    struct ahead *previous = next ? RB_PREV(ahead_tree, &v->ahead, next) : RB_MAX(ahead_tree, &v->ahead);

    if (previous && previous->lba + previous->blocks > lba)
        return previous;
    return next && next->lba < lba + blocks ? next : NULL;
}

static void release(struct encsan *v, struct ahead *a)
{
    for (uint64_t i = 0; i < a->blocks; i++)
        v->free_pages[v->free_page_count++] = a->page[i];
    v->ahead_pages -= a->blocks;
    RB_REMOVE(ahead_tree, &v->ahead, a);
    if (a->ready)
        TAILQ_REMOVE(&v->ahead_ready, a, queue);
    TAILQ_INSERT_HEAD(&v->ahead_free, a, queue);
}

void readahead_drop(struct encsan *v, uint64_t lba, uint64_t blocks)
{
    struct ahead *a, *next;

    for (a = ahead_overlap(v, lba, blocks); a && a->lba < lba + blocks; a = next) {
        next = RB_NEXT(ahead_tree, &v->ahead, a);
        if (a->ready) /* an ASKED one gets the new bytes when its answer comes */
            release(v, a);
    }
}

/* ---- reads that find their blocks here ---- */

static void copy_out(struct encsan *v, struct ahead *a, uint64_t lba, uint64_t blocks, uint8_t *out)
{
    for (uint64_t i = 0; i < blocks; i++)
        memcpy(out + i * ENCSAN_BLOCK_BYTES, page_at(v, a->page[lba - a->lba + i]), ENCSAN_BLOCK_BYTES);
    a->taken += blocks;
    if (a->ready && a->taken >= a->blocks) /* a sequential reader does not come back */
        release(v, a);
}

enum readahead_found readahead_find(struct encsan *v, struct request *r, uint64_t lba,
                                    uint64_t *blocks, uint8_t *out)
{
    struct ahead *a = ahead_overlap(v, lba, *blocks);
    struct ahead_wait *w;

    if (!a)
        return READAHEAD_NOTHING;
    if (a->lba > lba) { /* the blocks before it are read alone */
        *blocks = a->lba - lba;
        return READAHEAD_NOTHING;
    }
    if (a->lba + a->blocks - lba < *blocks)
        *blocks = a->lba + a->blocks - lba;
    if (a->ready) {
        copy_out(v, a, lba, *blocks, out);
        return READAHEAD_COPIED;
    }
    w = TAILQ_FIRST(&v->waits_free);
    if (!w)
        return READAHEAD_NOTHING; /* it is read twice then */
    TAILQ_REMOVE(&v->waits_free, w, queue);
    *w = (struct ahead_wait){.volume = v, .request = r, .lba = lba, .blocks = *blocks, .out = out};
    TAILQ_INSERT_TAIL(&a->waiters, w, queue);
    return READAHEAD_WAITS;
}

static void end_wait(struct encsan *v, struct ahead_wait *w, int error)
{
    read_part_ended(v, w->request, error);
    TAILQ_INSERT_HEAD(&v->waits_free, w, queue);
}

static void read_alone_done(void *opaque, int error)
{
    struct ahead_wait *w = opaque;
    struct encsan *v = w->volume;

    volume_lock(v);
    end_wait(v, w, error);
    volume_unlock(v);
}

/* What was read ahead for it has failed, perhaps for the sake of another block. */
static void read_alone(struct encsan *v, struct ahead_wait *w, int error)
{
    struct request *r = v->error ? NULL : request_take(v);

    if (!r) {
        end_wait(v, w, error);
        return;
    }
    *r = (struct request){.kind = REQUEST_READ,
                          .lba = w->lba,
                          .blocks = w->blocks,
                          .out = w->out,
                          .done = read_alone_done,
                          .opaque = w};
    TAILQ_INSERT_TAIL(&v->reads_queued, r, queue);
}

static void end_waiters(struct encsan *v, struct ahead *a)
{
    struct ahead_wait *w;

    while ((w = TAILQ_FIRST(&a->waiters))) {
        TAILQ_REMOVE(&a->waiters, w, queue);
        copy_out(v, a, w->lba, w->blocks, w->out);
        end_wait(v, w, 0);
    }
}

void readahead_answered(struct encsan *v, struct ahead *a, uint64_t took_us, int error)
{
    struct ahead_wait *w;

    v->asked_blocks -= a->blocks;
    if (error) {
        release(v, a);
        while ((w = TAILQ_FIRST(&a->waiters))) {
            TAILQ_REMOVE(&a->waiters, w, queue);
            read_alone(v, w, error);
        }
        return;
    }
    if (!TAILQ_EMPTY(&a->waiters))
        pace_full(&v->read_pace);
    if (a->whole) {
        struct model line = pipeline_model(v);

        pace_answered(&v->read_pace, &line, a->blocks, took_us, now_us());
    }
    end_waiters(v, a);
    a->ready = true;
    TAILQ_INSERT_TAIL(&v->ahead_ready, a, queue);
    if (a->taken >= a->blocks)
        release(v, a);
}

/* ---- streams ---- */

static struct stream *find_stream(struct encsan *v, uint64_t lba)
{
    struct stream *oldest = &v->streams[0];
    uint64_t near = NEAR_SEGMENTS * v->segment_blocks;

    for (unsigned i = 0; i < STREAMS; i++) {
        struct stream *s = &v->streams[i];

        if (s->read_number && lba == s->next)
            return s;
        if (s->sequential && lba < s->ahead + near && lba + near > s->next && lba < s->end)
            return s;
        if (s->read_number < oldest->read_number)
            oldest = s;
    }
    *oldest = (struct stream){.next = UINT64_MAX};
    return oldest;
}

static bool is_recent(const struct encsan *v, const struct stream *s)
{
    return s->sequential && v->stream_reads - s->read_number < RECENT_READS;
}

/* Blocks that a reader has to read of another stream before it is at this one. */
static uint64_t blocks_before(const struct encsan *v, const struct stream *s)
{
    for (unsigned i = 0; i < STREAMS; i++) {
        const struct stream *p = &v->streams[i];

        if (p->sequential && p->then == s->next && p->next < p->end)
            return p->end - p->next;
    }
    return 0;
}

/* Lately, and not to the end. */
static bool is_read(const struct encsan *v, const struct stream *s)
{
    return is_recent(v, s) && s->next < s->end && blocks_before(v, s) == 0;
}

/* How far a stream may be ahead of its reader: twice as far as the line needs, so that the line
 * does not stand still where a session is slower than the others and the reader waits for it;
 * and a share of the memory, else streams would drop each other's segments unread. An eighth of
 * that is for what is wanted without a stream. */
static uint64_t window_blocks(const struct encsan *v)
{
    const struct pace *p = &v->read_pace;
    unsigned window = p->fixed ? p->depth : 2 * p->depth, active = 0;
    unsigned most = v->ahead_count - v->ahead_count / 8;

    for (unsigned i = 0; i < STREAMS; i++)
        active += is_read(v, &v->streams[i]);
    if (window > most / MAX(active, 1))
        window = most / MAX(active, 1);
    return (window > WINDOW_MIN ? window : WINDOW_MIN) * v->read_pace.blocks;
}

/* Of a reader that has only begun, no more than the line carries in a round trip. */
static uint64_t beginning_blocks(const struct encsan *v)
{
    uint64_t most = MIN(BEGINNING_BLOCKS_MAX, window_blocks(v));
    double blocks = v->read_pace.rate * nexus_rtt_min_us(v) / 1e6 / ENCSAN_BLOCK_BYTES;

    return v->read_pace.rate == 0 ? most : (uint64_t)fmin(blocks, (double)most);
}

static void read_beginning(struct encsan *v, uint64_t lba, uint64_t blocks)
{
    uint64_t most = beginning_blocks(v);

    readahead_want(v, lba, MIN(blocks, most));
}

void readahead_note(struct encsan *v, const struct request *r)
{
    uint64_t end = r->lba + r->blocks;
    struct stream *s;

    if (v->ahead_count == 0 || (r->stream.end <= end && r->stream.then_end == 0))
        return;
    s = find_stream(v, r->lba);
    if (s->next == r->lba)
        s->sequential = true;
    if (s->next == UINT64_MAX || end > s->next)
        s->next = end;
    if (s->ahead < s->next)
        s->ahead = s->next;
    s->end = MIN(r->stream.end, v->blocks);
    s->then = r->stream.then;
    s->then_end = MIN(r->stream.then_end, v->blocks);
    s->read_number = ++v->stream_reads;
    if (r->stream.begins && s->end > end)
        read_beginning(v, end, s->end - end);
}

/* The stream whose reader will come to it; NULL: none. */
static struct stream *stream_to(struct encsan *v, const struct ahead *a)
{
    uint64_t end = a->lba + a->blocks + NEAR_SEGMENTS * v->segment_blocks;

    for (unsigned i = 0; i < STREAMS; i++) {
        struct stream *s = &v->streams[i];

        if (is_recent(v, s) && a->lba < s->ahead && end > s->next)
            return s;
    }
    return NULL;
}

static bool give_up_unread(struct encsan *v)
{
    struct ahead *a;

    TAILQ_FOREACH(a, &v->ahead_ready, queue)
    {
        if (!stream_to(v, a)) {
            release(v, a);
            return true;
        }
    }
    return false;
}

/* The stream asks for it again when its reader is nearer. */
static void postpone(struct encsan *v, struct stream *s, struct ahead *a)
{
    s->ahead = MAX(s->next, MIN(s->ahead, a->lba));
    release(v, a);
}

bool readahead_give_up(struct encsan *v)
{
    struct ahead *last = TAILQ_LAST(&v->ahead_ready, ahead_list);

    if (give_up_unread(v))
        return true;
    if (last)
        postpone(v, stream_to(v, last), last);
    return last;
}

/* The newest that is beyond its stream's window: others came meanwhile. */
static bool give_up_excess(struct encsan *v)
{
    uint64_t window = window_blocks(v);
    struct ahead *a;

    TAILQ_FOREACH_REVERSE(a, &v->ahead_ready, ahead_list, queue)
    {
        struct stream *s = stream_to(v, a);

        if (s && a->lba >= s->next + window) {
            postpone(v, s, a);
            return true;
        }
    }
    return false;
}

static bool has_room(const struct encsan *v, uint64_t blocks)
{
    return v->ahead_pages + blocks <= v->ahead_pages_max && !TAILQ_EMPTY(&v->ahead_free) &&
           v->free_page_count >= blocks + v->page_count / PAGES_KEPT_SHARE;
}

/* Room for so many blocks more; what nobody fetched makes it where it must. */
static struct ahead *take_free(struct encsan *v, uint64_t blocks)
{
    struct ahead *a;

    while (!has_room(v, blocks))
        if (!give_up_unread(v) && !give_up_excess(v))
            return NULL;
    a = TAILQ_FIRST(&v->ahead_free);
    TAILQ_REMOVE(&v->ahead_free, a, queue);
    for (uint64_t i = 0; i < blocks; i++)
        a->page[i] = v->free_pages[--v->free_page_count];
    v->ahead_pages += blocks;
    return a;
}

/* Asks for blocks from `lba` on; *blocks: how many of so many are asked for now, or were
 * already. False: there is no memory. */
static bool ask(struct encsan *v, uint64_t lba, uint64_t *blocks)
{
    struct ahead *there = ahead_overlap(v, lba, 1), *a;

    if (there) { /* another stream's, or an earlier reader's */
        *blocks = there->lba + there->blocks - lba;
        return true;
    }
    *blocks = MIN(*blocks, v->read_pace.blocks);
    there = ahead_overlap(v, lba, *blocks);
    if (there)
        *blocks = there->lba - lba;
    a = take_free(v, *blocks);
    if (!a)
        return false;
    a->lba = lba;
    a->blocks = *blocks;
    a->whole = a->blocks == v->read_pace.blocks;
    v->asked_blocks += a->blocks;
    a->taken = 0;
    a->ready = false;
    RB_INSERT(ahead_tree, &v->ahead, a);
    read_for_ahead(v, a);
    return true;
}

static bool ask_next(struct encsan *v, struct stream *s)
{
    uint64_t blocks = s->end - s->ahead;

    if (!ask(v, s->ahead, &blocks))
        return false;
    s->ahead += blocks;
    return true;
}

/* ---- what somebody foresees ---- */

void readahead_want(struct encsan *v, uint64_t lba, uint64_t blocks)
{
    unsigned at = (v->wanted_first + v->wanted_count) % WANTED_MAX;

    if (blocks == 0 || v->ahead_count == 0 || v->wanted_count == WANTED_MAX)
        return;
    v->wanted[at] = (struct wanted){lba, lba + blocks};
    v->wanted_count++;
}

static bool ask_wanted(struct encsan *v)
{
    struct wanted *w = &v->wanted[v->wanted_first];
    uint64_t blocks = w->end - w->lba;

    if (!ask(v, w->lba, &blocks))
        return false;
    w->lba += MIN(blocks, w->end - w->lba);
    if (w->lba == w->end) {
        v->wanted_first = (v->wanted_first + 1) % WANTED_MAX;
        v->wanted_count--;
    }
    return true;
}

/* ---- what is asked for next ---- */

/* All up to its end is asked for: it goes on elsewhere, as a stream of its own. */
static void follow(struct encsan *v, struct stream *s)
{
    struct stream *next = find_stream(v, s->then);

    if (next->next == UINT64_MAX)
        *next = (struct stream){.next = s->then,
                                .ahead = s->then,
                                .end = s->then_end,
                                .read_number = s->read_number,
                                .sequential = true};
    else if (next->next == s->then && next->end < s->then_end) /* the reader sees farther by now */
        next->end = s->then_end;
    s->then_end = 0;
}

static void follow_all(struct encsan *v)
{
    for (unsigned i = 0; i < STREAMS; i++) {
        struct stream *s = &v->streams[i];

        if (s->sequential && s->then_end > s->then && s->ahead >= s->end)
            follow(v, s);
    }
}

static bool line_is_full(const struct encsan *v)
{
    return !v->read_pace.fixed && v->asked_blocks >= v->read_pace.depth * v->read_pace.blocks;
}

/* The next one that is asked for is the one whose reader will need it first. */
static struct stream *neediest(struct encsan *v)
{
    uint64_t least = window_blocks(v);
    struct stream *found = NULL;

    if (line_is_full(v))
        return NULL;
    for (unsigned i = 0; i < STREAMS; i++) {
        struct stream *s = &v->streams[i];
        uint64_t distance;

        if (!s->sequential || s->ahead >= s->end)
            continue;
        distance = s->ahead - s->next + blocks_before(v, s);
        if (distance < least) {
            least = distance;
            found = s;
        }
    }
    return found;
}

void readahead_pump(struct encsan *v)
{
    struct stream *s;

    if (v->ahead_count == 0 || v->error)
        return;
    follow_all(v);
    while (v->free_slot_count > SLOTS_KEPT && v->live_sessions > 0 && (s = neediest(v)))
        if (!ask_next(v, s))
            return;
    while (v->free_slot_count > SLOTS_KEPT && v->live_sessions > 0 && v->wanted_count > 0)
        if (!ask_wanted(v))
            return;
}
