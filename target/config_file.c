// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Reading a configuration file: config.h. What may stand in which group is in
 * tables, one line a key: its name, and the function that takes its value.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend.h"
#include "config.h"
#include "lines.h"

#define FILE_BYTES_MAX (1u << 20)
#define PASSWORD_BYTES_MIN 12 /* 96 bits: RFC 7143, 9.2.1 */
#define PASSWORD_BYTES_MAX 255
#define MEMORY_BYTES_MIN (UINT64_C(16) << 20)

struct reader {
    const char *path;
    GKeyFile *file;
    struct lines *lines;
    struct config *config;
    const char *group, *key; /* what is read now; key NULL: the group's head */
    void *into;              /* of the group that it is: its struct in the configuration */
    char *message;
    size_t size;
};

struct key {
    const char *name;
    bool needed;
    bool (*take)(struct reader *reader, const char *value);
};

struct kind { /* of groups */
    const char *word;
    bool named; /* by what stands behind the word; one word may be there both ways */
    bool (*begin)(struct reader *reader, const char *name);
    const struct key *keys; /* up to one without a name */
};

/* An escape in a value may stand for a byte that ends a line, or draws. */
static void make_one_line(char *message)
{
    for (; *message; message++)
        if (g_ascii_iscntrl(*message))
            *message = '?';
}

/* One line about what is read now. Always false. */
static bool fail(struct reader *r, const char *format, ...) __attribute__((format(printf, 2, 3)));
static bool fail(struct reader *r, const char *format, ...)
{
    g_autofree char *what = NULL;
    va_list args;

    va_start(args, format);
    what = g_strdup_vprintf(format, args);
    va_end(args);
    snprintf(r->message, r->size, "%s:%u: [%s] %s%s%s", r->path,
             lines_find(r->lines, r->group, r->key), r->group, r->key ? r->key : "",
             r->key ? "=" : "", what);
    make_one_line(r->message);
    return false;
}

/* ---- values ---- */

static bool take_number(struct reader *r, const char *value, unsigned least, unsigned most,
                        unsigned *number)
{
    char *end = NULL;
    unsigned long n = g_ascii_isdigit(value[0]) ? strtoul(value, &end, 10) : 0;

    if (!end || *end || n < least || n > most)
        return fail(r, "%s: a number from %u to %u", value, least, most);
    *number = (unsigned)n;
    return true;
}

static bool take_size(struct reader *r, const char *value, uint64_t *bytes)
{
    return config_size(value, bytes) || fail(r, "%s: " CONFIG_SIZE, value);
}

/* A ; between two. NULL, after fail(): there is none. */
static char **take_list(struct reader *r, const char *of_what)
{
    gsize count = 0;
    char **list = g_key_file_get_string_list(r->file, r->group, r->key, &count, NULL);

    for (gsize i = 0; i < count; i++)
        g_strstrip(list[i]);
    if (count > 0 && *list[count - 1])
        return list;
    g_strfreev(list);
    fail(r, "a list of %s, with ; between two", of_what);
    return NULL;
}

/* A file or folder: absolute, since a daemon's own folder is nobody's. */
static bool take_path(struct reader *r, const char *value, char **path)
{
    if (!g_path_is_absolute(value))
        return fail(r, "%s: a path that begins with /", value);
    *path = g_strdup(value);
    return true;
}

/* ---- [target] ---- */

static bool target_name(struct reader *r, const char *value)
{
    struct target_settings *target = r->into;

    if (!config_is_name(value))
        return fail(r, "%s: " CONFIG_NAME, value);
    for (unsigned i = 0; i < r->config->targets->len; i++)
        if (g_strcmp0(((struct target_settings *)r->config->targets->pdata[i])->name, value) == 0)
            return fail(r, "%s: another target has this name", value);
    target->name = g_strdup(value);
    return true;
}

static bool target_key(struct reader *r, const char *value)
{
    return take_path(r, value, &r->config->key_file);
}

static bool target_listen(struct reader *r, const char *value)
{
    r->config->listen = take_list(r, "addresses");
    if (!r->config->listen)
        return false;
    if (g_strv_length(r->config->listen) > PORTALS_MAX)
        return fail(r, "more than %d addresses", PORTALS_MAX);
    for (char **address = r->config->listen; *address; address++)
        if (!config_is_address(*address))
            return fail(r, "%s: " CONFIG_ADDRESS, *address);
    return true;
}

static bool target_suites(struct reader *r, const char *value)
{
    g_auto(GStrv) list = take_list(r, "cipher suites");

    if (!list)
        return false;
    r->config->suites = 0;
    for (char **suite = list; *suite; suite++)
        if (!config_suite(*suite, &r->config->suites))
            return fail(r, "%s: " CONFIG_SUITE, *suite);
    return true;
}

static bool target_state_dir(struct reader *r, const char *value)
{
    return take_path(r, value, &r->config->state_folder);
}

/* A port alone is one of this machine's own. */
static bool target_metrics(struct reader *r, const char *value)
{
    r->config->metrics =
        strchr(value, ':') ? g_strdup(value) : g_strconcat("127.0.0.1:", value, NULL);
    return config_is_address(r->config->metrics) ||
           fail(r, "%s: a port, which is then 127.0.0.1's, or " CONFIG_ADDRESS, value);
}

static bool target_lease_timeout(struct reader *r, const char *value)
{
    return take_number(r, value, 0, LEASE_TIMEOUT_MAX_S, &r->config->lease_timeout_s);
}

static bool target_sessions(struct reader *r, const char *value)
{
    return take_number(r, value, 1, SESSIONS_MAX, &r->config->sessions_max);
}

static bool target_memory(struct reader *r, const char *value)
{
    if (!take_size(r, value, &r->config->memory_bytes))
        return false;
    return r->config->memory_bytes >= MEMORY_BYTES_MIN || fail(r, "%s: at least 16M", value);
}

static bool target_user(struct reader *r, const char *value)
{
    r->config->user = g_strdup(value);
    return *value || fail(r, "the name of a user, as encsan-target");
}

static bool target_log(struct reader *r, const char *value)
{
    r->config->syslog = strcmp(value, "syslog") == 0;
    return r->config->syslog || strcmp(value, "stderr") == 0 ||
           fail(r, "%s: stderr or syslog", value);
}

static bool target_window(struct reader *r, const char *value)
{
    return take_number(r, value, 1, WINDOW_MAX, &r->config->window);
}

static bool target_begin(struct reader *r, const char *label)
{
    if (!label && r->config->targets->len > 0)
        return fail(r, "has to come before the other targets");
    if (label && r->config->targets->len == 0)
        return fail(r, "comes after [target], which says what holds for all of them");
    if (r->config->targets->len == TARGETS_MAX)
        return fail(r, "more than %d targets", TARGETS_MAX);
    if (label && strchr(label, '/'))
        return fail(r, "a label without /");
    r->into = config_add_target(r->config, label);
    return true;
}

static const struct key target_keys[] = {
    {"listen", true, target_listen},
    {"name", true, target_name},
    {"key", true, target_key},
    {"suites", false, target_suites},
    {"user", false, target_user},
    {"log", false, target_log},
    {"state-dir", false, target_state_dir},
    {"metrics", false, target_metrics},
    {"lease-timeout", false, target_lease_timeout},
    {"sessions", false, target_sessions},
    {"window", false, target_window},
    {"memory", false, target_memory},
    {0},
};

/* ---- [target LABEL], one more ---- */

static const struct key other_target_keys[] = {
    {"name", true, target_name},
    {0},
};

/* ---- [initiator NAME] ---- */

static bool initiator_begin(struct reader *r, const char *name)
{
    r->into = config_add_initiator(r->config, name);
    return true;
}

static bool initiator_key(struct reader *r, const char *value)
{
    struct initiator *initiator = r->into;

    return key_from_text(value, initiator->key) == 0 || fail(r, "%s: " CONFIG_KEY, value);
}

static const struct key initiator_keys[] = {
    {"key", true, initiator_key},
    {0},
};

/* ---- [user NAME] ---- */

static bool user_begin(struct reader *r, const char *name)
{
    r->into = config_add_user(r->config, name);
    return true;
}

/* The value itself stays out of messages. */
static bool take_password(struct reader *r, const char *value, char **password)
{
    size_t len = strlen(value);
    const struct user *user = r->into;

    *password = g_strdup(value);
    if (len < PASSWORD_BYTES_MIN || len > PASSWORD_BYTES_MAX)
        return fail(r, "of %zu bytes: %d to %d are needed", len, PASSWORD_BYTES_MIN,
                    PASSWORD_BYTES_MAX);
    return g_strcmp0(user->password, user->target_password) != 0 ||
           fail(r, "the same as the other one: who knows one would know both");
}

static bool user_password(struct reader *r, const char *value)
{
    struct user *user = r->into;

    return take_password(r, value, &user->password);
}

static bool user_target_password(struct reader *r, const char *value)
{
    struct user *user = r->into;

    return take_password(r, value, &user->target_password);
}

static const struct key user_keys[] = {
    {"password", true, user_password},
    {"target-password", false, user_target_password},
    {0},
};

/* ---- [lun NUMBER] ---- */

static bool lun_begin(struct reader *r, const char *name)
{
    const char *slash = strrchr(name, '/');
    g_autofree char *target = slash ? g_strndup(name, (gsize)(slash - name)) : NULL;
    struct lun_settings *lun;
    unsigned number = 0;

    if (!take_number(r, slash ? slash + 1 : name, 1, LUNS_MAX, &number))
        return false;
    if (config_lun(r->config, target, number))
        return fail(r, "LUN %s%s%u is there already", target ? target : "", target ? "/" : "",
                    number);
    lun = config_add_lun(r->config, target, number);
    lun->line = lines_find(r->lines, r->group, NULL);
    r->into = lun;
    return true;
}

static bool lun_path(struct reader *r, const char *value)
{
    struct lun_settings *lun = r->into;

    if (!backend_is_upstream(value))
        return take_path(r, value, &lun->path);
    lun->path = g_strdup(value);
    return config_is_url(value) || fail(r, "%s: " CONFIG_URL, value);
}

static bool lun_password_file(struct reader *r, const char *value)
{
    struct lun_settings *lun = r->into;

    return take_path(r, value, &lun->password_file);
}

static bool lun_size(struct reader *r, const char *value)
{
    struct lun_settings *lun = r->into;

    return take_size(r, value, &lun->bytes);
}

static bool lun_access(struct reader *r, const char *value)
{
    struct lun_settings *lun = r->into;

    lun->read_only = strcmp(value, "read-only") == 0;
    lun->plain = lun->read_only || strcmp(value, "plain") == 0;
    return lun->plain || strcmp(value, "sealed") == 0 ||
           fail(r, "%s: sealed, plain, or read-only", value);
}

static bool lun_initiators(struct reader *r, const char *value)
{
    struct lun_settings *lun = r->into;

    lun->initiators = take_list(r, "names of initiators");
    return lun->initiators != NULL;
}

static bool lun_users(struct reader *r, const char *value)
{
    struct lun_settings *lun = r->into;

    lun->users = take_list(r, "names of users");
    return lun->users != NULL;
}

static const struct key lun_keys[] = {
    {"path", true, lun_path},      {"size", false, lun_size},
    {"access", false, lun_access}, {"initiators", false, lun_initiators},
    {"users", false, lun_users},   {"password-file", false, lun_password_file},
    {0},
};

static const struct kind kinds[] = {
    {"target", false, target_begin, target_keys},
    {"target", true, target_begin, other_target_keys},
    {"initiator", true, initiator_begin, initiator_keys},
    {"user", true, user_begin, user_keys},
    {"lun", true, lun_begin, lun_keys},
};

/* ---- groups ---- */

static const struct kind *find_kind(const char *group)
{
    size_t len = strcspn(group, " ");

    for (size_t i = 0; i < G_N_ELEMENTS(kinds); i++)
        if (strlen(kinds[i].word) == len && memcmp(kinds[i].word, group, len) == 0 &&
            (kinds[i].named ? group[len] && group[len + 1] : !group[len]))
            return &kinds[i];
    return NULL;
}

static const struct key *find_key(const struct kind *kind, const char *name)
{
    for (const struct key *key = kind->keys; key->name; key++)
        if (strcmp(key->name, name) == 0)
            return key;
    return NULL;
}

static bool unknown_key(struct reader *r, const struct kind *kind)
{
    g_autoptr(GString) known = g_string_new(NULL);

    for (const struct key *key = kind->keys; key->name; key++)
        g_string_append_printf(known, "%s%s", known->len ? ", " : "", key->name);
    return fail(r, " is unknown here; there are %s", known->str);
}

static bool read_value(struct reader *r, const struct kind *kind)
{
    const struct key *key = find_key(kind, r->key);
    g_autoptr(GError) error = NULL;
    g_autofree char *value = NULL;

    if (!key)
        return unknown_key(r, kind);
    value = g_key_file_get_string(r->file, r->group, r->key, &error);
    if (!value)
        return fail(r, " %s", error->message);
    return key->take(r, g_strchomp(value));
}

static bool read_group(struct reader *r)
{
    const struct kind *kind = find_kind(r->group);
    g_auto(GStrv) keys = g_key_file_get_keys(r->file, r->group, NULL, NULL);

    r->key = NULL;
    if (!kind)
        return fail(r, "is no group; there are [target], [target LABEL], [initiator NAME], "
                       "[user NAME], [lun NUMBER] and [lun LABEL/NUMBER]");
    if (!kind->begin(r, kind->named ? r->group + strlen(kind->word) + 1 : NULL))
        return false;
    for (char **key = keys; *key; key++) {
        r->key = *key;
        if (!read_value(r, kind))
            return false;
    }
    r->key = NULL;
    for (const struct key *key = kind->keys; key->name; key++)
        if (key->needed && !lines_find(r->lines, r->group, key->name))
            return fail(r, "%s= is missing", key->name);
    return true;
}

static bool check_whole(struct reader *r)
{
    struct config_fault fault;
    g_autofree char *label = NULL, *group = NULL;

    if (r->config->targets->len == 0 || r->config->luns->len == 0) {
        snprintf(r->message, r->size, "%s: a group %s is needed", r->path,
                 r->config->targets->len > 0 ? "[lun 1]" : "[target]");
        return false;
    }
    if (config_check(r->config, &fault)) {
        config_sort(r->config);
        return true;
    }
    label = config_lun_label(fault.lun);
    r->group = group = g_strdup_printf("lun %s", label);
    r->key = lines_find(r->lines, group, fault.key) ? fault.key : NULL;
    return fail(r, "%s", fault.what);
}

static bool read_all(struct reader *r)
{
    g_auto(GStrv) groups = g_key_file_get_groups(r->file, NULL);

    for (char **group = groups; *group; group++) {
        r->group = *group;
        if (!read_group(r))
            return false;
    }
    return check_whole(r);
}

static char *load(const char *path, char *message, size_t size)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *text = NULL;
    gsize bytes;

    if (!g_file_get_contents(path, &text, &bytes, &error)) {
        snprintf(message, size, "%s", error->message);
        return NULL;
    }
    if (bytes > FILE_BYTES_MAX || strlen(text) != bytes || !g_utf8_validate(text, -1, NULL)) {
        snprintf(message, size, "%s: no configuration: not UTF-8 text, or more than 1 MiB", path);
        return NULL;
    }
    return g_steal_pointer(&text);
}

bool config_read(struct config *config, const char *path, char *message, size_t size)
{
    g_autoptr(GKeyFile) file = g_key_file_new();
    g_autoptr(GError) error = NULL;
    g_autofree char *text = load(path, message, size);
    struct reader r = {
        .path = path, .file = file, .config = config, .message = message, .size = size};
    bool ok;

    if (!text)
        return false;
    config->file = g_strdup(path);
    r.lines = lines_new(path, text, message, size);
    if (!r.lines)
        return false;
    ok = g_key_file_load_from_data(file, text, strlen(text), G_KEY_FILE_NONE, &error);
    if (ok)
        ok = read_all(&r);
    else
        snprintf(message, size, "%s: %s", path, error->message);
    lines_free(r.lines);
    return ok;
}
