// SPDX-License-Identifier: LGPL-2.1-or-later
/* The LUNs as connections find them: target.h. */
#include "target.h"

#include <errno.h>
#include <string.h>

#include <glib.h>
#include <openssl/crypto.h>

#include "clock.h"

/* ---- life ---- */

int target_open_luns(struct target *target, char *message, size_t size)
{
    const GPtrArray *settings = target->config->luns;
    uint64_t until_us = now_us() + LUN_AWAIT_US;

    target->luns = g_new0(struct lun *, settings->len);
    for (unsigned i = 0; i < settings->len; i++) {
        struct lun *lun = lun_open(target, target->config, settings->pdata[i], message, size);

        if (!lun)
            return -1;
        target->luns[target->lun_count++] = lun;
    }
    for (unsigned i = 0; i < target->lun_count; i++)
        lun_await_disk(target->luns[i], until_us);
    return 0;
}

int target_close(struct target *target, char *message, size_t size)
{
    int result = 0;

    for (unsigned i = 0; i < target->lun_count; i++) {
        if (lun_close(target->luns[i], message, size) != 0)
            result = -1;
        lun_unref(target->luns[i]);
    }
    g_free(target->luns);
    OPENSSL_cleanse(target->key, sizeof target->key);
    return result;
}

void target_give_up(struct target *target)
{
    g_autoptr(GPtrArray) luns = target_all_luns(target);

    for (unsigned i = 0; i < luns->len; i++)
        lun_give_up(luns->pdata[i]);
}

struct config *target_config(struct target *target)
{
    struct config *config;

    pthread_mutex_lock(&target->lock);
    config = config_ref(target->config);
    pthread_mutex_unlock(&target->lock);
    return config;
}

/* ---- LUNs ---- */

static bool is_of(const struct lun *lun, const char *name, const struct user *user)
{
    return strcmp(lun->target_name, name) == 0 && target_shows(lun->settings, user);
}

struct lun *target_find_lun(struct target *target, const char *name, unsigned number,
                            const struct user *user)
{
    struct lun *found = NULL;

    pthread_mutex_lock(&target->lock);
    for (unsigned i = 0; i < target->lun_count && !found; i++)
        if (target->luns[i]->number == number && is_of(target->luns[i], name, user))
            found = lun_ref(target->luns[i]);
    pthread_mutex_unlock(&target->lock);
    return found;
}

unsigned target_list_luns(struct target *target, const char *name, const struct user *user,
                          uint8_t numbers[LUNS_MAX])
{
    unsigned count = 0;

    pthread_mutex_lock(&target->lock);
    for (unsigned i = 0; i < target->lun_count; i++)
        if (is_of(target->luns[i], name, user))
            numbers[count++] = (uint8_t)target->luns[i]->number;
    pthread_mutex_unlock(&target->lock);
    return count;
}

GPtrArray *target_all_luns(struct target *target)
{
    GPtrArray *luns = g_ptr_array_new_with_free_func((GDestroyNotify)lun_unref);

    pthread_mutex_lock(&target->lock);
    for (unsigned i = 0; i < target->lun_count; i++)
        g_ptr_array_add(luns, lun_ref(target->luns[i]));
    pthread_mutex_unlock(&target->lock);
    return luns;
}

bool target_begin_task(struct target *target, struct lun *lun)
{
    bool there;

    pthread_mutex_lock(&target->lock);
    there = lun->settings != NULL;
    lun->tasks += there;
    pthread_mutex_unlock(&target->lock);
    return there;
}

void target_end_task(struct target *target, struct lun *lun)
{
    pthread_mutex_lock(&target->lock);
    if (--lun->tasks == 0 && !lun->settings)
        pthread_cond_signal(&target->idle);
    pthread_mutex_unlock(&target->lock);
}

bool target_has_disk(struct target *target, struct lun *lun)
{
    if (lun->blocks == 0 && target_begin_task(target, lun)) {
        lun_look_for_disk(lun);
        target_end_task(target, lun);
    }
    return lun->blocks > 0;
}

bool target_report_disk(struct target *target, struct lun *lun, struct backend_report *report)
{
    bool known;

    if (!target_begin_task(target, lun)) /* so that it is not closed meanwhile */
        return false;
    known = lun_report_disk(lun, report);
    target_end_task(target, lun);
    return known;
}

/* ---- who may ---- */

bool target_shows(const struct lun_settings *settings, const struct user *user)
{
    char **names = settings->users;

    return !names || (user && g_strv_contains((const char *const *)names, user->name));
}

static bool is_listed(const struct lun_settings *settings, const struct initiator *initiator)
{
    char **names = settings->initiators;

    return !names || g_strv_contains((const char *const *)names, initiator->name);
}

/* Lock held. */
static bool allows(const struct target *target, const struct lun *lun, const uint8_t *key)
{
    const GPtrArray *initiators = target->config->initiators;

    for (unsigned i = 0; lun->settings && i < initiators->len; i++) {
        const struct initiator *initiator = initiators->pdata[i];

        if (CRYPTO_memcmp(initiator->key, key, KEY_BYTES) == 0 &&
            is_listed(lun->settings, initiator))
            return true;
    }
    return false;
}

bool target_allows(struct target *target, const struct lun *lun, const uint8_t key[KEY_BYTES])
{
    bool allowed;

    pthread_mutex_lock(&target->lock);
    allowed = allows(target, lun, key);
    pthread_mutex_unlock(&target->lock);
    return allowed;
}

/* Lock held; NULL: nobody's. On the command line keys have no names. */
static const char *name_of(const struct target *target, const uint8_t *key)
{
    const GPtrArray *initiators = target->config->initiators;

    for (unsigned i = 0; i < initiators->len; i++) {
        const struct initiator *initiator = initiators->pdata[i];

        if (CRYPTO_memcmp(initiator->key, key, KEY_BYTES) == 0)
            return initiator->name;
    }
    return NULL;
}

char *target_initiator(struct target *target, const uint8_t key[KEY_BYTES])
{
    char text[KEY_TEXT_BYTES], *initiator;
    const char *name;

    key_to_text(key, text);
    pthread_mutex_lock(&target->lock);
    name = name_of(target, key);
    initiator = g_strdup(name ? name : text);
    pthread_mutex_unlock(&target->lock);
    return initiator;
}

char *target_who(struct target *target, const uint8_t key[KEY_BYTES])
{
    g_autofree char *initiator = target_initiator(target, key);
    char text[KEY_TEXT_BYTES];

    key_to_text(key, text);
    return strcmp(initiator, text) == 0 ? g_strdup(text)
                                        : g_strdup_printf("%s (%s)", text, initiator);
}

static struct sense sense_of(int error, struct sense medium_error)
{
    switch (-error) {
    case 0:
        return SENSE_NONE;
    case EAGAIN:
        return SENSE_NOT_READY;
    case ENOSPC:
    case EDQUOT:
        return SENSE_SPACE_ALLOCATION;
    case EROFS:
        return SENSE_WRITE_PROTECTED;
    case EBUSY:
    case EREMOTEIO:
        return SENSE_INTERNAL_FAILURE;
    default:
        return medium_error;
    }
}

struct sense target_write_sense(int error)
{
    return sense_of(error, SENSE_WRITE_ERROR);
}

struct sense target_read_sense(int error)
{
    return sense_of(error, SENSE_READ_ERROR);
}
