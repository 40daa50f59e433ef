// SPDX-License-Identifier: LGPL-2.1-or-later
/* Accounts of initiators: accounts.h. */
#include "accounts.h"

#include <pthread.h>
#include <string.h>

#define IDLE_MAX 256

struct accounts {
    pthread_mutex_t lock; /* guards everything that follows, and accounts' places and sessions */
    GHashTable *all;      /* of struct account, each its own key */
    GQueue idle;          /* those without a session, the longest idle first */
};

static guint hash(gconstpointer key)
{
    const struct account *account = key;

    return g_str_hash(account->initiator) * 31 + g_str_hash(account->lun);
}

static gboolean equal(gconstpointer a, gconstpointer b)
{
    const struct account *left = a, *right = b;

    return strcmp(left->initiator, right->initiator) == 0 && strcmp(left->lun, right->lun) == 0;
}

static void destroy(gpointer key)
{
    struct account *account = key;

    g_free(account->initiator);
    g_free(account->lun);
    g_free(account);
}

struct accounts *accounts_new(void)
{
    struct accounts *accounts = g_new0(struct accounts, 1);

    pthread_mutex_init(&accounts->lock, NULL);
    accounts->all = g_hash_table_new_full(hash, equal, destroy, NULL);
    g_queue_init(&accounts->idle);
    return accounts;
}

void accounts_free(struct accounts *accounts)
{
    if (!accounts)
        return;
    g_hash_table_unref(accounts->all);
    pthread_mutex_destroy(&accounts->lock);
    g_free(accounts);
}

/* Lock held. */
static struct account *add(struct accounts *accounts, const char *initiator, const char *lun)
{
    struct account *account = g_new0(struct account, 1);

    account->initiator = g_strdup(initiator);
    account->lun = g_strdup(lun);
    g_hash_table_add(accounts->all, account);
    return account;
}

struct account *accounts_open(struct accounts *accounts, const char *initiator, const char *lun)
{
    const struct account wanted = {.initiator = (char *)initiator, .lun = (char *)lun};
    struct account *account;

    pthread_mutex_lock(&accounts->lock);
    account = g_hash_table_lookup(accounts->all, &wanted);
    if (!account)
        account = add(accounts, initiator, lun);
    else if (account->sessions == 0)
        g_queue_unlink(&accounts->idle, &account->place);
    account->sessions++;
    pthread_mutex_unlock(&accounts->lock);
    return account;
}

void accounts_close(struct accounts *accounts, struct account *account)
{
    if (!account)
        return;
    pthread_mutex_lock(&accounts->lock);
    if (--account->sessions == 0) {
        account->place.data = account;
        g_queue_push_tail_link(&accounts->idle, &account->place);
    }
    if (accounts->idle.length > IDLE_MAX) {
        struct account *oldest = g_queue_pop_head_link(&accounts->idle)->data;

        g_hash_table_remove(accounts->all, oldest);
    }
    pthread_mutex_unlock(&accounts->lock);
}

void account_done(struct account *account, enum operation operation, uint64_t bytes)
{
    if (!account)
        return;
    atomic_fetch_add_explicit(&account->done[operation].commands, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&account->done[operation].bytes, bytes, memory_order_relaxed);
}

void account_error(struct account *account)
{
    if (account)
        atomic_fetch_add_explicit(&account->errors, 1, memory_order_relaxed);
}

static gint compare(gconstpointer a, gconstpointer b)
{
    const struct account *left = a, *right = b;
    int order = strcmp(left->initiator, right->initiator);

    return order ? order : strcmp(left->lun, right->lun);
}

void accounts_each(struct accounts *accounts,
                   void (*each)(const struct account *account, void *argument), void *argument)
{
    GList *sorted;

    pthread_mutex_lock(&accounts->lock);
    sorted = g_list_sort(g_hash_table_get_keys(accounts->all), compare);
    for (GList *place = sorted; place; place = place->next)
        each(place->data, argument);
    pthread_mutex_unlock(&accounts->lock);
    g_list_free(sorted);
}
