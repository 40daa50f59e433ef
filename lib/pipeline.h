// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The inside of a volume, shared by volume.c (requests), stage.c (data that
 * has not left), pipeline.c (segments on their way), receipt.c (what is
 * durable), read.c, readahead.c, outage.c (no session is there)
 * and fail.c.
 *
 * The states of a segment; `lock` of the volume holds for every change:
 *
 *   FREE       on free_segments; has no pages.
 *   FILLING    in the tree `staged`; absorbs newer data for its blocks and
 *              grows at its end. Its pages may be written under the lock.
 *   READY      as FILLING, but leaves as soon as a slot is free: the urgent ones
 *              first, and whatever the depth is; those without data (ranges) beside it.
 *   HELD       as READY, but overlaps a retained segment: it waits until a
 *              receipt covers that one (the overlap rule).
 *   SEALING    has an ordinal; range and bytes are fixed for ever. In the tree
 *              `retained` and on `outstanding`; a worker reads its pages
 *              without the lock and fills a slot.
 *   IN_FLIGHT  its slot is the session's of its nexus.
 *   ACCEPTED   the slot is free again; the data is kept, it may be sent again.
 *   RESEND     ACCEPTED, and to be sealed again as soon as a slot is free, the
 *              lowest ordinal first.
 *   RETRY      ACCEPTED, and to be sealed again at the next tick.
 *   DURABLE    a receipt covers it; off `outstanding`, still in `retained`
 *              until every read that was sent before the receipt has ended.
 *
 * Invariants: segments in `staged` don't overlap each other; nor do those in
 * `retained`. A staged one is newer than a retained one. What is in neither
 * tree is on the target's disk as the last read would find it.
 */
#ifndef ENCSAN_PIPELINE_H
#define ENCSAN_PIPELINE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>
#include <bsd/sys/tree.h>

#include "encsan.h"
#include "nexus.h"
#include "pace.h"
#include "wire.h"
#include "workers.h"

#define AHEAD_SEGMENTS_MAX 256 /* in memory, asked for or not yet fetched */
#define AHEAD_WAITS 256 /* reads that wait for what is on its way */
#define STREAMS 8
#define WANTED_MAX 1024 /* ranges to be read ahead, which are more than may be asked for now */
#define SYNC_SLOTS 4
#define LOOK_US 3000000 /* how often an idle volume looks whether all is as it was */
#define SLOTS_MAX 176
#define SLOTS_BYTES_MAX (20u << 20) /* of memory besides the cache */
#define SLOTS_FOR_READS 16          /* that writes leave to them */
#define SLOTS_FOR_URGENT 8          /* that other writes leave to urgent ones */
#define RANGE_SEGMENTS 1024         /* zeroes and unmaps, staged or retained */
#define RANGES_SHARE 2              /* of the slots, for them; */
#define RANGES_SHARE_OF_MANY 8      /* while data waits for slots, too */
#define STAGE_KEPT_SHARE 16         /* of the cache, for urgent writes; half of it for small ones, too */
#define SMALL_BLOCKS 16             /* a small write */
#define START_SEGMENTS 4 /* a session: about what TCP sends in its second round trip */
#define ATTEMPTS_MAX 3
#define SPREAD_BLOCKS 1        /* of an urgent segment, over the sessions of a long line */
#define SPREAD_BLOCKS_MAX 16   /* it has no more */
#define SPREAD_READ_BLOCKS 4   /* of a read at least, the same */
#define SPREAD_RTT_US 2000     /* which is longer */

enum segment_state {
    SEGMENT_FREE,
    SEGMENT_FILLING,
    SEGMENT_READY,
    SEGMENT_HELD,
    SEGMENT_SEALING,
    SEGMENT_IN_FLIGHT,
    SEGMENT_ACCEPTED,
    SEGMENT_RESEND,
    SEGMENT_RETRY,
    SEGMENT_DURABLE,
};

struct segment {
    RB_ENTRY(segment) by_lba;    /* staged or retained */
    TAILQ_ENTRY(segment) queue;  /* the one that its state names */
    TAILQ_ENTRY(segment) order;  /* by_age while staged, outstanding afterwards */
    struct job job;
    struct encsan *volume;
    enum segment_state state;
    enum wire_operation operation;
    bool barrier;   /* leaves after everything older (urgent: that is urgent), with after = all that left */
    bool urgent;
    bool receipted; /* a receipt came before the answer */
    bool whole;     /* it had as many blocks as the pace allowed when it got its ordinal */
    uint64_t lba;
    uint64_t blocks;
    uint64_t age;      /* of its staging: grows by one a segment */
    uint64_t staged_us;
    uint64_t sent_us; /* IN_FLIGHT */
    uint64_t ordinal, after;
    uint64_t accepted_event;
    uint64_t last_read; /* DURABLE: kept until every read up to this one has ended */
    unsigned attempts;
    struct slot *slot;   /* SEALING, IN_FLIGHT */
    struct nexus *nexus; /* that it was last sealed for */
    struct sa *sa;       /* SEALING, IN_FLIGHT: under which */
    uint32_t page[WIRE_DATA_BLOCKS_MAX];
};

TAILQ_HEAD(segment_list, segment);
RB_HEAD(segment_tree, segment);
int segment_compare(struct segment *a, struct segment *b);
RB_PROTOTYPE(segment_tree, segment, by_lba, segment_compare)

enum request_kind {
    REQUEST_READ,
    REQUEST_WRITE,
    REQUEST_ZERO,
    REQUEST_DISCARD,
    REQUEST_FLUSH,
    REQUEST_LEAVE,
};

struct request { /* one call of encsan.h */
    TAILQ_ENTRY(request) queue; /* parked, parked_urgent, reads_queued, flushes, leaving, finished, free */
    enum request_kind kind;
    unsigned flags;
    uint64_t lba, blocks;
    uint64_t progress; /* blocks staged, or asked for */
    uint64_t piece;    /* READ: blocks that are asked for at once */
    const uint8_t *in;
    uint8_t *out;
    struct encsan_stream stream; /* READ, in blocks; end 0: of none */
    unsigned pending;    /* READ: pieces on their way */
    uint64_t age;     /* FLUSH: covers what was staged up to here */
    uint64_t ordinal; /* FLUSH: durable when this is; 0: not all has an ordinal yet */
    int error;
    encsan_done *done;
    void *opaque;
};
TAILQ_HEAD(request_list, request);

TAILQ_HEAD(ahead_wait_list, ahead_wait);

struct ahead { /* see readahead.c */
    RB_ENTRY(ahead) by_lba;
    TAILQ_ENTRY(ahead) queue; /* ahead_free or ahead_ready */
    struct ahead_wait_list waiters;
    bool ready;
    bool whole; /* as a segment's */
    uint64_t lba, blocks;
    uint64_t taken; /* blocks that readers got */
    uint32_t page[WIRE_DATA_BLOCKS_MAX];
};
TAILQ_HEAD(ahead_list, ahead);
RB_HEAD(ahead_tree, ahead);

struct wanted { /* somebody foresees reads of it */
    uint64_t lba, end;
};

struct stream { /* a sequential reader */
    uint64_t next;  /* where its next read begins */
    uint64_t ahead; /* asked for up to here */
    uint64_t end;
    uint64_t then, then_end; /* where it goes on after `end`; then_end 0: nowhere, or a stream already */
    uint64_t read_number; /* of its last read; 0: unused */
    bool sequential;      /* a read went on where one had ended */
};

struct read_piece { /* one SEALED READ */
    TAILQ_ENTRY(read_piece) queue;  /* reads_sent in order of number, or reads_free */
    TAILQ_ENTRY(read_piece) resend; /* reads_lost: its session ended */
    struct job job;
    struct encsan *volume;
    struct request *request; /* or: */
    struct ahead *ahead; /* into its pages, not to `out` */
    uint64_t sent_us;
    struct slot *slot;
    struct nexus *nexus;
    struct sa *sa;
    uint64_t number;
    uint64_t lba;
    uint32_t blocks;
    unsigned attempts;
    uint8_t *out;
};
TAILQ_HEAD(read_list, read_piece);

struct sync { /* one SEALED SYNC */
    struct job job;
    struct encsan *volume;
    struct slot *slot;
    struct nexus *nexus;
    struct sa *sa;
    bool busy;
    uint64_t ordinal;
    uint64_t event; /* when it was sent: what was accepted later may be missing in its receipt */
};

struct encsan {
    /* constant while the volume is open */
    struct encsan_options options; /* strings are our own */
    struct slots *slots;
    unsigned slot_count;
    struct workers *workers;
    struct encsan_info info;
    struct portals *portals;
    unsigned sessions; /* that are wanted */
    uint64_t blocks, ordinal_window, generation;
    uint64_t segment_blocks;
    void (*log)(void *opaque, const char *line);
    void *log_opaque;
    uint8_t *pages; /* page_count pages of ENCSAN_BLOCK_BYTES: staged, retained, read ahead */
    uint32_t page_count;
    pthread_t ticker;
    atomic_bool giving_up; /* nobody waits for a connection any more */

    pthread_mutex_t lock; /* guards everything that follows, and segments */
    pthread_cond_t tick;  /* wakes the ticker */
    bool ticker_sleeps;   /* for want of something to do, and not between two looks */
    pthread_cond_t idle;  /* a slot became free */
    pthread_cond_t sessions_changed;
    bool ending;  /* no request will come any more */
    bool closing; /* and nothing is on its way */
    atomic_int error;       /* -errno, for ever; read without the lock by encsan_error */
    atomic_int write_error; /* the same, but reads go on: the target could not write */
    bool fenced; /* the error is that another mount has the lease */

    uint32_t *free_pages;
    uint32_t free_page_count;
    struct segment *segments;
    struct segment_list free_segments;
    struct segment_tree staged, retained;
    struct segment_list by_age;      /* staged */
    struct segment_list filling, held;
    struct segment_list ready, ranges, urgent; /* READY ones: see stage_ready_list */
    unsigned range_count, unsynced_ranges; /* segments without data; those since the last SYNC was wanted */
    struct segment_list outstanding; /* retained and not durable, by ordinal */
    struct segment_list sealing, resend, retry;
    struct segment_list durable_segments; /* DURABLE, by last_read */
    uint64_t age, event;
    uint64_t staged_blocks, retained_blocks;

    struct nexus nexuses[ENCSAN_SESSIONS_MAX];
    unsigned live_sessions;
    uint32_t rtt_min_us;     /* of the last session that came up */
    uint64_t outage_us;      /* since then there is no live session; 0: there is one */
    bool outage_told;        /* in the log */
    bool outage_expired;     /* timeout= is over */
    struct slot *free_slots[SLOTS_MAX];
    unsigned free_slot_count;
    struct pace write_pace;
    unsigned in_flight; /* segments SEALING or IN_FLIGHT */
    unsigned ranges_in_flight; /* those of them without data */
    uint64_t sealed_bytes, opened_bytes;
    uint64_t ordinal, durable;
    uint64_t unsynced_blocks; /* given an ordinal since the last SYNC was wanted */

    struct sync syncs[SYNC_SLOTS];
    uint64_t sync_wanted, sync_asked;
    uint64_t asked_us; /* the last SYNC */
    bool sync_paused; /* until the next tick, after one went wrong */
    unsigned sync_failures;
    struct wire_boot_id boot_id;      /* whose receipts count */
    struct wire_boot_id told_boot_id; /* that knows what is settled: it answered a handshake */
    unsigned boot_rounds; /* failed flushes since `durable` last grew */
    uint64_t failed_ordinal;
    unsigned failures; /* of failed_ordinal */

    struct read_piece *reads; /* slot_count */
    struct read_list reads_free, reads_sent, reads_lost;
    uint64_t read_number;

    struct ahead *aheads;
    struct ahead_wait *waits; /* AHEAD_WAITS */
    struct ahead_wait_list waits_free;
    unsigned ahead_count; /* 0: nothing is read ahead */
    uint64_t ahead_pages, ahead_pages_max;
    uint64_t asked_blocks; /* of those that are ASKED */
    struct pace read_pace; /* its depth is for what is ASKED */
    struct ahead_tree ahead;
    struct ahead_list ahead_free, ahead_ready;
    struct stream streams[STREAMS];
    uint64_t stream_reads;
    struct wanted wanted[WANTED_MAX]; /* a ring */
    unsigned wanted_first, wanted_count;

    struct request_list parked; /* writes, zeroes, discards that wait for memory or a receipt */
    struct request_list parked_urgent;
    struct request_list leaving; /* and discards, which are done when they have left */
    struct request_list reads_queued;
    struct request_list flushes;
    struct request_list finished; /* their `done` is called when the lock is let go */
    struct request_list requests_free; /* as many as there once were at a time */
    struct encsan_stats stats;
};

/* ---- volume.c ---- */
void volume_lock(struct encsan *v);
void volume_unlock(struct encsan *v); /* and calls `done` of what is finished */
void volume_log(struct encsan *v, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The target cannot write: reads go on, everything else ends with -EIO. */
void volume_fail_writes(struct encsan *v);
void volume_finish(struct encsan *v, struct request *r, int error);
/* There is something for the ticker: it looks within a tenth of a second. */
void volume_wake_ticker(struct encsan *v);
/* One with undefined contents, until it is finished; NULL: out of memory. Lock held. */
struct request *request_take(struct encsan *v);

/* ---- fail.c ---- (lock held) */
/* The volume fails for ever: every request that waits ends with `error`. */
void volume_fail(struct encsan *v, int error, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* It does so because another mount has taken the lease. */
void volume_fence(struct encsan *v);
/* Every request that waits, for whatever, ends with `error`. */
void volume_fail_waiting(struct encsan *v, int error);

/* ---- outage.c ---- (lock held) */
void outage_begin(struct encsan *v); /* the last session is lost */
void outage_tell(struct encsan *v, const char *why);
void outage_end(struct encsan *v);   /* one is there again */
void outage_tick(struct encsan *v);
/* The ticker has something to do for it. */
bool outage_has_limit(const struct encsan *v);

/* ---- stage.c ---- (lock held) */
/* Goes on with a write, zero or discard. False: it must wait. */
bool stage_request(struct encsan *v, struct request *r);
void stage_finish(struct encsan *v, struct request *r); /* all of it is staged */
void stage_parked(struct encsan *v);
/* Partial segments leave, too. */
void stage_all_ready(struct encsan *v);
void stage_urgent_ready(struct encsan *v); /* those that are urgent */
void stage_old_ready(struct encsan *v, uint64_t staged_before_us);
void stage_ready(struct encsan *v, struct segment *s);
struct segment_list *stage_ready_list(struct encsan *v, const struct segment *s);
/* What is staged there leaves before everything else. */
void stage_urgent(struct encsan *v, uint64_t lba, uint64_t blocks);
struct segment *segment_overlap(struct segment_tree *tree, uint64_t lba, uint64_t blocks);
/* One that is free, for new data, on no list and in no tree yet; NULL: none is. */
struct segment *segment_take(struct encsan *v, enum wire_operation operation, uint64_t lba);
void segment_free(struct encsan *v, struct segment *s);
static inline uint8_t *page_at(struct encsan *v, uint32_t page)
{
    return v->pages + (size_t)page * ENCSAN_BLOCK_BYTES;
}
static inline uint8_t *segment_page(struct encsan *v, const struct segment *s, uint64_t index)
{
    return page_at(v, s->page[index]);
}

/* ---- pipeline.c ---- (lock held) */
/* What the model knows of the line, but its rate. */
struct model pipeline_model(struct encsan *v);
/* `count` pages as pieces of memory, as few as they are; returns how many. Without the lock. */
int pipeline_gather(struct encsan *v, const uint32_t *page, uint64_t count, struct iovec *out);
/* Sends what may be sent. To be called after anything changed. */
void pipeline_pump(struct encsan *v);
void pipeline_resend(struct encsan *v, struct segment *s);
/* All that was accepted and is not durable. */
void pipeline_resend_accepted(struct encsan *v);
/* What the target held back there, it has dropped. */
void pipeline_session_lost(struct encsan *v, const struct nexus *n);
/* A receipt covers it and no slot holds it. */
void pipeline_durable(struct encsan *v, struct segment *s);
/* Frees durable segments that no read needs any more. */
void pipeline_reclaim(struct encsan *v);

/* ---- receipt.c ---- (lock held) */
void receipt_init(struct encsan *v); /* its slots are the last ones */
void receipt_want(struct encsan *v, uint64_t ordinal);
void receipt_ask(struct encsan *v);
/* Asks for one that covers nothing new, where none was asked for lately: who has nothing
 * to write hears of a takeover, too. */
void receipt_look(struct encsan *v);
/* The target was restarted: its older receipts count no more. */
void receipt_restarted(struct encsan *v, const struct wire_boot_id *boot_id);

/* ---- read.c ---- (lock held) */
int read_init(struct encsan *v); /* 0, or -1: out of memory */
void read_fail_lost(struct encsan *v, int error);
void read_pump(struct encsan *v);
void read_for_ahead(struct encsan *v, struct ahead *a);
/* One of the parts on which the request waits has come. */
void read_part_ended(struct encsan *v, struct request *r, int error);

/* ---- readahead.c ---- (lock held) */
/* `window`: as in encsan_options; the sessions are known. 0, or -1: out of memory. */
int readahead_init(struct encsan *v, unsigned window);
void readahead_free(struct encsan *v);
/* A read is asked for. */
void readahead_note(struct encsan *v, const struct request *r);
enum readahead_found {
    READAHEAD_NOTHING, /* *blocks may be less now: those are to be read */
    READAHEAD_COPIED,  /* *blocks of them are in `out` */
    READAHEAD_WAITS,   /* they will be: a part of the request */
};
enum readahead_found readahead_find(struct encsan *v, struct request *r, uint64_t lba,
                                    uint64_t *blocks, uint8_t *out);
void readahead_answered(struct encsan *v, struct ahead *a, uint64_t took_us, int error);
/* Reads of these blocks are foreseen. */
void readahead_want(struct encsan *v, uint64_t lba, uint64_t blocks);
/* A writer needs a page. False: nothing that was read ahead can be given up. */
bool readahead_give_up(struct encsan *v);
/* Its blocks are being written. */
void readahead_drop(struct encsan *v, uint64_t lba, uint64_t blocks);
/* Asks for what the streams' windows allow. */
void readahead_pump(struct encsan *v);

#endif
