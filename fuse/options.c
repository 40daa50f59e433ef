// SPDX-License-Identifier: LGPL-2.1-or-later
/* The command line: options.h. */
#include "options.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/stat.h>
#include <glib.h>

#include "config.h"
#include "key.h"
#include "log.h"
#include "mountpoint.h"
#include "suite.h"
#include "wire.h"

#define EXIT_USAGE 2
#define TIMEOUT_MAX_S (7 * 24 * 3600)

static const char usage[] =
    "usage: encsanfs [URL | IMAGE] MOUNTPOINT [-f] [-o option,...]\n"
    "\n"
    "Mounts the file system on a disk far away, encrypted on the way there.\n"
    "\n"
    "URL         iscsi://HOST[:PORT][,HOST[:PORT]...]/IQN/LUN, served by encsan-target\n"
    "IMAGE       a disk image or block device here; an encsan-target of its own serves it\n"
    "            with neither: what mounts.conf says about MOUNTPOINT, else your default image\n"
    "-f          stay in the foreground, log to standard error\n"
    "-o key=FILE          your private key          (default: key in the configuration folder)\n"
    "-o target_key=KEY    the target's public key   (default: known_targets there)\n"
    "-o view=files|disk   the files (default), or the disk as one file, MOUNTPOINT/disk\n"
    "-o ro                read only\n"
    "-o steal             take the disk over from the mount that has it\n"
    "-o timeout=SECONDS   a lost connection is waited for so long   (default: for ever)\n"
    "-o prefetch=auto|N   segments sealed ahead or in flight\n"
    "-o readahead=auto|N  segments read ahead of a sequential reader (0: none)\n"
    "-o sessions=auto|N   iSCSI sessions side by side\n"
    "-o segment=SIZE      bytes in a segment, 4K to 252K\n"
    "-o workers=N         threads that seal and open\n"
    "-o suite=NAME        aes-256-gcm, chacha20-poly1305, 3des, null\n"
    "-o cache=SIZE        data staged or not yet confirmed by the target, and metadata\n"
    "-o commit=SECONDS    changes become durable this often by themselves (default: 5)\n"
    "-o dirsync, -o sync  names, or all changes, are on the far disk when a call returns\n"
    "-o discard=async|off blocks that became free are given back to the far disk (default), or not\n"
    "-o idmap=none|user   user: the owner of the root directory there is you here\n"
    "and FUSE's own options: allow_other, allow_root, nosuid, nodev, noexec, noatime, ...\n"
    "\n"
    "encsan umount MOUNTPOINT unmounts. More in encsanfs(1).\n";

/* One parse of a command line. */
struct parse {
    struct options *options;
    char *positional[2];
    unsigned positionals;
    int status; /* OPTIONS_GO, or how to exit */
};

G_GNUC_PRINTF(2, 3) static int refuse(struct parse *parse, const char *format, ...)
{
    g_autofree char *text = NULL;
    va_list args;

    va_start(args, format);
    text = g_strdup_vprintf(format, args);
    va_end(args);
    log_line(LOG_ERR, "%s (see encsanfs --help)", text);
    parse->status = EXIT_USAGE;
    return -1;
}

/* ---- our options ---- */

static int set_key(struct parse *parse, const char *value)
{
    g_free(parse->options->key_file);
    parse->options->key_file = g_canonicalize_filename(value, NULL);
    return 0;
}

static int set_target_key(struct parse *parse, const char *value)
{
    parse->options->has_target_key = true;
    if (key_from_text(value, parse->options->target_key))
        return refuse(parse, "target_key=%s is not a key: 44 characters of base64", value);
    return 0;
}

/* One of two words; `chosen`: it is the second. */
static int set_choice(struct parse *parse, const char *name, const char *value, const char *first,
                      const char *second, bool *chosen)
{
    *chosen = !strcmp(value, second);
    if (!*chosen && strcmp(value, first))
        return refuse(parse, "%s=%s is neither %s nor %s", name, value, first, second);
    return 0;
}

static int set_view(struct parse *parse, const char *value)
{
    return set_choice(parse, "view", value, "files", "disk", &parse->options->disk_view);
}

static int set_suite(struct parse *parse, const char *value)
{
    g_free(parse->options->suite);
    parse->options->suite = g_strdup(value);
    if (!suite_by_name(value))
        return refuse(parse,
                      "suite=%s is unknown: it is aes-256-gcm, chacha20-poly1305, 3des or null",
                      value);
    return 0;
}

static int set_number(struct parse *parse, const char *name, const char *value, unsigned max,
                      unsigned *number)
{
    guint64 parsed;

    if (!g_ascii_string_to_unsigned(value, 10, 1, max, &parsed, NULL))
        return refuse(parse, "%s=%s is not a number from 1 to %u", name, value, max);
    *number = (unsigned)parsed;
    return 0;
}

static int set_prefetch(struct parse *parse, const char *value)
{
    if (!strcmp(value, "auto"))
        return 0;
    /* more in flight would fall out of the target's replay window */
    return set_number(parse, "prefetch", value, WIRE_REPLAY_WINDOW, &parse->options->depth);
}

static int set_readahead(struct parse *parse, const char *value)
{
    unsigned *readahead = &parse->options->readahead;

    if (!strcmp(value, "auto"))
        return 0;
    if (!strcmp(value, "0")) {
        *readahead = ENCSAN_NO_READAHEAD;
        return 0;
    }
    return set_number(parse, "readahead", value, WIRE_REPLAY_WINDOW, readahead);
}

static int set_sessions(struct parse *parse, const char *value)
{
    if (!strcmp(value, "auto"))
        return 0;
    return set_number(parse, "sessions", value, ENCSAN_SESSIONS_MAX, &parse->options->sessions);
}

static int set_timeout(struct parse *parse, const char *value)
{
    return set_number(parse, "timeout", value, TIMEOUT_MAX_S, &parse->options->timeout_s);
}

static int set_workers(struct parse *parse, const char *value)
{
    return set_number(parse, "workers", value, 256, &parse->options->workers);
}

/* A number of bytes with K, M or G. */
static int set_size(struct parse *parse, const char *name, const char *value, uint64_t min,
                    uint64_t max, size_t *bytes)
{
    static const char units[] = "KMG";
    char *end;
    uint64_t size = g_ascii_strtoull(value, &end, 10);
    const char *unit = *end ? strchr(units, g_ascii_toupper(*end)) : NULL;
    unsigned shift = unit ? 10 * (unsigned)(unit - units + 1) : 0;

    if (!g_ascii_isdigit(*value) || (*end && (!unit || end[1])) || size > max >> shift ||
        size << shift < min)
        return refuse(parse,
                      "%s=%s is not a size from %" G_GUINT64_FORMAT "K to %" G_GUINT64_FORMAT "K",
                      name, value, min >> 10, max >> 10);
    *bytes = size << shift;
    return 0;
}

static int set_segment(struct parse *parse, const char *value)
{
    struct options *options = parse->options;

    if (set_size(parse, "segment", value, WIRE_BLOCK_BYTES, WIRE_DATA_BLOCKS_MAX * WIRE_BLOCK_BYTES,
                 &options->segment_bytes))
        return -1;
    if (options->segment_bytes % WIRE_BLOCK_BYTES)
        return refuse(parse, "segment=%s is not a multiple of 4K", value);
    return 0;
}

static int set_cache(struct parse *parse, const char *value)
{
    return set_size(parse, "cache", value, UINT64_C(16) << 20, UINT64_C(1) << 40,
                    &parse->options->cache_bytes);
}

static int set_commit(struct parse *parse, const char *value)
{
    return set_number(parse, "commit", value, 300, &parse->options->commit_s);
}

static int set_discard(struct parse *parse, const char *value)
{
    return set_choice(parse, "discard", value, "async", "off", &parse->options->no_discard);
}

static int set_idmap(struct parse *parse, const char *value)
{
    return set_choice(parse, "idmap", value, "none", "user", &parse->options->idmap_user);
}

static const struct {
    const char *name;
    int (*set)(struct parse *parse, const char *value);
} ours[] = {
    {"key", set_key},           {"target_key", set_target_key}, {"view", set_view},
    {"suite", set_suite},       {"prefetch", set_prefetch},     {"readahead", set_readahead},
    {"sessions", set_sessions}, {"workers", set_workers},       {"segment", set_segment},
    {"cache", set_cache},       {"commit", set_commit},         {"timeout", set_timeout},
    {"discard", set_discard},   {"idmap", set_idmap},
};

/* ---- FUSE's and mount(8)'s options ---- */

static const char *const for_fuse[] = {
    "allow_other",   "auto_unmount", "default_permissions",
    "suid",          "nosuid",       "dev",
    "nodev",         "exec",         "noexec",
    "noatime",       "nodiratime",   "norelatime",
    "nostrictatime", "symfollow",    "nosymfollow",
    "async",         "sync",         "dirsync",
    "debug",         NULL,
};
static const char *const for_fuse_with_value[] = {
    "fsname=", "subtype=", "context=", "fscontext=", "defcontext=", "rootcontext=", NULL,
};
/* What mount(8), fstab(5) and systemd.mount(5) read and hand on, and what is the default anyway. */
static const char *const for_others[] = {
    "defaults", "auto",    "noauto", "user",     "nouser",   "users",       "owner", "group",
    "nofail",   "_netdev", "atime",  "diratime", "relatime", "strictatime", NULL,
};
static const char *const for_others_with_value[] = {"x-", "X-", "user=", "comment=", NULL};

static bool has_prefix_of(const char *text, const char *const *prefixes)
{
    for (; *prefixes; prefixes++)
        if (g_str_has_prefix(text, *prefixes))
            return true;
    return false;
}

/* 1: libfuse shall have it; 0: done; -1: refused */
static int set_option(struct parse *parse, const char *text)
{
    struct options *options = parse->options;

    for (size_t i = 0; i < G_N_ELEMENTS(ours); i++) {
        size_t length = strlen(ours[i].name);

        if (!strncmp(text, ours[i].name, length) && text[length] == '=')
            return ours[i].set(parse, text + length + 1);
    }
    if (!strcmp(text, "ro") || !strcmp(text, "rw")) {
        options->read_only = text[1] == 'o';
        return 1;
    }
    if (!strcmp(text, "steal")) {
        options->steal = true;
        return 0;
    }
    if (!strcmp(text, "allow_root")) {
        options->allow_root = true;
        return 1;
    }
    if (!strcmp(text, "noatime"))
        options->no_atime = true;
    else if (!strcmp(text, "sync") || !strcmp(text, "async"))
        options->sync = text[0] == 's';
    else if (!strcmp(text, "dirsync"))
        options->dirsync = true;
    if (g_strv_contains(for_fuse, text) || has_prefix_of(text, for_fuse_with_value))
        return 1;
    if (!*text || g_strv_contains(for_others, text) || has_prefix_of(text, for_others_with_value))
        return 0;
    return refuse(parse, "unknown option '%s'", text);
}

/* ---- the command line ---- */

enum { SWITCH_FOREGROUND, SWITCH_HELP, SWITCH_VERSION };

static const struct fuse_opt switches[] = {
    FUSE_OPT_KEY("-f", SWITCH_FOREGROUND),     FUSE_OPT_KEY("-h", SWITCH_HELP),
    FUSE_OPT_KEY("--help", SWITCH_HELP),       FUSE_OPT_KEY("-V", SWITCH_VERSION),
    FUSE_OPT_KEY("--version", SWITCH_VERSION), FUSE_OPT_END,
};

static int parse_one(void *data, const char *text, int key, struct fuse_args *rest)
{
    struct parse *parse = data;

    switch (key) {
    case SWITCH_FOREGROUND:
        parse->options->foreground = true;
        return 0;
    case SWITCH_HELP:
        fputs(usage, stdout);
        parse->status = 0;
        return -1;
    case SWITCH_VERSION:
        puts("encsanfs " ENCSAN_VERSION);
        parse->status = 0;
        return -1;
    case FUSE_OPT_KEY_NONOPT:
        if (parse->positionals == G_N_ELEMENTS(parse->positional))
            return refuse(parse, "'%s' is one argument too many", text);
        parse->positional[parse->positionals++] = g_strdup(text);
        return 0;
    default:
        if (*text == '-')
            return refuse(parse, "unknown option %s", text);
        return set_option(parse, text);
    }
}

static int check_mountpoint(struct options *options, const char *path)
{
    struct stat st;

    options->mountpoint = mountpoint_canonical(path);
    if (options->mountpoint && mountpoint_find(options->mountpoint, NULL)) {
        log_line(LOG_ERR, "%s is mounted by encsanfs already; encsan umount %s unmounts it", path,
                 path);
        return 1;
    }
    if (!options->mountpoint || stat(options->mountpoint, &st))
        log_line(LOG_ERR, "mount point %s: %s", path, g_strerror(errno));
    else if (!S_ISDIR(st.st_mode))
        log_line(LOG_ERR, "mount point %s is not a directory", path);
    else
        return OPTIONS_GO;
    return 1;
}

static int check_image(struct options *options, const char *path)
{
    g_autofree char *absolute = g_canonicalize_filename(path, NULL);
    char *resolved = realpath(absolute, NULL);
    struct stat st;

    if (!resolved || stat(resolved, &st)) {
        log_line(LOG_ERR, "disk image %s: %s", path, g_strerror(errno));
        free(resolved);
        return 1;
    }
    options->source = g_strdup(resolved);
    free(resolved);
    if (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode)) {
        log_line(LOG_ERR, "%s is neither a disk image nor a block device", path);
        return 1;
    }
    if (options->key_file || options->has_target_key) {
        log_line(LOG_ERR, "key= and target_key= are for a URL; %s is a disk image here", path);
        return EXIT_USAGE;
    }
    return OPTIONS_GO;
}

static int check_source(struct options *options, const char *source)
{
    char message[ENCSAN_MESSAGE_BYTES];

    if (!url_is(source))
        return check_image(options, source);
    options->is_url = true;
    options->source = g_strdup(source);
    if (!url_parse(source, &options->url, message, sizeof(message)))
        return OPTIONS_GO;
    log_line(LOG_ERR, "%s", message);
    return EXIT_USAGE;
}

/* The words of argv, with `list` (may be NULL) before them as what they can override. */
static int read_words(struct options *options, struct parse *parse, int argc, char *argv[],
                      const char *list)
{
    struct fuse_args words = FUSE_ARGS_INIT(0, NULL);
    int error = fuse_opt_add_arg(&words, "encsanfs");

    memset(options, 0, sizeof(*options));
    memset(parse, 0, sizeof(*parse));
    parse->options = options;
    parse->status = OPTIONS_GO;
    if (!error && list)
        error = fuse_opt_add_arg(&words, "-o") || fuse_opt_add_arg(&words, list);
    for (int i = 1; !error && i < argc; i++)
        error = fuse_opt_add_arg(&words, argv[i]);
    if (!error)
        error = fuse_opt_parse(&words, parse, switches, parse_one);
    options->fuse = words;
    if (error && parse->status == OPTIONS_GO)
        parse->status = 1; /* no memory, which libfuse has said */
    return parse->status;
}

static void parse_clear(struct parse *parse)
{
    for (unsigned i = 0; i < parse->positionals; i++)
        g_free(parse->positional[i]);
}

/* `encsanfs MOUNTPOINT`: once more, with what mounts.conf says of it. */
static int read_with_config(struct options *options, struct parse *parse, int argc, char *argv[])
{
    char message[ENCSAN_MESSAGE_BYTES];
    g_autofree char *mountpoint = g_strdup(options->mountpoint);
    g_autofree char *source = NULL;
    g_autofree char *list = NULL;
    int status;

    if (config_mount(mountpoint, &source, &list, message, sizeof(message))) {
        log_line(LOG_ERR, "%s", message);
        return 1;
    }
    if (!source)
        return OPTIONS_GO;

    options_clear(options);
    parse_clear(parse);
    status = read_words(options, parse, argc, argv, *list ? list : NULL);
    options->mountpoint = g_steal_pointer(&mountpoint);
    return status == OPTIONS_GO ? check_source(options, source) : status;
}

int options_read(struct options *options, int argc, char *argv[])
{
    struct parse parse;
    int status = read_words(options, &parse, argc, argv, NULL);

    if (status == OPTIONS_GO && !parse.positionals) {
        refuse(&parse, "no mount point given");
        status = parse.status;
    }
    if (status == OPTIONS_GO && options->steal && options->read_only) {
        refuse(&parse, "ro and steal exclude each other: only who writes takes a disk over");
        status = parse.status;
    }
    if (status == OPTIONS_GO && parse.positionals == 2)
        status = check_source(options, parse.positional[0]);
    if (status == OPTIONS_GO)
        status = check_mountpoint(options, parse.positional[parse.positionals - 1]);
    if (status == OPTIONS_GO && parse.positionals == 1)
        status = read_with_config(options, &parse, argc, argv);
    parse_clear(&parse);
    return status;
}

void options_clear(struct options *options)
{
    g_free(options->source);
    g_free(options->mountpoint);
    g_free(options->key_file);
    g_free(options->suite);
    url_clear(&options->url);
    fuse_opt_free_args(&options->fuse);
}

int options_finish_fuse(struct options *options, const char *name)
{
    g_autofree char *fsname = g_strdup_printf("fsname=%s", name);
    char *list = NULL;
    int error;

    /* Before the user's: the later one of two counts. mount(8)'s users expect
     * root's mounts to be for everybody, within the permissions of the files. */
    error = fuse_opt_add_opt_escaped(&list, fsname) ||
            fuse_opt_add_opt(&list, "subtype=encsanfs") ||
            fuse_opt_add_opt(&list, "default_permissions") ||
            (geteuid() == 0 && !options->allow_root && !options->disk_view &&
             fuse_opt_add_opt(&list, "allow_other")) ||
            fuse_opt_insert_arg(&options->fuse, 1, list) ||
            fuse_opt_insert_arg(&options->fuse, 1, "-o");
    free(list);
    return error ? -ENOMEM : 0;
}
