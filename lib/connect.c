// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Connecting: connect.h. Without the volume's lock but where it is taken.
 *
 * What comes back after a session was lost may be another disk, or the same
 * one after a restart of the target. Message 2 says so under Noise, and
 * `agrees` looks at it before the first byte leaves under the new keys:
 *
 *   another volume, or a smaller one    the volume fails for ever
 *   another generation of the lease     it is fenced
 *   another boot id                     receipts of the older boot count no more; what none
 *                                       of them covers is sent again
 *
 * A target that was restarted believes the base of whoever comes first. If
 * `durable` has grown after the base was sent, the handshake is given up, and
 * begun anew.
 */
#include "connect.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <openssl/rand.h>

#include "clock.h"
#include "handshake.h"
#include "pipeline.h"
#include "portals.h"
#include "suite.h"

#define INITIATOR_PREFIX "iqn.2026-11.org.encsan:"
#define FIRST_CONNECT_US 10000000 /* a portal may be far away */
#define CONNECT_US 300000         /* and one and a half round trips, once it is known how far */
#define PATIENT_US 5000000 /* the way may have become longer, or lossy */
#define PATIENT_EVERY 4    /* attempts of number 0 */
#define REKEY_US 600000000 /* for an answer that comes behind much data on a slow line */
#define RESOLVE_EVERY 32   /* failed attempts of number 0: names may have moved */

/* One attempt. */
struct attempt {
    struct nexus *nexus;
    struct handshake_request request;
    struct handshake result;
    uint64_t connect_us, patient_us;
};

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

static int open_session(struct attempt *a, char *message)
{
    struct nexus *n = a->nexus;
    const struct encsan *v = n->volume;
    char name[sizeof INITIATOR_PREFIX + 16], portal[PORTAL_BYTES];
    struct session_login login = {
        .portal = portal,
        .target = portals_target(v->portals),
        .lun = portals_lun(v->portals),
        .initiator_name = name,
        .isid = wire_get32(v->info.mount_id + 8) & 0xffffff,
        .number = n->number,
        .connect_us = a->connect_us,
        .patient_us = a->patient_us,
        .hurry = &n->hurry,
        .connected = nexus_connected,
        .url = v->options.url,
        .give_up = &v->giving_up,
    };

    portals_address(v->portals, n->portal, portal);
    snprintf(name, sizeof name, INITIATOR_PREFIX "%016llx",
             (unsigned long long)wire_get64(v->info.mount_id));
    n->session = session_open(&login, nexus_lost, n, message, ENCSAN_MESSAGE_BYTES);
    return n->session ? 0 : -1;
}

static int shake_hands(struct attempt *a, char *message)
{
    return handshake_run(a->nexus->session, &a->request, &a->result, message);
}

static void close_session(struct nexus *n)
{
    session_close(n->session);
    n->session = NULL;
}

/* ---- the first ---- */

/* A lease that another has is taken over from exactly the generation that the target named. */
static int shake_hands_first(struct attempt *a, char *message)
{
    const struct encsan *v = a->nexus->volume;
    int error = shake_hands(a, message);

    if (error == 0 || a->result.refusal != WIRE_REFUSED_HELD || !v->options.steal)
        return error;
    a->request.intent = WIRE_INTENT_STEAL;
    a->request.generation = a->result.generation;
    return shake_hands(a, message);
}

static int connect_to_some(struct attempt *a, char *message)
{
    struct nexus *n = a->nexus;
    unsigned count = portals_count(n->volume->portals);

    for (n->portal = 0; n->portal < count; n->portal++) {
        if (open_session(a, message) != 0)
            continue;
        if (shake_hands_first(a, message) == 0) {
            message[0] = 0;
            return 0;
        }
        close_session(n);
        if (a->result.refusal) /* under Noise: it is the same at every portal */
            return -1;
    }
    return -1;
}

int connect_first(struct nexus *n, char message[ENCSAN_MESSAGE_BYTES])
{
    struct encsan *v = n->volume;
    struct attempt a = {.nexus = n, .connect_us = FIRST_CONNECT_US};
    const struct handshake *h = &a.result;

    v->portals = portals_new(v->options.url, message, ENCSAN_MESSAGE_BYTES);
    if (!v->portals || portals_resolve(v->portals, message, ENCSAN_MESSAGE_BYTES) != 0)
        return -1;
    if (RAND_bytes(v->info.mount_id, ENCSAN_ID_BYTES) != 1) {
        snprintf(message, ENCSAN_MESSAGE_BYTES, "OpenSSL has no random numbers");
        return -1;
    }
    a.request = request_of(v, WIRE_INTENT_ACQUIRE);
    if (connect_to_some(&a, message) != 0)
        return -1;
    n->sa = h->sa;
    v->blocks = h->blocks;
    v->boot_id = v->told_boot_id = h->boot_id;
    v->generation = h->generation;
    v->ordinal_window = h->ordinal_window;
    v->info.size_bytes = h->blocks * ENCSAN_BLOCK_BYTES;
    v->info.generation = h->generation;
    v->info.suite = suite_name(h->suite);
    memcpy(v->info.volume_id, h->volume_id, ENCSAN_ID_BYTES);
    return 0;
}

/* ---- and again ---- */

static bool is_same_boot(const struct wire_boot_id *a, const struct wire_boot_id *b)
{
    return memcmp(a, b, sizeof *a) == 0;
}

/* Other refusals come before the target has looked at the disk. */
static bool speaks_of_the_lease(const struct handshake *h)
{
    return h->sa || h->overtaken || h->refusal == WIRE_REFUSED_HELD ||
           h->refusal == WIRE_REFUSED_GENERATION;
}

/* What message 2 and the receipt say for ever. Lock held. */
static bool is_still_ours(struct encsan *v, const struct handshake *h)
{
    if (v->error || v->ending || !speaks_of_the_lease(h))
        return !v->error;
    if (memcmp(h->volume_id, v->info.volume_id, ENCSAN_ID_BYTES) != 0)
        volume_fail(v, -EIO, "another disk answers where ours was");
    else if (h->refusal == WIRE_REFUSED_GENERATION || h->overtaken ||
             h->generation != v->generation)
        volume_fence(v);
    else if (h->refusal == WIRE_ACCEPTED && h->blocks < v->blocks)
        volume_fail(v, -EIO, "the target's disk has become smaller");
    return !v->error;
}

static bool agrees(void *opaque, const struct handshake *h, char *message)
{
    struct attempt *a = opaque;
    struct encsan *v = a->nexus->volume;
    bool good;

    volume_lock(v);
    good = is_still_ours(v, h);
    if (good && wire_get64(h->boot_id.counter) < wire_get64(v->boot_id.counter)) {
        snprintf(message, ENCSAN_MESSAGE_BYTES,
                 "the target's state is older than what it said before");
        good = false;
    } else if (good && !is_same_boot(&h->boot_id, &v->boot_id)) {
        receipt_restarted(v, &h->boot_id);
    }
    if (good && !is_same_boot(&h->boot_id, &v->told_boot_id) && a->request.base != v->durable) {
        snprintf(message, ENCSAN_MESSAGE_BYTES, "a receipt came meanwhile");
        good = false;
    }
    volume_unlock(v);
    return good;
}

/* Lock held. While others carry the traffic, which may be what makes the way slow, there
 * is time; else a SYN that was lost in an outage must not be waited for. One waits longer
 * now and then, as long as no other comes through. */
static void choose_limits(struct attempt *a)
{
    struct nexus *n = a->nexus;

    a->connect_us = CONNECT_US + (uint64_t)n->volume->rtt_min_us * 3 / 2;
    n->hurry = false;
    if (n->volume->live_sessions > 0 || (n->number == 0 && n->attempts % PATIENT_EVERY == PATIENT_EVERY - 1))
        a->patient_us = PATIENT_US;
}

/* Without the lock. */
static int try_portal(struct attempt *a, char *message)
{
    struct nexus *n = a->nexus;
    struct encsan *v = n->volume;
    char ignored[ENCSAN_MESSAGE_BYTES];

    if (n->number == 0 && n->attempts % RESOLVE_EVERY == RESOLVE_EVERY - 1)
        portals_resolve(v->portals, ignored, sizeof ignored);
    if (open_session(a, message) != 0)
        return -1;
    volume_lock(v);
    a->request.base = v->durable; /* as late as it can be */
    volume_unlock(v);
    if (shake_hands(a, message) == 0)
        return 0;
    close_session(n);
    return -1;
}

/* Lock held. */
static void complain(struct nexus *n, const struct attempt *a, const char *message)
{
    struct encsan *v = n->volume;
    bool refused = a->result.refusal != WIRE_ACCEPTED;

    if (!v->ending && (!n->complained || (refused && !n->told_refusal)))
        volume_log(v, "session %u cannot be opened, tried again: %s", n->number, message);
    n->complained = true;
    n->told_refusal = refused;
}

static void begin(struct attempt *a, struct nexus *n)
{
    *a = (struct attempt){.nexus = n, .request = request_of(n->volume, WIRE_INTENT_RESUME)};
    a->request.agrees = agrees;
    a->request.opaque = a;
}

/* Lock held. */
static bool is_good(struct attempt *a, bool finished)
{
    bool ours = is_still_ours(a->nexus->volume, &a->result);

    if (ours && finished)
        return true;
    sa_free(a->result.sa);
    a->result.sa = NULL;
    return false;
}

bool connect_rekey(struct nexus *n)
{
    struct encsan *v = n->volume;
    char message[ENCSAN_MESSAGE_BYTES] = "";
    struct attempt a;
    bool good;

    begin(&a, n);
    a.request.base = v->durable;
    a.request.patience_us = REKEY_US;
    volume_unlock(v);
    good = shake_hands(&a, message) == 0;
    volume_lock(v);
    good = is_good(&a, good);
    if (good) {
        sa_free(n->old_sa);
        n->old_sa = n->sa;
        n->sa = a.result.sa;
        v->stats.rekeyings++;
    } else if (n->state == NEXUS_LIVE && !v->error) {
        volume_log(v, "session %u cannot make new keys, tried again: %s", n->number, message);
    }
    return good;
}

bool connect_again(struct nexus *n)
{
    struct encsan *v = n->volume;
    char message[ENCSAN_MESSAGE_BYTES] = "";
    struct attempt a;
    bool live;

    begin(&a, n);
    choose_limits(&a);
    volume_unlock(v);
    live = try_portal(&a, message) == 0;
    volume_lock(v);
    live = is_good(&a, live);
    if (live) {
        n->sa = a.result.sa;
        v->told_boot_id = a.result.boot_id;
        n->attempts = 0;
        return true;
    }
    n->attempts++;
    n->portal++;
    if (!v->error)
        complain(n, &a, message);
    return false;
}
