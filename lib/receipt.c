// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * SEALED SYNC and its receipts: the only thing that makes data durable, and
 * the only source that says what is missing (PROTOCOL, section 4).
 *
 * sync_wanted is the highest ordinal that somebody wants covered; sync_asked
 * the highest that a SYNC on its way asks for.
 */
#include "pipeline.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "clock.h"

#define SYNC_FAILURES_MAX 100
#define SENSE_DATA_PROTECT 0x07 /* SPC-4 4.5.6; with 27/07: the disk is full */

static void sync_job(struct job *job);

static void sync_complete(struct slot *slot)
{
    struct sync *sync = slot->owner;

    workers_push(sync->volume->workers, &sync->job);
}

void receipt_init(struct encsan *v)
{
    for (unsigned i = 0; i < SYNC_SLOTS; i++) {
        struct sync *sync = &v->syncs[i];

        sync->volume = v;
        sync->slot = slots_get(v->slots, v->slot_count + i);
        sync->slot->owner = sync;
        sync->slot->complete = sync_complete;
        sync->slot->cdb_bytes = WIRE_CDB_BYTES;
        sync->slot->out = false;
        sync->slot->bytes = WIRE_SYNC_BYTES;
    }
}

void receipt_want(struct encsan *v, uint64_t ordinal)
{
    if (ordinal > v->sync_wanted)
        v->sync_wanted = ordinal;
}

/* A SYNC leaves behind the data that it asks for. */
static bool is_sealing(struct encsan *v, uint64_t up_to)
{
    struct segment *s;

    TAILQ_FOREACH(s, &v->sealing, queue)
        if (s->ordinal <= up_to)
            return true;
    return false;
}

/* By a worker: no key is used on the caller's or the session's thread. */
static void ask_job(struct job *job)
{
    struct sync *sync = (struct sync *)((char *)job - offsetof(struct sync, job));
    struct encsan *v = sync->volume;
    int error = sa_cdb_make(sync->sa, WIRE_SEALED_SYNC, sync->ordinal, sync->slot->cdb);

    sync->job.run = sync_job;
    volume_lock(v);
    if (error) {
        volume_fail(v, -EIO, "the limit of messages under one key is reached: mount anew");
        sync->slot->status = SLOT_LOST;
        workers_push(v->workers, &sync->job);
    } else {
        v->stats.syncs_sent++;
        session_submit(sync->nexus->session, sync->slot);
    }
    volume_unlock(v);
}

static void ask(struct encsan *v, struct sync *sync, uint64_t ordinal)
{
    sync->busy = true;
    sync->nexus = nexus_take(v, sync->slot->bytes, &sync->sa);
    sync->ordinal = ordinal;
    sync->event = ++v->event;
    sync->job.run = ask_job;
    v->asked_us = now_us();
    workers_push(v->workers, &sync->job);
}

static bool may_ask(const struct encsan *v)
{
    return !v->error && !v->ending && v->live_sessions > 0 && !v->sync_paused;
}

void receipt_ask(struct encsan *v)
{
    if (!may_ask(v) || v->sync_wanted <= v->sync_asked || v->sync_wanted <= v->durable ||
        is_sealing(v, v->sync_wanted))
        return;
    for (unsigned i = 0; i < SYNC_SLOTS; i++) {
        if (!v->syncs[i].busy) {
            v->sync_asked = v->sync_wanted;
            v->unsynced_blocks = v->unsynced_ranges = 0;
            ask(v, &v->syncs[i], v->sync_wanted);
            return;
        }
    }
}

void receipt_look(struct encsan *v)
{
    if (!may_ask(v) || now_us() - v->asked_us < LOOK_US)
        return;
    for (unsigned i = 0; i < SYNC_SLOTS; i++)
        if (v->syncs[i].busy)
            return;
    ask(v, &v->syncs[0], v->durable);
}

static bool is_executed(const struct wire_receipt *receipt, uint64_t ordinal)
{
    uint64_t executed = wire_get64(receipt->executed);
    uint64_t bit = ordinal - executed - 1;

    if (ordinal <= executed)
        return true;
    return bit < WIRE_RECEIPT_BITS && (receipt->bitmap[bit / 8] >> bit % 8 & 1);
}

/* Sends again what was accepted before the SYNC left, and is not there. */
static void resend_missing(struct encsan *v, const struct sync *sync,
                           const struct wire_receipt *receipt)
{
    struct segment *s;

    TAILQ_FOREACH(s, &v->outstanding, order)
    {
        if (s->ordinal > sync->ordinal)
            break;
        if (s->state == SEGMENT_ACCEPTED && s->accepted_event < sync->event &&
            !is_executed(receipt, s->ordinal))
            pipeline_resend(v, s);
    }
}

static void mark_durable(struct encsan *v, uint64_t durable)
{
    struct segment *s, *next;

    for (s = TAILQ_FIRST(&v->outstanding); s && s->ordinal <= durable; s = next) {
        next = TAILQ_NEXT(s, order);
        if (s->state == SEGMENT_SEALING || s->state == SEGMENT_IN_FLIGHT)
            s->receipted = true;
        else
            pipeline_durable(v, s);
    }
    v->boot_rounds = v->failures = 0;
    v->durable = durable;
}

/* In both cases `durable` stays what it is: it was on stable storage. */
static void forget_boot(struct encsan *v, const struct wire_boot_id *boot_id)
{
    v->boot_id = *boot_id;
    v->failed_ordinal = v->failures = 0;
    pipeline_resend_accepted(v);
}

void receipt_restarted(struct encsan *v, const struct wire_boot_id *boot_id)
{
    volume_log(v, "the target was restarted: what it had not confirmed is sent again");
    forget_boot(v, boot_id);
}

static void fail_flushes(struct encsan *v)
{
    if (v->write_error)
        return;
    volume_log(v, "the target's disk failed to flush %u times in a row: nothing is written any more",
               v->boot_rounds);
    volume_fail_writes(v);
}

/* False: the receipt is older than another one, or nothing that follows may be
 * believed. A boot id that changes without a new session says that the target's disk
 * was restarted, or that a flush failed. */
static bool check_boot_id(struct encsan *v, const struct wire_receipt *receipt)
{
    uint64_t known = wire_get64(v->boot_id.counter), counter = wire_get64(receipt->boot_id.counter);

    if (counter < known)
        return false;
    if (counter == known)
        return true;
    if (wire_get64(receipt->durable) < v->durable) {
        volume_fail(v, -EIO, "the target's disk lost what it had confirmed");
        return false;
    }
    v->told_boot_id = receipt->boot_id;
    if ((counter ^ known) & ~(uint64_t)WIRE_BOOT_FLUSHES) {
        volume_log(v, "the target's disk was restarted: what it had not confirmed is sent again");
        forget_boot(v, &receipt->boot_id);
        return true;
    }
    volume_log(v, "the target's disk failed a flush: data is sent again");
    forget_boot(v, &receipt->boot_id);
    if (++v->boot_rounds >= ATTEMPTS_MAX)
        fail_flushes(v);
    return true;
}

static void check_failed(struct encsan *v, const struct wire_receipt *receipt)
{
    uint64_t failed = wire_get64(receipt->failed_ordinal);
    bool full = receipt->failed_sense_key == SENSE_DATA_PROTECT && receipt->failed_asc == 0x27;
    bool away = receipt->failed_sense_key == WIRE_SENSE_NOT_READY;

    if (failed == 0 || failed <= v->durable)
        return;
    if (failed != v->failed_ordinal) {
        v->failed_ordinal = failed;
        v->failures = 0;
        volume_log(v, full   ? "the target's own disk is full: waiting for space there"
                      : away ? "the target's disk is away: waiting for it"
                             : "the target could not write to its disk (sense %X/%02X/%02X)",
                   receipt->failed_sense_key, receipt->failed_asc, receipt->failed_ascq);
    }
    if (++v->failures < ATTEMPTS_MAX || full || away || v->write_error)
        return;
    volume_log(v, "the target cannot write to its disk (sense %X/%02X/%02X): nothing is written any more",
               receipt->failed_sense_key, receipt->failed_asc, receipt->failed_ascq);
    volume_fail_writes(v);
}

static void apply(struct encsan *v, const struct sync *sync, const struct wire_receipt *receipt)
{
    uint64_t durable = wire_get64(receipt->durable);

    if (receipt->lease_state == WIRE_LEASE_FENCED || wire_get64(receipt->generation) != v->generation) {
        volume_fence(v);
        return;
    }
    if (!check_boot_id(v, receipt))
        return;
    if (durable > v->ordinal) {
        volume_fail(v, -EIO, "the target confirms what was never sent (ordinal %" PRIu64 ")", durable);
        return;
    }
    /* several SYNCs are on their way: their answers may be opened in another order */
    if (durable > v->durable)
        mark_durable(v, durable);
    if (v->durable < sync->ordinal) {
        check_failed(v, receipt);
        resend_missing(v, sync, receipt);
    }
}

static void retry_later(struct encsan *v)
{
    v->sync_paused = true;
    volume_wake_ticker(v);
    if (++v->sync_failures >= SYNC_FAILURES_MAX)
        volume_fail(v, -EIO, "the target answers no SYNC any more");
}

static void ended(struct encsan *v, struct sync *sync)
{
    sync->busy = false;
    nexus_give(sync->nexus, sync->slot, sync->sa);
    v->sync_asked = v->durable;
    for (unsigned i = 0; i < SYNC_SLOTS; i++)
        if (v->syncs[i].busy && v->syncs[i].ordinal > v->sync_asked)
            v->sync_asked = v->syncs[i].ordinal;
    pthread_cond_broadcast(&v->idle);
}

static void sync_job(struct job *job)
{
    struct sync *sync = (struct sync *)((char *)job - offsetof(struct sync, job));
    struct encsan *v = sync->volume;
    const struct slot *slot = sync->slot;
    struct wire_receipt receipt;
    const struct iovec out = {&receipt, sizeof receipt};
    bool opened = slot->status == SLOT_GOOD &&
                  sa_open_answer(sync->sa, slot->cdb, slot->data, slot->bytes, &out, 1) == 0;

    volume_lock(v);
    ended(v, sync);
    if (opened) {
        v->sync_failures = 0;
        apply(v, sync, &receipt);
    } else if (slot->status != SLOT_LOST) {
        if (slot->status == SLOT_GOOD) {
            v->stats.security_errors++;
            volume_log(v, "security: a receipt did not authenticate and was dropped");
        }
        v->stats.retries++;
        retry_later(v);
    }
    pipeline_pump(v);
    volume_unlock(v);
}
