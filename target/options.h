// SPDX-License-Identifier: LGPL-2.1-or-later
/* The command line: encsan-target(8). */
#ifndef TARGET_OPTIONS_H
#define TARGET_OPTIONS_H

#include <stdbool.h>

#include "target.h"

struct options {
    char *listen;
    char *name;
    char *key_file;
    uint8_t (*allowed)[KEY_BYTES];
    unsigned allowed_count;
    unsigned suites;
    struct lun_settings *luns;
    unsigned lun_count;
    char *state_folder; /* NULL: beside each disk */
    unsigned lease_timeout_s;
    bool exit_with_stdin;
};

/* False, with one line for the user in `message`: the command line is wrong. */
bool options_parse(struct options *options, int *argc, char ***argv, char *message, size_t size);
void options_free(struct options *options);

#endif
