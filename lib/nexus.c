// SPDX-License-Identifier: LGPL-2.1-or-later
#include "nexus.h"

#include "clock.h"
#include "connect.h"
#include "handshake.h"
#include "pipeline.h"

#define SMALL_BYTES (64u << 10)
#define RECONNECT_US 300000
#define REKEY_AGAIN_US 5000000

/* One connection's send buffer, 4 MiB where nobody changed tcp_wmem, has room
 * for about so much data that is not yet acknowledged. */
#define SESSION_BYTES 2500000u
#define LINE_BYTES_A_SECOND 625000000u /* that sessions=auto has room for: 5 Gbit/s */
#define BULK_SESSIONS_AUTO_MAX 8

/* ---- the life of a nexus ---- */

/* What connects, and has patience, has sent its SYN into an outage. */
static void hurry(struct encsan *v)
{
    for (unsigned i = 0; i < ENCSAN_SESSIONS_MAX; i++)
        v->nexuses[i].hurry = true;
}

static void end_life(struct nexus *n)
{
    struct encsan *v = n->volume;

    n->state = NEXUS_LOST;
    pipeline_session_lost(v, n);
    if (--v->live_sessions > 0)
        return;
    outage_begin(v);
    hurry(v);
}

void nexus_connected(void *opaque)
{
    struct nexus *n = opaque;
    struct encsan *v = n->volume;

    volume_lock(v);
    if (v->outage_us)
        hurry(v);
    volume_unlock(v);
}

/* What became of one may have become of all, and those that have nothing to do don't notice. */
static void doubt_others(struct encsan *v)
{
    for (unsigned i = 0; i < v->sessions; i++)
        if (v->nexuses[i].state == NEXUS_LIVE && v->nexuses[i].session)
            session_doubt(v->nexuses[i].session);
}

void nexus_lost(void *opaque, const char *why)
{
    struct nexus *n = opaque;
    struct encsan *v = n->volume;

    volume_lock(v);
    if (n->state == NEXUS_LIVE)
        end_life(n);
    if (v->live_sessions == 0)
        outage_tell(v, why);
    else if (!v->error && !v->ending && !n->complained)
        volume_log(v, "session %u is lost (%s), the others go on", n->number, why);
    n->complained = true;
    n->state = NEXUS_LOST;
    doubt_others(v);
    pthread_cond_broadcast(&v->sessions_changed);
    volume_unlock(v);
}

static void come_up(struct nexus *n)
{
    struct encsan *v = n->volume;
    uint32_t rtt_us = session_path(n->session).rtt_min_us;

    if (v->outage_us)
        outage_end(v);
    else if (n->complained)
        volume_log(v, "session %u is there again", n->number);
    n->complained = n->told_refusal = false;
    n->state = NEXUS_LIVE;
    v->live_sessions++;
    if (rtt_us)
        v->rtt_min_us = rtt_us;
    pipeline_pump(v);
}

/* As many as the distance wants; where the user says how many segments are on
 * their way, no more than carry those: few warm congestion windows are better
 * than many cold ones. */
static unsigned sessions_for(const struct encsan *v, uint32_t rtt_us)
{
    uint64_t bytes = (uint64_t)rtt_us * LINE_BYTES_A_SECOND / 1000000;
    uint64_t fixed = v->options.depth * v->segment_blocks * ENCSAN_BLOCK_BYTES;
    uint64_t bulk;

    if (fixed && fixed < bytes)
        bytes = fixed;
    bulk = 1 + bytes / SESSION_BYTES;
    return 1 + (unsigned)(bulk < BULK_SESSIONS_AUTO_MAX ? bulk : BULK_SESSIONS_AUTO_MAX);
}

int nexus_open_first(struct encsan *v, char message[ENCSAN_MESSAGE_BYTES])
{
    struct nexus *n = &v->nexuses[0];

    for (unsigned i = 0; i < ENCSAN_SESSIONS_MAX; i++) {
        v->nexuses[i].volume = v;
        v->nexuses[i].number = i;
    }
    if (connect_first(n, message) != 0)
        return -1;
    n->state = NEXUS_LIVE;
    v->live_sessions = 1;
    v->rtt_min_us = session_path(n->session).rtt_min_us;
    v->sessions = v->options.sessions;
    if (v->sessions == 0)
        v->sessions = sessions_for(v, v->rtt_min_us);
    return 0;
}

/* Lets go of the lock meanwhile. */
static void disconnect(struct nexus *n)
{
    struct encsan *v = n->volume;
    struct session *session = n->session;

    sa_free(n->sa);
    sa_free(n->old_sa);
    n->sa = n->old_sa = NULL;
    n->session = NULL;
    n->rekeying = false;
    volume_unlock(v);
    if (session)
        session_close(session);
    volume_lock(v);
    n->state = NEXUS_DOWN;
}

/* Lets go of the lock meanwhile. */
static void connect_once(struct nexus *n)
{
    struct encsan *v = n->volume;
    uint64_t began_us = now_us();

    if (connect_again(n)) {
        if (n->state == NEXUS_DOWN) /* else it is lost already */
            come_up(n);
        return;
    }
    disconnect(n);
    while (!v->closing && !v->error && now_us() < began_us + RECONNECT_US)
        cond_wait_until(&v->sessions_changed, &v->lock, began_us + RECONNECT_US);
}

static bool may_rekey(const struct nexus *n)
{
    return n->state == NEXUS_LIVE && n->rekeying && now_us() >= n->rekey_us &&
           (!n->old_sa || sa_is_held_once(n->old_sa));
}

/* Lets go of the lock meanwhile. */
static void rekey(struct nexus *n)
{
    bool done;

    n->busy++;
    done = connect_rekey(n);
    n->busy--;
    n->rekeying = !done;
    n->rekey_us = done ? 0 : now_us() + REKEY_AGAIN_US;
}

/* Nothing may leave for a long time, while the keys grow old and others take the disk over. */
static void wait_for_work(struct nexus *n)
{
    struct encsan *v = n->volume;

    cond_wait_until(&v->sessions_changed, &v->lock, now_us() + LOOK_US);
    if (n->state != NEXUS_LIVE)
        return;
    if (sa_is_worn(n->sa))
        n->rekeying = true;
    receipt_look(v);
}

static void *nexus_thread(void *arg)
{
    struct nexus *n = arg;
    struct encsan *v = n->volume;

    volume_lock(v);
    while (!v->closing) {
        if (n->state == NEXUS_DOWN && !v->error)
            connect_once(n);
        else if (n->state == NEXUS_LOST && n->busy == 0)
            disconnect(n);
        else if (may_rekey(n))
            rekey(n);
        else
            wait_for_work(n);
    }
    disconnect(n);
    volume_unlock(v);
    return NULL;
}

int nexus_open_others(struct encsan *v)
{
    for (unsigned i = 0; i < v->sessions; i++) {
        v->nexuses[i].portal = v->nexuses[0].portal;
        if (pthread_create(&v->nexuses[i].thread, NULL, nexus_thread, &v->nexuses[i]) != 0)
            return -1;
        v->nexuses[i].has_thread = true;
    }
    return 0;
}

/* The others have the same lease. Lets go of the lock meanwhile. */
static void release_lease(struct encsan *v)
{
    for (unsigned i = 0; i < ENCSAN_SESSIONS_MAX; i++) {
        struct nexus *n = &v->nexuses[i];

        if (n->state != NEXUS_LIVE)
            continue;
        n->busy++;
        volume_unlock(v);
        handshake_release(n->session, n->sa);
        volume_lock(v);
        n->busy--;
        return;
    }
}

void nexus_close_all(struct encsan *v, bool release)
{
    volume_lock(v);
    v->ending = true;
    if (release && !v->info.read_only)
        release_lease(v);
    v->closing = true;
    v->giving_up = true;
    pthread_cond_broadcast(&v->tick);
    pthread_cond_broadcast(&v->sessions_changed);
    volume_unlock(v);
    for (unsigned i = 0; i < ENCSAN_SESSIONS_MAX; i++) {
        if (v->nexuses[i].has_thread)
            pthread_join(v->nexuses[i].thread, NULL);
        v->nexuses[i].has_thread = false;
    }
    if (v->nexuses[0].session) { /* it never got a thread */
        volume_lock(v);
        disconnect(&v->nexuses[0]);
        volume_unlock(v);
    }
}

/* ---- transmissions ---- */

uint32_t nexus_rtt_min_us(const struct encsan *v)
{
    uint32_t least = 0;

    for (unsigned i = 0; i < v->sessions; i++) {
        const struct nexus *n = &v->nexuses[i];
        uint32_t rtt = n->state == NEXUS_LIVE ? session_path(n->session).rtt_min_us : 0;

        if (rtt && (least == 0 || rtt < least))
            least = rtt;
    }
    return least;
}

static void want_keys(struct nexus *n)
{
    n->rekeying = true;
    pthread_cond_broadcast(&n->volume->sessions_changed);
}

struct nexus *nexus_take(struct encsan *v, uint32_t bytes, struct sa **sa)
{
    bool reserved = bytes > SMALL_BYTES && v->live_sessions > (v->nexuses[0].state == NEXUS_LIVE);
    struct nexus *best = NULL;

    for (unsigned i = reserved ? 1 : 0; i < v->sessions; i++) {
        struct nexus *n = &v->nexuses[i];

        if (n->state == NEXUS_LIVE && (!best || n->pending_bytes < best->pending_bytes))
            best = n;
    }
    if (!best)
        return NULL;
    best->busy++;
    best->pending_bytes += bytes;
    *sa = sa_hold(best->sa);
    if (!best->rekeying && sa_is_worn(best->sa))
        want_keys(best);
    return best;
}

void nexus_give(struct nexus *n, const struct slot *slot, struct sa *sa)
{
    struct encsan *v = n->volume;

    if (n->rekeying && sa == n->old_sa)
        pthread_cond_broadcast(&v->sessions_changed);
    sa_free(sa);
    n->busy--;
    n->pending_bytes -= slot->bytes;
    if (slot->status == SLOT_LOST && n->state == NEXUS_LIVE)
        end_life(n); /* `lost` is about to say why */
    if (n->busy == 0 && n->state == NEXUS_LOST)
        pthread_cond_broadcast(&v->sessions_changed);
}
