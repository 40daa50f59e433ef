// SPDX-License-Identifier: LGPL-2.1-or-later
#include "nexus.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <openssl/rand.h>

#include "clock.h"
#include "handshake.h"
#include "pipeline.h"
#include "suite.h"

#define INITIATOR_PREFIX "iqn.2026-11.org.encsan:"
#define SMALL_BYTES (64u << 10)
#define RECONNECT_US 300000

/* One connection's send buffer, 4 MiB where nobody changed tcp_wmem, has room
 * for about so much data that is not yet acknowledged. */
#define SESSION_BYTES 2500000u
#define LINE_BYTES_A_SECOND 625000000u /* that sessions=auto has room for: 5 Gbit/s */
#define BULK_SESSIONS_AUTO_MAX 8

static void end_life(struct nexus *n)
{
    struct encsan *v = n->volume;

    n->state = NEXUS_LOST;
    v->live_sessions--;
    pipeline_session_lost(v, n);
}

/* ---- connecting (without the lock) ---- */

/* By the session's thread. */
static void lost(void *opaque, const char *why)
{
    struct nexus *n = opaque;
    struct encsan *v = n->volume;

    volume_lock(v);
    if (n->state == NEXUS_LIVE)
        end_life(n);
    if (v->live_sessions == 0)
        volume_fail(v, -EIO, "the connection to the target is lost (%s)", why);
    else if (!v->error && n->state == NEXUS_LOST)
        volume_log(v, "session %u is lost (%s), the others go on", n->number, why);
    n->complained = true;
    n->state = NEXUS_LOST;
    pthread_cond_broadcast(&v->sessions_changed);
    volume_unlock(v);
}

static struct handshake_request request_of(const struct encsan *v, enum wire_intent intent)
{
    const struct encsan_options *o = &v->options;

    return (struct handshake_request){
        .url = o->url,
        .key = o->key,
        .target_key = o->target_key,
        .suite = o->suite,
        .intent = o->read_only ? WIRE_INTENT_RO : intent,
        .mount_id = v->info.mount_id,
        .previous_mount_id = o->previous_mount_id,
        .generation = v->generation,
    };
}

static int connect_session(struct nexus *n, struct handshake_request *request,
                           struct handshake *result, char *message)
{
    const struct encsan *v = n->volume;
    char name[sizeof INITIATOR_PREFIX + 16];

    snprintf(name, sizeof name, INITIATOR_PREFIX "%016llx",
             (unsigned long long)wire_get64(v->info.mount_id));
    n->session = session_open(request->url, name, n->number, lost, n, message, ENCSAN_MESSAGE_BYTES);
    if (!n->session)
        return -1;
    if (handshake_run(n->session, request, result, message) == 0) {
        n->sa = result->sa;
        return 0;
    }
    session_close(n->session);
    n->session = NULL;
    return -1;
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

int nexus_open_first(struct encsan *v, const struct encsan_options *o,
                     char message[ENCSAN_MESSAGE_BYTES])
{
    struct nexus *n = &v->nexuses[0];
    struct handshake_request request;
    struct handshake h;

    for (unsigned i = 0; i < ENCSAN_SESSIONS_MAX; i++) {
        v->nexuses[i].volume = v;
        v->nexuses[i].number = i;
    }
    if (RAND_bytes(v->info.mount_id, ENCSAN_ID_BYTES) != 1) {
        snprintf(message, ENCSAN_MESSAGE_BYTES, "OpenSSL has no random numbers");
        return -1;
    }
    request = request_of(v, WIRE_INTENT_ACQUIRE);
    if (connect_session(n, &request, &h, message) != 0)
        return -1;
    v->blocks = h.blocks;
    v->boot_id = h.boot_id;
    v->generation = h.generation;
    v->ordinal_window = h.ordinal_window;
    v->info.size_bytes = h.blocks * ENCSAN_BLOCK_BYTES;
    v->info.generation = h.generation;
    v->info.suite = suite_name(h.suite);
    memcpy(v->info.volume_id, h.volume_id, ENCSAN_ID_BYTES);
    n->state = NEXUS_LIVE;
    v->live_sessions = 1;
    v->sessions = o->sessions;
    if (v->sessions == 0)
        v->sessions = sessions_for(v, session_path(n->session).rtt_min_us);
    return 0;
}

/* ---- the life of a nexus ---- */

/* Another volume, or another size, must never be written to. */
static bool is_same_volume(const struct encsan *v, const struct handshake *h)
{
    return memcmp(h->volume_id, v->info.volume_id, ENCSAN_ID_BYTES) == 0 && h->blocks == v->blocks &&
           h->generation == v->generation;
}

static void came_up(struct nexus *n)
{
    struct encsan *v = n->volume;

    if (n->complained)
        volume_log(v, "session %u is there again", n->number);
    n->complained = false;
    n->state = NEXUS_LIVE;
    v->live_sessions++;
    pipeline_pump(v);
}

/* Lets go of the lock meanwhile. */
static void disconnect(struct nexus *n)
{
    struct encsan *v = n->volume;
    struct session *session = n->session;
    struct sa *sa = n->sa;

    n->session = NULL;
    n->sa = NULL;
    volume_unlock(v);
    if (session)
        session_close(session);
    if (sa)
        sa_free(sa);
    volume_lock(v);
    n->state = NEXUS_DOWN;
}

/* Lets go of the lock meanwhile. */
static void connect_once(struct nexus *n)
{
    struct encsan *v = n->volume;
    struct handshake_request request = request_of(v, WIRE_INTENT_RESUME);
    char message[ENCSAN_MESSAGE_BYTES];
    struct handshake h;
    int error;

    request.base = v->durable;
    volume_unlock(v);
    error = connect_session(n, &request, &h, message);
    volume_lock(v);
    if (error == 0 && is_same_volume(v, &h)) {
        if (n->state == NEXUS_DOWN) /* else it is lost already */
            came_up(n);
        return;
    }
    if (error == 0)
        volume_fail(v, -EIO, "another volume answers where ours was");
    else if (!n->complained && !v->closing) /* else it is refused what we have given back */
        volume_log(v, "session %u cannot be opened, tried again: %s", n->number, message);
    n->complained = true;
    disconnect(n);
    if (!v->closing)
        cond_wait_until(&v->sessions_changed, &v->lock, now_us() + RECONNECT_US);
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
        else
            pthread_cond_wait(&v->sessions_changed, &v->lock);
    }
    while (n->busy > 0) /* with giving the lease back */
        pthread_cond_wait(&v->sessions_changed, &v->lock);
    disconnect(n);
    volume_unlock(v);
    return NULL;
}

int nexus_open_others(struct encsan *v)
{
    for (unsigned i = 0; i < v->sessions; i++) {
        if (pthread_create(&v->nexuses[i].thread, NULL, nexus_thread, &v->nexuses[i]) != 0)
            return -1;
        v->nexuses[i].has_thread = true;
    }
    return 0;
}

void nexus_release_lease(struct nexus *n)
{
    const struct slot done = {.status = SLOT_GOOD};

    handshake_release(n->session, n->sa);
    volume_lock(n->volume);
    nexus_give(n, &done);
    volume_unlock(n->volume);
}

void nexus_close_all(struct encsan *v)
{
    volume_lock(v);
    v->closing = true;
    pthread_cond_broadcast(&v->sessions_changed);
    volume_unlock(v);
    for (unsigned i = 0; i < ENCSAN_SESSIONS_MAX; i++)
        if (v->nexuses[i].has_thread)
            pthread_join(v->nexuses[i].thread, NULL);
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

struct nexus *nexus_take(struct encsan *v, uint32_t bytes)
{
    bool reserved = bytes > SMALL_BYTES && v->live_sessions > (v->nexuses[0].state == NEXUS_LIVE);
    struct nexus *best = NULL;

    for (unsigned i = reserved ? 1 : 0; i < v->sessions; i++) {
        struct nexus *n = &v->nexuses[i];

        if (n->state == NEXUS_LIVE && (!best || n->pending_bytes < best->pending_bytes))
            best = n;
    }
    if (best) {
        best->busy++;
        best->pending_bytes += bytes;
    }
    return best;
}

void nexus_give(struct nexus *n, const struct slot *slot)
{
    struct encsan *v = n->volume;

    n->busy--;
    n->pending_bytes -= slot->bytes;
    if (slot->status == SLOT_LOST && n->state == NEXUS_LIVE)
        end_life(n); /* `lost` is about to say why */
    if (n->busy == 0 && (n->state == NEXUS_LOST || v->closing))
        pthread_cond_broadcast(&v->sessions_changed);
}
