// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Reloads: reload.h. First a plan is made, which opens and grows what it needs
 * and may fail; carrying it out cannot. None but this thread changes the
 * target's configuration and its LUNs, so it may look at them without the lock.
 */
#include "reload.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "conn.h"
#include "log.h"
#include "notify.h"

struct reload {
    struct target *target;
    struct portal *portal;
    const char *path;
    pthread_t thread;
    GPtrArray *retired;  /* of struct lun, with a reference */
    bool wanted, ending; /* the target's lock guards them */
};

struct change { /* of a LUN; of one that stays, too */
    struct lun *lun;
    const struct lun_settings *before, *after; /* NULL: it is not there then */
    bool grown;
};

struct plan {
    struct reload *reload;
    struct config *now, *next;
    GArray *changes; /* of struct change; those that are there afterwards first, as in `next` */
    char *kept;      /* the keys that need a restart; NULL: none */
    char message[1024];
};

/* ---- planning ---- */

static bool fail(struct plan *plan, const struct lun_settings *settings, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
static bool fail(struct plan *plan, const struct lun_settings *settings, const char *format, ...)
{
    g_autofree char *where = config_where(plan->next, settings), *what = NULL;
    va_list args;

    va_start(args, format);
    what = g_strdup_vprintf(format, args);
    va_end(args);
    snprintf(plan->message, sizeof plan->message, "%s%s", where, what);
    return false;
}

static struct lun *find(const struct target *target, const char *name, unsigned number)
{
    for (unsigned i = 0; i < target->lun_count; i++)
        if (target->luns[i]->number == number && strcmp(target->luns[i]->target_name, name) == 0)
            return target->luns[i];
    return NULL;
}

/* The LUN that has this disk open; NULL: none. */
static const struct lun *find_path(const struct reload *reload, const char *path)
{
    const struct target *target = reload->target;

    for (unsigned i = 0; i < target->lun_count; i++)
        if (strcmp(target->luns[i]->path, path) == 0)
            return target->luns[i];
    for (unsigned i = 0; i < reload->retired->len; i++)
        if (strcmp(((struct lun *)reload->retired->pdata[i])->path, path) == 0)
            return reload->retired->pdata[i];
    return NULL;
}

/* It stays what it is. */
static bool stays(const struct lun *lun, const struct lun_settings *settings)
{
    return lun && strcmp(lun->path, settings->path) == 0 && lun->sealed == !settings->plain;
}

static bool plan_lun(struct plan *plan, const struct lun_settings *settings)
{
    struct target *target = plan->reload->target;
    struct change change = {.after = settings};
    const struct lun *other = find_path(plan->reload, settings->path);
    char message[512];

    change.lun = find(target, config_target(plan->next, settings->target)->name, settings->number);
    if (stays(change.lun, settings)) {
        change.before = change.lun->settings;
        if (lun_grow(change.lun, settings, &change.grown, message, sizeof message) != 0)
            return fail(plan, settings, "%s", message);
    } else if (other) {
        return fail(plan, settings,
                    "path=%s: it is open as the %s LUN %s of %s; take that out and reload before "
                    "it is another one",
                    settings->path, other->sealed ? "sealed" : "plain", other->label,
                    other->target_name);
    } else {
        change.lun = lun_open(target, plan->next, settings, plan->message, sizeof plan->message);
        if (!change.lun)
            return false;
    }
    g_array_append_val(plan->changes, change);
    return true;
}

static bool is_kept(const struct plan *plan, const struct lun *lun)
{
    for (unsigned i = 0; i < plan->changes->len; i++)
        if (g_array_index(plan->changes, struct change, i).lun == lun)
            return true;
    return false;
}

static bool make_plan(struct plan *plan)
{
    const struct target *target = plan->reload->target;
    uint64_t until_us = now_us() + LUN_AWAIT_US;

    if (!config_read(plan->next, plan->reload->path, plan->message, sizeof plan->message))
        return false;
    plan->kept = config_keep(plan->now, plan->next);
    for (unsigned i = 0; i < plan->next->luns->len; i++)
        if (!plan_lun(plan, plan->next->luns->pdata[i]))
            return false;
    for (unsigned i = 0; i < plan->changes->len; i++)
        lun_await_disk(g_array_index(plan->changes, struct change, i).lun, until_us);
    for (unsigned i = 0; i < target->lun_count; i++) {
        const struct change gone = {.lun = target->luns[i], .before = target->luns[i]->settings};

        if (!is_kept(plan, gone.lun))
            g_array_append_val(plan->changes, gone);
    }
    return true;
}

/* What it has opened was never shown to anybody. */
static void drop_plan(struct plan *plan)
{
    char unused[256];

    for (unsigned i = 0; i < plan->changes->len; i++) {
        struct change *change = &g_array_index(plan->changes, struct change, i);

        if (change->before)
            continue;
        lun_close(change->lun, unused, sizeof unused);
        lun_unref(change->lun);
    }
}

/* ---- carrying it out ---- */

static void swap(struct plan *plan)
{
    struct target *target = plan->reload->target;
    struct lun **luns = g_new0(struct lun *, plan->next->luns->len), **last;

    pthread_mutex_lock(&target->lock);
    last = target->luns;
    target->luns = luns;
    target->lun_count = plan->next->luns->len;
    target->config = config_ref(plan->next);
    for (unsigned i = 0; i < plan->changes->len; i++) {
        struct change *change = &g_array_index(plan->changes, struct change, i);

        change->lun->settings = change->after;
        if (change->after)
            luns[i] = change->lun;
    }
    pthread_mutex_unlock(&target->lock);
    g_free(last);
}

struct place {
    struct target *target;
    const struct lun *lun;
};

static bool is_allowed(const uint8_t *key, const void *argument)
{
    const struct place *place = argument;

    return target_allows(place->target, place->lun, key);
}

static void end_session(struct conn *conn, const char *why)
{
    if (!atomic_load(&conn->ending))
        conn_log(conn, 0, "session is ended: %s", why);
    conn_end(conn);
}

static void expelled(const void *session)
{
    end_session((struct conn *)session, "its initiator may not use the LUN any more");
}

static void apply_to_lun(struct plan *plan, const struct change *change)
{
    const struct place place = {plan->reload->target, change->lun};
    struct lun *lun = change->lun;

    if (change->grown)
        lun_show_size(lun);
    if (lun->backend->operations->use_password)
        lun->backend->operations->use_password(lun->backend, change->after->password_file);
    if (lun->lease) {
        lease_set_timeout(lun->lease, plan->next->lease_timeout_s * UINT64_C(1000000));
        lease_expel(lun->lease, is_allowed, expelled, &place);
        return;
    }
    unit_set_read_only(lun->unit, change->after->read_only);
    if (change->grown)
        unit_has_grown(lun->unit);
}

static void its_lun_goes(const void *session)
{
    end_session((struct conn *)session, "its LUN is taken away");
}

/* A mount asks again until its LUN comes back; it must not hear first that there
 * is none, which it would take for a broken disk. So this comes before the LUN is away. */
static void end_mounts(const struct plan *plan)
{
    for (unsigned i = 0; i < plan->changes->len; i++) {
        const struct change *change = &g_array_index(plan->changes, struct change, i);

        if (!change->after && change->lun->lease)
            lease_each_session(change->lun->lease, its_lun_goes);
    }
}

static void retire(struct plan *plan, struct lun *lun)
{
    if (lun->lease) {
        lease_retire(lun->lease);
        lease_each_session(lun->lease, its_lun_goes); /* who has come meanwhile */
    }
    lun_give_up(lun); /* a disk that is away does not keep it */
    g_ptr_array_add(plan->reload->retired, lun); /* with the reference that the target had */
}

static void log_change(const struct change *change)
{
    const struct lun *lun = change->lun;

    if (!change->before && lun->blocks == 0)
        log_line("LUN %s: added: %s, not there yet", lun->label, lun->path);
    else if (!change->before)
        log_line("LUN %s: added: %s, %" PRIu64 " bytes, %s", lun->label, lun->path,
                 lun->blocks * lun->block_bytes, lun->sealed ? "sealed" : "plain");
    else if (!change->after)
        log_line("LUN %s: removed: %s", lun->label, lun->path);
    else if (change->grown)
        log_line("LUN %s: has grown to %" PRIu64 " bytes: %s", lun->label,
                 lun->blocks * lun->block_bytes, lun->path);
}

static void lose_lun(const struct conn *conn, const struct lun *lun)
{
    struct port port = {0};

    memcpy(port.name, conn->initiator, sizeof port.name);
    memcpy(port.isid, conn->isid, sizeof port.isid);
    if (lun->unit)
        unit_release_port(lun->unit, &port);
}

/* Does the session see another list of LUNs than before? */
static bool sees_change(const struct plan *plan, const struct conn *conn)
{
    bool changed = false;

    for (unsigned i = 0; i < plan->changes->len; i++) {
        const struct change *c = &g_array_index(plan->changes, struct change, i);
        bool before = c->before && target_shows(c->before, conn->user);
        bool after = c->after && target_shows(c->after, conn->user);

        if (strcmp(c->lun->target_name, conn->target_name) != 0 || before == after)
            continue;
        if (before)
            lose_lun(conn, c->lun);
        changed = true;
    }
    return changed;
}

static void apply_to_session(struct conn *conn, void *argument)
{
    const struct plan *plan = argument;

    if (!conn_is_welcome(conn, plan->next))
        end_session(conn, "its target or its user is not there any more");
    else if (sees_change(plan, conn))
        atomic_store(&conn->luns_changed, true);
}

static void carry_out(struct plan *plan)
{
    struct target *target = plan->reload->target;

    end_mounts(plan);
    swap(plan);
    memory_set_limit(target->memory, plan->next->memory_bytes);
    for (unsigned i = 0; i < plan->changes->len; i++) {
        const struct change *change = &g_array_index(plan->changes, struct change, i);

        if (change->after)
            apply_to_lun(plan, change);
        else
            retire(plan, change->lun);
        log_change(change);
    }
    portal_each(plan->reload->portal, apply_to_session, plan);
}

static void perform(struct reload *reload)
{
    struct plan plan = {
        .reload = reload,
        .now = reload->target->config,
        .next = config_new(),
        .changes = g_array_new(FALSE, TRUE, sizeof(struct change)),
    };

    notify_reloading();
    if (make_plan(&plan)) {
        carry_out(&plan);
        log_line("%s: read again", reload->path);
        if (plan.kept)
            log_line("%s: %s: as before, until a restart", reload->path, plan.kept);
        config_unref(plan.now);
    } else {
        drop_plan(&plan);
        log_line("nothing has changed: %s", plan.message);
    }
    config_unref(plan.next);
    g_free(plan.kept);
    g_array_unref(plan.changes);
    notify(NOTIFY_READY);
}

/* ---- the thread ---- */

/* Lock held. One that nothing uses any more is not retired now, but to be closed; NULL: none. */
static struct lun *take_idle(struct reload *reload)
{
    for (unsigned i = 0; i < reload->retired->len; i++) {
        struct lun *lun = reload->retired->pdata[i];

        if (lun->tasks > 0)
            continue;
        g_ptr_array_remove_index(reload->retired, i);
        return lun;
    }
    return NULL;
}

static void close_retired(struct lun *lun)
{
    char message[512];

    if (lun_close(lun, message, sizeof message) == 0)
        log_line("LUN %s: closed: %s", lun->label, lun->path);
    else
        log_line("%s", message);
    lun_unref(lun);
}

static void *run(void *argument)
{
    struct reload *reload = argument;
    struct target *target = reload->target;
    struct lun *idle;
    bool wanted;

    pthread_mutex_lock(&target->lock);
    while (!reload->ending) {
        idle = take_idle(reload);
        wanted = !idle && reload->wanted;
        if (!idle && !wanted) {
            pthread_cond_wait(&target->idle, &target->lock);
            continue;
        }
        if (wanted)
            reload->wanted = false;
        pthread_mutex_unlock(&target->lock);
        if (idle)
            close_retired(idle);
        else
            perform(reload);
        pthread_mutex_lock(&target->lock);
    }
    pthread_mutex_unlock(&target->lock);
    return NULL;
}

struct reload *reload_start(struct target *target, struct portal *portal, const char *path)
{
    struct reload *reload = g_new0(struct reload, 1);

    reload->target = target;
    reload->portal = portal;
    reload->path = path;
    reload->retired = g_ptr_array_new();
    if (pthread_create(&reload->thread, NULL, run, reload) == 0)
        return reload;
    g_ptr_array_unref(reload->retired);
    g_free(reload);
    return NULL;
}

static void tell(struct reload *reload, bool *what)
{
    pthread_mutex_lock(&reload->target->lock);
    *what = true;
    pthread_cond_signal(&reload->target->idle);
    pthread_mutex_unlock(&reload->target->lock);
}

void reload_request(struct reload *reload)
{
    tell(reload, &reload->wanted);
}

void reload_stop(struct reload *reload)
{
    if (!reload)
        return;
    tell(reload, &reload->ending);
    pthread_join(reload->thread, NULL);
}

void reload_free(struct reload *reload)
{
    if (!reload)
        return;
    for (unsigned i = 0; i < reload->retired->len; i++)
        close_retired(reload->retired->pdata[i]);
    g_ptr_array_unref(reload->retired);
    g_free(reload);
}
