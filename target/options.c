// SPDX-License-Identifier: LGPL-2.1-or-later
/* Reading the command line: options.h. */
#include "options.h"

#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <glib.h>

#include "backend.h"

#define NOT_GIVEN INT_MIN
#define CONFIG_FILE "/etc/encsan-target.conf"

static bool fail(char *message, size_t size, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
static bool fail(char *message, size_t size, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(message, size, format, args);
    va_end(args);
    return false;
}

static unsigned count(char **list)
{
    return list ? g_strv_length(list) : 0;
}

/* As --help, which GLib does: prints and ends. */
static gboolean print_version(const gchar *name, const gchar *value, gpointer data, GError **error)
{
    exit(puts("encsan-target " ENCSAN_VERSION) < 0 || fflush(stdout) != 0);
}

/* PATH[,size=N][,access=plain][,password-file=FILE]; `text` is taken apart. */
static bool parse_lun(char *text, struct lun_settings *lun, char *message, size_t size)
{
    char *comma;

    while ((comma = strrchr(text, ',')) && strchr(comma, '=')) {
        if (g_str_has_prefix(comma, ",size=")) {
            if (!config_size(comma + strlen(",size="), &lun->bytes))
                return fail(message, size, "--lun %s: size= is " CONFIG_SIZE, text);
        } else if (g_str_has_prefix(comma, ",password-file=")) {
            g_free(lun->password_file);
            lun->password_file = g_strdup(comma + strlen(",password-file="));
        } else if (strcmp(comma, ",access=plain") == 0) {
            lun->plain = true;
        } else {
            return fail(message, size,
                        "--lun %s: after the path only size=N, access=plain and, for a URL, "
                        "password-file=FILE",
                        text);
        }
        *comma = 0;
    }
    lun->path = g_strdup(text);
    if (backend_is_upstream(text) && !config_is_url(text))
        return fail(message, size, "--lun %s: " CONFIG_URL, text);
    return *text || fail(message, size, "--lun: the path is missing");
}

static bool parse_luns(struct config *config, char **luns, char *message, size_t size)
{
    if (count(luns) == 0 || count(luns) > LUNS_MAX)
        return fail(message, size, "--lun is needed: 1 to %d times", LUNS_MAX);
    for (unsigned i = 0; i < count(luns); i++)
        if (!parse_lun(luns[i], config_add_lun(config, NULL, i + 1), message, size))
            return false;
    return true;
}

static bool parse_allowed(struct config *config, char **keys, char *message, size_t size)
{
    bool sealed = false;

    for (unsigned i = 0; i < config->luns->len; i++)
        sealed |= !((struct lun_settings *)config->luns->pdata[i])->plain;
    if (sealed && count(keys) == 0)
        return fail(message, size,
                    "--allow is needed: the public key of an initiator that may use the LUNs");
    for (unsigned i = 0; i < count(keys); i++)
        if (key_from_text(keys[i], config_add_initiator(config, keys[i])->key) != 0)
            return fail(message, size, "--allow %s: is no key: " CONFIG_KEY " is needed", keys[i]);
    return true;
}

static bool parse_suites(struct config *config, char **suites, char *message, size_t size)
{
    for (unsigned i = 0; i < count(suites); i++)
        if (!config_suite(suites[i], &config->suites))
            return fail(message, size, "--suite %s: unknown; there are " CONFIG_SUITE, suites[i]);
    return true;
}

static bool check_name(const char *name, char *message, size_t size)
{
    return (name && config_is_name(name)) ||
           fail(message, size, "--name %s: is no name: " CONFIG_NAME, name ? name : "is needed");
}

static bool check_whole(const struct config *config, char *message, size_t size)
{
    struct config_fault fault;

    return config_check(config, &fault) ||
           fail(message, size, "--lun %s: %s: %s", fault.lun->path, fault.key, fault.what);
}

static bool check_address(const char *address, char *message, size_t size)
{
    return (address && config_is_address(address)) ||
           fail(message, size, "--listen %s: " CONFIG_ADDRESS, address ? address : "is needed");
}

/* What the command line says of the target itself, as it stands there. */
struct words {
    char *listen, *name, *key_file, *user, *state_folder;
    char **allow, **luns, **suites;
    int lease_timeout; /* NOT_GIVEN, too */
};

static void words_free(struct words *w)
{
    g_free(w->listen);
    g_free(w->name);
    g_free(w->key_file);
    g_free(w->user);
    g_free(w->state_folder);
    g_strfreev(w->allow);
    g_strfreev(w->luns);
    g_strfreev(w->suites);
}

static bool any_word(const struct words *w)
{
    return w->listen || w->name || w->key_file || w->user || w->state_folder || w->allow ||
           w->luns || w->suites || w->lease_timeout != NOT_GIVEN;
}

static bool take_words(struct config *config, struct words *w, char *message, size_t size)
{
    if (w->lease_timeout != NOT_GIVEN &&
        (w->lease_timeout < 0 || w->lease_timeout > LEASE_TIMEOUT_MAX_S))
        return fail(message, size, "--lease-timeout: 0 to %d seconds", LEASE_TIMEOUT_MAX_S);
    if (w->lease_timeout != NOT_GIVEN)
        config->lease_timeout_s = (unsigned)w->lease_timeout;
    if (!w->key_file)
        return fail(message, size,
                    "--key is needed: the target's private key (encsan keygen FILE)");
    if (!check_address(w->listen, message, size) || !check_name(w->name, message, size))
        return false;
    config->listen = g_new0(char *, 2);
    config->listen[0] = g_steal_pointer(&w->listen);
    config_add_target(config, NULL)->name = g_steal_pointer(&w->name);
    config->key_file = g_steal_pointer(&w->key_file);
    config->user = g_steal_pointer(&w->user);
    config->state_folder = g_steal_pointer(&w->state_folder);
    return parse_luns(config, w->luns, message, size) &&
           parse_allowed(config, w->allow, message, size) &&
           parse_suites(config, w->suites, message, size) && check_whole(config, message, size);
}

/* Whom to ask stands in a file, that of the service where none is named; or it is the folder. */
static bool take_status(struct options *o, struct words *w, char *message, size_t size)
{
    o->config->state_folder = g_steal_pointer(&w->state_folder);
    if (any_word(w) || o->check || (o->config_file && o->config->state_folder))
        return fail(message, size, "--status goes with --config FILE or --state-dir FOLDER alone");
    if (!o->config_file && !o->config->state_folder)
        o->config_file = g_strdup(CONFIG_FILE);
    return true;
}

/* Either the file or the words say what the target is. */
static bool take(struct options *o, struct words *w, char *message, size_t size)
{
    if (o->check && !o->config_file)
        return fail(message, size, "--check needs --config FILE");
    if (o->status)
        return take_status(o, w, message, size);
    if (!o->config_file)
        return take_words(o->config, w, message, size);
    return !any_word(w) || fail(message, size,
                                "--config %s: what the target is stands in the file, and no option "
                                "beside it says so, too",
                                o->config_file);
}

bool options_parse(struct options *o, int *argc, char ***argv, char *message, size_t size)
{
    struct words w = {.lease_timeout = NOT_GIVEN};
    gboolean exit_with_stdin = FALSE, check = FALSE, status = FALSE;
    const GOptionEntry entries[] = {
        {"config", 0, 0, G_OPTION_ARG_FILENAME, &o->config_file,
         "all that follows, in a file: encsan-target.conf(5)", "FILE"},
        {"check", 0, 0, G_OPTION_ARG_NONE, &check, "only say if that file is right", NULL},
        {"status", 0, 0, G_OPTION_ARG_NONE, &status,
         "ask the one that runs with this --config (or --state-dir) how it is doing", NULL},
        {"listen", 0, 0, G_OPTION_ARG_STRING, &w.listen, "where to listen", "ADDR:PORT"},
        {"name", 0, 0, G_OPTION_ARG_STRING, &w.name, "the target's iSCSI name", "IQN"},
        {"key", 0, 0, G_OPTION_ARG_FILENAME, &w.key_file, "its private key", "FILE"},
        {"allow", 0, 0, G_OPTION_ARG_STRING_ARRAY, &w.allow,
         "an initiator that may come; several times", "PUBKEY"},
        {"lun", 0, 0, G_OPTION_ARG_FILENAME_ARRAY, &w.luns, "a disk; several times",
         "PATH|URL[,size=N][,access=plain]"},
        {"suite", 0, 0, G_OPTION_ARG_STRING_ARRAY, &w.suites, "allow 3des or null, too", "NAME"},
        {"user", 0, 0, G_OPTION_ARG_STRING, &w.user, "whom it runs as once it is bound", "NAME"},
        {"state-dir", 0, 0, G_OPTION_ARG_FILENAME, &w.state_folder,
         "where it keeps who may write to which disk", "FOLDER"},
        {"lease-timeout", 0, 0, G_OPTION_ARG_INT, &w.lease_timeout,
         "for how long a disk is kept for a mount that is cut off", "SECONDS"},
        {"exit-with-stdin", 0, 0, G_OPTION_ARG_NONE, &exit_with_stdin,
         "end when standard input ends", NULL},
        {"version", 0, G_OPTION_FLAG_NO_ARG, G_OPTION_ARG_CALLBACK, print_version,
         "print the version", NULL},
        {0},
    };
    g_autoptr(GOptionContext) context = g_option_context_new(NULL);
    g_autoptr(GError) error = NULL;
    bool ok;

    o->config = config_new();
    g_option_context_set_summary(context, "Serves disks to encsanfs over iSCSI, sealed.");
    g_option_context_add_main_entries(context, entries, NULL);
    ok = g_option_context_parse(context, argc, argv, &error);
    o->exit_with_stdin = exit_with_stdin;
    o->check = check;
    o->status = status;
    if (!ok)
        fail(message, size, "%s", error->message);
    else if (*argc > 1)
        ok = fail(message, size, "%s: not an option", (*argv)[1]);
    else
        ok = take(o, &w, message, size);
    words_free(&w);
    return ok;
}

void options_free(struct options *o)
{
    config_unref(o->config);
    g_free(o->config_file);
}
