// SPDX-License-Identifier: LGPL-2.1-or-later
/* Reading the command line: options.h. */
#include "options.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <glib.h>

#include "suite.h"

#define LEASE_TIMEOUT_S 30
#define LEASE_TIMEOUT_MAX_S 86400

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

/* A number and a suffix, none for bytes. */
static bool parse_size(const char *text, uint64_t *bytes)
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

/* As --help, which GLib does: prints and ends. */
static gboolean print_version(const gchar *name, const gchar *value, gpointer data, GError **error)
{
    exit(puts("encsan-target " ENCSAN_VERSION) < 0 || fflush(stdout) != 0);
}

/* PATH[,size=N][,access=plain]; `text` is taken apart. */
static bool parse_lun(char *text, struct lun_settings *lun, char *message, size_t size)
{
    char *comma;

    lun->path = text;
    while ((comma = strrchr(text, ',')) && strchr(comma, '=')) {
        if (g_str_has_prefix(comma, ",size=")) {
            if (!parse_size(comma + strlen(",size="), &lun->bytes))
                return fail(
                    message, size,
                    "--lun %s: size= is a number with K, M, G or T behind it, a multiple of 4K",
                    text);
        } else if (strcmp(comma, ",access=plain") == 0) {
            lun->plain = true;
        } else {
            return fail(message, size, "--lun %s: after the path only size=N and access=plain",
                        text);
        }
        *comma = 0;
    }
    return *text || fail(message, size, "--lun: the path is missing");
}

static bool parse_luns(struct options *o, char **luns, char *message, size_t size)
{
    o->lun_count = count(luns);
    if (o->lun_count == 0 || o->lun_count > LUNS_MAX)
        return fail(message, size, "--lun is needed: 1 to %d times", LUNS_MAX);
    o->luns = g_new0(struct lun_settings, o->lun_count);
    for (unsigned i = 0; i < o->lun_count; i++) {
        char *text = g_strdup(luns[i]);

        o->luns[i].path = text;
        if (!parse_lun(text, &o->luns[i], message, size))
            return false;
    }
    return true;
}

static bool parse_allowed(struct options *o, char **keys, char *message, size_t size)
{
    bool sealed = false;

    for (unsigned i = 0; i < o->lun_count; i++)
        sealed |= !o->luns[i].plain;
    o->allowed_count = count(keys);
    if (sealed && o->allowed_count == 0)
        return fail(message, size,
                    "--allow is needed: the public key of an initiator that may use the LUNs");
    o->allowed = g_malloc0_n(o->allowed_count + 1, KEY_BYTES);
    for (unsigned i = 0; i < o->allowed_count; i++)
        if (key_from_text(keys[i], o->allowed[i]) != 0)
            return fail(
                message, size,
                "--allow %s: no public key, which has 44 characters and comes from encsan keygen",
                keys[i]);
    return true;
}

static bool parse_suites(struct options *o, char **suites, char *message, size_t size)
{
    o->suites =
        WIRE_SUITE_BIT(WIRE_SUITE_AES_256_GCM) | WIRE_SUITE_BIT(WIRE_SUITE_CHACHA20_POLY1305);
    for (unsigned i = 0; i < count(suites); i++) {
        enum wire_suite suite = suite_by_name(suites[i]);

        if (!suite)
            return fail(message, size,
                        "--suite %s: unknown; there are aes-256-gcm, chacha20-poly1305, 3des, null",
                        suites[i]);
        o->suites |= WIRE_SUITE_BIT(suite);
    }
    return true;
}

/* RFC 7143, 4.2.7: what is in a name that needs no normalisation */
static bool check_name(const char *name, char *message, size_t size)
{
    bool ok = name && strlen(name) < NAME_BYTES &&
              (g_str_has_prefix(name, "iqn.") || g_str_has_prefix(name, "eui.") ||
               g_str_has_prefix(name, "naa."));

    for (const char *p = name; ok && *p; p++)
        ok = g_ascii_isdigit(*p) || g_ascii_islower(*p) || strchr("-.:", *p) ||
             !g_str_has_prefix(name, "iqn.");
    return ok || fail(message, size, "--name %s: no iSCSI name, as iqn.2026-11.org.example:disk",
                      name ? name : "is needed");
}

static bool check_address(const char *address, char *message, size_t size)
{
    const char *colon = address ? strrchr(address, ':') : NULL;
    char *end = NULL;
    bool ok = colon && colon > address && g_ascii_isdigit(colon[1]) &&
              strtoul(colon + 1, &end, 10) <= 65535 && *end == 0;

    /* a bare IPv6 address would leave it open where the port begins */
    if (ok && address[0] != '[')
        ok = memchr(address, ':', (size_t)(colon - address)) == NULL;
    return ok ||
           fail(message, size, "--listen %s: an address and a port, as 0.0.0.0:3260 or [::]:3260",
                address ? address : "is needed");
}

bool options_parse(struct options *o, int *argc, char ***argv, char *message, size_t size)
{
    g_auto(GStrv) allow = NULL, luns = NULL, suites = NULL;
    gboolean exit_with_stdin = FALSE;
    gint lease_timeout = LEASE_TIMEOUT_S;
    const GOptionEntry entries[] = {
        {"listen", 0, 0, G_OPTION_ARG_STRING, &o->listen, "where to listen", "ADDR:PORT"},
        {"name", 0, 0, G_OPTION_ARG_STRING, &o->name, "the target's iSCSI name", "IQN"},
        {"key", 0, 0, G_OPTION_ARG_FILENAME, &o->key_file, "its private key", "FILE"},
        {"allow", 0, 0, G_OPTION_ARG_STRING_ARRAY, &allow,
         "an initiator that may come; several times", "PUBKEY"},
        {"lun", 0, 0, G_OPTION_ARG_FILENAME_ARRAY, &luns, "a disk; several times",
         "PATH[,size=N][,access=plain]"},
        {"suite", 0, 0, G_OPTION_ARG_STRING_ARRAY, &suites, "allow 3des or null, too", "NAME"},
        {"state-dir", 0, 0, G_OPTION_ARG_FILENAME, &o->state_folder,
         "where it keeps who may write to which disk", "FOLDER"},
        {"lease-timeout", 0, 0, G_OPTION_ARG_INT, &lease_timeout,
         "for how long a disk is kept for a mount that is cut off", "SECONDS"},
        {"exit-with-stdin", 0, 0, G_OPTION_ARG_NONE, &exit_with_stdin,
         "end when standard input ends", NULL},
        {"version", 0, G_OPTION_FLAG_NO_ARG, G_OPTION_ARG_CALLBACK, print_version,
         "print the version", NULL},
        {0},
    };
    g_autoptr(GOptionContext) context = g_option_context_new(NULL);
    g_autoptr(GError) error = NULL;

    g_option_context_set_summary(context, "Serves disks to encsanfs over iSCSI, sealed.");
    g_option_context_add_main_entries(context, entries, NULL);
    if (!g_option_context_parse(context, argc, argv, &error))
        return fail(message, size, "%s", error->message);
    o->exit_with_stdin = exit_with_stdin;
    if (lease_timeout < 0 || lease_timeout > LEASE_TIMEOUT_MAX_S)
        return fail(message, size, "--lease-timeout: 0 to %d seconds", LEASE_TIMEOUT_MAX_S);
    o->lease_timeout_s = (unsigned)lease_timeout;
    if (*argc > 1)
        return fail(message, size, "%s: not an option", (*argv)[1]);
    if (!o->key_file)
        return fail(message, size,
                    "--key is needed: the target's private key (encsan keygen FILE)");
    return check_address(o->listen, message, size) && check_name(o->name, message, size) &&
           parse_luns(o, luns, message, size) && parse_allowed(o, allow, message, size) &&
           parse_suites(o, suites, message, size);
}

void options_free(struct options *o)
{
    for (unsigned i = 0; o->luns && i < o->lun_count; i++)
        g_free((char *)o->luns[i].path);
    g_free(o->luns);
    g_free(o->allowed);
    g_free(o->listen);
    g_free(o->name);
    g_free(o->key_file);
    g_free(o->state_folder);
}
