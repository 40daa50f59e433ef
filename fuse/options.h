// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The command line: encsanfs [URL | IMAGE] MOUNTPOINT [-f] [-o option,...]
 */
#ifndef ENCSAN_OPTIONS_H
#define ENCSAN_OPTIONS_H

#define FUSE_USE_VERSION 314
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <fuse_opt.h>

#include "encsan.h"
#include "url.h"

struct options {
    bool foreground;
    char *source; /* URL or IMAGE; NULL: the default image */
    bool is_url;
    struct url url;   /* where is_url */
    char *mountpoint; /* canonical */
    bool disk_view, read_only, steal;
    unsigned timeout_s; /* 0: for ever */
    char *key_file; /* NULL: the user's */
    bool has_target_key;
    uint8_t target_key[ENCSAN_KEY_BYTES];
    char *suite;             /* NULL: by agreement */
    unsigned depth, readahead, sessions, workers; /* 0: encsan.h's default, also below */
    size_t segment_bytes, cache_bytes;
    unsigned commit_s;
    bool no_atime, no_discard, idmap_user, sync, dirsync;
    bool allow_root;       /* then allow_other is not the default */
    struct fuse_args fuse; /* for libfuse */
};

#define OPTIONS_GO (-1)
/* Reads the command line and mounts.conf, and checks everything that can be
 * checked without the network. OPTIONS_GO, or an exit status: what was wrong
 * has been said. Paths become absolute. */
int options_read(struct options *options, int argc, char *argv[]);
void options_clear(struct options *options);

/* Completes options->fuse for a mount of `name`. 0 or -ENOMEM. */
int options_finish_fuse(struct options *options, const char *name);

#endif
