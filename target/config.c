// SPDX-License-Identifier: LGPL-2.1-or-later
/* The configuration's memory, and the values in it: config.h. */
#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "backend.h"
#include "portals.h"
#include "reservation.h"
#include "suite.h"
#include "wire.h"

#define LEASE_TIMEOUT_S 30
#define SESSIONS 256
#define WINDOW 128
#define MEMORY_BYTES (512u << 20)

/* ---- life ---- */

static void free_initiator(void *pointer)
{
    struct initiator *initiator = pointer;

    g_free(initiator->name);
    g_free(initiator);
}

static void free_user(void *pointer)
{
    struct user *user = pointer;

    g_free(user->name);
    g_free(user->password);
    g_free(user->target_password);
    g_free(user);
}

static void free_target(void *pointer)
{
    struct target_settings *target = pointer;

    g_free(target->label);
    g_free(target->name);
    g_free(target);
}

static void free_lun(void *pointer)
{
    struct lun_settings *lun = pointer;

    g_free(lun->target);
    g_free(lun->path);
    g_free(lun->password_file);
    g_strfreev(lun->initiators);
    g_strfreev(lun->users);
    g_free(lun);
}

void config_init(struct config *config)
{
    *config = (struct config){
        .suites =
            WIRE_SUITE_BIT(WIRE_SUITE_AES_256_GCM) | WIRE_SUITE_BIT(WIRE_SUITE_CHACHA20_POLY1305),
        .lease_timeout_s = LEASE_TIMEOUT_S,
        .sessions_max = SESSIONS,
        .window = WINDOW,
        .memory_bytes = MEMORY_BYTES,
        .targets = g_ptr_array_new_with_free_func(free_target),
        .initiators = g_ptr_array_new_with_free_func(free_initiator),
        .users = g_ptr_array_new_with_free_func(free_user),
        .luns = g_ptr_array_new_with_free_func(free_lun),
    };
    atomic_init(&config->references, 1);
}

void config_free(struct config *config)
{
    g_free(config->file);
    g_strfreev(config->listen);
    g_free(config->key_file);
    g_free(config->user);
    g_free(config->state_folder);
    g_free(config->metrics);
    g_ptr_array_unref(config->targets);
    g_ptr_array_unref(config->initiators);
    g_ptr_array_unref(config->users);
    g_ptr_array_unref(config->luns);
}

struct config *config_new(void)
{
    struct config *config = g_new(struct config, 1);

    config_init(config);
    return config;
}

struct config *config_ref(struct config *config)
{
    atomic_fetch_add(&config->references, 1);
    return config;
}

void config_unref(struct config *config)
{
    if (atomic_fetch_sub(&config->references, 1) > 1)
        return;
    config_free(config);
    g_free(config);
}

struct target_settings *config_add_target(struct config *config, const char *label)
{
    struct target_settings *target = g_new0(struct target_settings, 1);

    target->label = g_strdup(label);
    g_ptr_array_add(config->targets, target);
    return target;
}

struct initiator *config_add_initiator(struct config *config, const char *name)
{
    struct initiator *initiator = g_new0(struct initiator, 1);

    initiator->name = g_strdup(name);
    g_ptr_array_add(config->initiators, initiator);
    return initiator;
}

struct user *config_add_user(struct config *config, const char *name)
{
    struct user *user = g_new0(struct user, 1);

    user->name = g_strdup(name);
    g_ptr_array_add(config->users, user);
    return user;
}

struct lun_settings *config_add_lun(struct config *config, const char *target, unsigned number)
{
    struct lun_settings *lun = g_new0(struct lun_settings, 1);

    lun->target = g_strdup(target);
    lun->number = number;
    g_ptr_array_add(config->luns, lun);
    return lun;
}

static int compare_luns(const void *a, const void *b)
{
    const struct lun_settings *const *left = a, *const *right = b;
    int order = g_strcmp0((*left)->target, (*right)->target); /* NULL is first */

    return order ? order : (int)(*left)->number - (int)(*right)->number;
}

void config_sort(struct config *config)
{
    g_ptr_array_sort(config->luns, compare_luns);
}

const struct target_settings *config_target(const struct config *config, const char *label)
{
    for (unsigned i = 0; i < config->targets->len; i++) {
        const struct target_settings *target = config->targets->pdata[i];

        if (g_strcmp0(target->label, label) == 0)
            return target;
    }
    return NULL;
}

const struct target_settings *config_named(const struct config *config, const char *iscsi_name)
{
    for (unsigned i = 0; i < config->targets->len; i++) {
        const struct target_settings *target = config->targets->pdata[i];

        if (strcmp(target->name, iscsi_name) == 0)
            return target;
    }
    return NULL;
}

const struct initiator *config_initiator(const struct config *config, const char *name)
{
    for (unsigned i = 0; i < config->initiators->len; i++) {
        const struct initiator *initiator = config->initiators->pdata[i];

        if (strcmp(initiator->name, name) == 0)
            return initiator;
    }
    return NULL;
}

const struct user *config_user(const struct config *config, const char *name)
{
    for (unsigned i = 0; i < config->users->len; i++) {
        const struct user *user = config->users->pdata[i];

        if (strcmp(user->name, name) == 0)
            return user;
    }
    return NULL;
}

const struct lun_settings *config_lun(const struct config *config, const char *target,
                                      unsigned number)
{
    for (unsigned i = 0; i < config->luns->len; i++) {
        const struct lun_settings *lun = config->luns->pdata[i];

        if (lun->number == number && g_strcmp0(lun->target, target) == 0)
            return lun;
    }
    return NULL;
}

char *config_lun_label(const struct lun_settings *lun)
{
    return lun->target ? g_strdup_printf("%s/%u", lun->target, lun->number)
                       : g_strdup_printf("%u", lun->number);
}

char *config_where(const struct config *config, const struct lun_settings *lun)
{
    g_autofree char *label = config_lun_label(lun);

    return config->file ? g_strdup_printf("%s:%u: [lun %s] ", config->file, lun->line, label)
                        : g_strdup("");
}

static void keep_text(char *now, char **next, const char *key, GString *kept)
{
    if (g_strcmp0(now, *next) == 0)
        return;
    g_string_append_printf(kept, "%s%s=", kept->len ? ", " : "", key);
    g_free(*next);
    *next = g_strdup(now);
}

char *config_keep(const struct config *now, struct config *next)
{
    GString *kept = g_string_new(NULL);

    if (!g_strv_equal((const char *const *)now->listen, (const char *const *)next->listen)) {
        g_string_append(kept, "listen=");
        g_strfreev(next->listen);
        next->listen = g_strdupv(now->listen);
    }
    keep_text(now->key_file, &next->key_file, "key", kept);
    keep_text(now->user, &next->user, "user", kept);
    keep_text(now->state_folder, &next->state_folder, "state-dir", kept);
    keep_text(now->metrics, &next->metrics, "metrics", kept);
    if (now->syslog != next->syslog)
        g_string_append_printf(kept, "%slog=", kept->len ? ", " : "");
    next->syslog = now->syslog;
    return g_string_free(kept, kept->len == 0);
}

/* ---- values ---- */

/* RFC 7143, 4.2.7: what is in a name that needs no normalisation */
bool config_is_name(const char *text)
{
    bool iqn = g_str_has_prefix(text, "iqn.");
    bool ok = strlen(text) < NAME_BYTES &&
              (iqn || g_str_has_prefix(text, "eui.") || g_str_has_prefix(text, "naa."));

    for (const char *p = text; ok && *p; p++)
        ok = g_ascii_isdigit(*p) || g_ascii_islower(*p) || strchr("-.:", *p) || !iqn;
    return ok;
}

bool config_is_address(const char *text)
{
    const char *colon = strrchr(text, ':');
    char *end = NULL;
    bool ok = colon && colon > text && g_ascii_isdigit(colon[1]) &&
              strtoul(colon + 1, &end, 10) <= 65535 && *end == 0;

    /* a bare IPv6 address would leave it open where the port begins */
    if (ok && text[0] != '[')
        ok = memchr(text, ':', (size_t)(colon - text)) == NULL;
    return ok;
}

bool config_is_url(const char *text)
{
    const char *host = text + strlen(UPSTREAM_SCHEME), *at = strchr(host, '@');
    struct portals *portals;
    char message[256];

    /* a password that stands there would be in logs and lists of processes */
    if (at && (at == host || memchr(host, '%', (size_t)(at - host))))
        return false;
    portals = portals_new(text, message, sizeof message);
    portals_free(portals);
    return portals != NULL;
}

/* A number and a suffix, none for bytes. */
bool config_size(const char *text, uint64_t *bytes)
{
    static const char suffixes[] = "KMGT";
    const char *suffix;
    char *end;
    unsigned shift = 0;

    errno = 0;
    *bytes = g_ascii_isdigit(text[0]) ? strtoull(text, &end, 10) : 0;
    if (*bytes == 0 || errno)
        return false;
    suffix = *end ? strchr(suffixes, *end) : NULL;
    if (suffix) {
        shift = 10 * (unsigned)(suffix - suffixes + 1);
        end++;
    }
    if (*end || *bytes > (uint64_t)INT64_MAX >> shift)
        return false;
    *bytes <<= shift;
    return *bytes % WIRE_BLOCK_BYTES == 0;
}

bool config_suite(const char *text, unsigned *suites)
{
    enum wire_suite suite = suite_by_name(text);

    if (!suite)
        return false;
    *suites |= WIRE_SUITE_BIT(suite);
    return true;
}

/* ---- the whole ---- */

/* A disk that two LUNs wrote to would be nobody's. */
static bool check_path(const struct config *config, unsigned index, struct config_fault *fault)
{
    const struct lun_settings *lun = config->luns->pdata[index];

    for (unsigned i = 0; i < index; i++) {
        const struct lun_settings *other = config->luns->pdata[i];

        if (strcmp(lun->path, other->path) != 0)
            continue;
        g_autofree char *label = config_lun_label(other);

        *fault = (struct config_fault){lun, "path", ""};
        g_snprintf(fault->what, sizeof fault->what, "LUN %s has it already; each disk is one LUN",
                   label);
        return false;
    }
    return true;
}

static bool check_initiators(const struct config *config, const struct lun_settings *lun,
                             struct config_fault *fault)
{
    for (char **name = lun->initiators; name && *name; name++) {
        if (config_initiator(config, *name))
            continue;
        *fault = (struct config_fault){lun, "initiators", ""};
        g_snprintf(fault->what, sizeof fault->what,
                   "%s: nobody; a group [initiator %s] would say who that is", *name, *name);
        return false;
    }
    return true;
}

static bool check_users(const struct config *config, const struct lun_settings *lun,
                        struct config_fault *fault)
{
    for (char **name = lun->users; name && *name; name++) {
        if (config_user(config, *name))
            continue;
        *fault = (struct config_fault){lun, "users", ""};
        g_snprintf(fault->what, sizeof fault->what,
                   "%s: nobody; a group [user %s] would say who that is", *name, *name);
        return false;
    }
    return true;
}

static bool check_access(const struct config *config, const struct lun_settings *lun,
                         struct config_fault *fault)
{
    const char *what = NULL, *key = "access";

    if (lun->plain && lun->initiators) {
        key = "initiators";
        what = "keys protect sealed LUNs only; this one has another access=";
    } else if (!lun->plain && lun->users) {
        key = "users";
        what = "users are of plain LUNs only; this one is sealed, and knows initiators=";
    } else if (!lun->plain && config->initiators->len == 0) {
        what = "a sealed LUN, and nobody who may use it: a group [initiator NAME] is needed";
    }
    if (!what)
        return true;
    *fault = (struct config_fault){lun, key, ""};
    g_strlcpy(fault->what, what, sizeof fault->what);
    return false;
}

static bool check_target(const struct config *config, const struct lun_settings *lun,
                         struct config_fault *fault)
{
    if (config_target(config, lun->target))
        return true;
    *fault = (struct config_fault){lun, "", ""};
    g_snprintf(fault->what, sizeof fault->what, "there is no [target %s]", lun->target);
    return false;
}

/* What goes together with a LUN of another target, and what does not. */
static bool check_upstream(const struct lun_settings *lun, struct config_fault *fault)
{
    bool upstream = backend_is_upstream(lun->path), user = upstream && strchr(lun->path, '@');
    const char *what = NULL, *key = "password-file";

    if (upstream && lun->bytes) {
        key = "size";
        what = "the disk of another target has the size that it has";
    } else if (user && !lun->password_file) {
        key = "path";
        what = "names a user; password-file= is needed, the file with the password";
    } else if (!user && lun->password_file) {
        what = "is of an URL that names a user: iscsi://USER@HOST/IQN/LUN";
    }
    if (!what)
        return true;
    *fault = (struct config_fault){lun, key, ""};
    g_strlcpy(fault->what, what, sizeof fault->what);
    return false;
}

bool config_check(const struct config *config, struct config_fault *fault)
{
    for (unsigned i = 0; i < config->luns->len; i++) {
        const struct lun_settings *lun = config->luns->pdata[i];

        if (!check_target(config, lun, fault) || !check_path(config, i, fault) ||
            !check_upstream(lun, fault) || !check_access(config, lun, fault) ||
            !check_initiators(config, lun, fault) || !check_users(config, lun, fault))
            return false;
    }
    return true;
}
