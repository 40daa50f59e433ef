// SPDX-License-Identifier: LGPL-2.1-or-later
/* The command line: encsan-target(8). */
#ifndef TARGET_OPTIONS_H
#define TARGET_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>

#include "config.h"

struct options {
    char *config_file; /* NULL: the command line says everything */
    bool check;        /* only reads that file */
    bool status;       /* only asks one that runs */
    bool exit_with_stdin;
    struct config *config; /* of the command line; empty where there is a file */
};

/* False, with one line for the user in `message`: the command line is wrong. */
bool options_parse(struct options *options, int *argc, char ***argv, char *message, size_t size);
void options_free(struct options *options);

#endif
