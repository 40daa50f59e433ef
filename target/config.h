// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * What a target is told: encsan-target.conf(5). The command line (options.c) and
 * the configuration file (config_file.c) both end here, and nothing else reads
 * either of them. Constant once it is complete.
 */
#ifndef TARGET_CONFIG_H
#define TARGET_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <glib.h>

#include "key.h"

#define LUNS_MAX 255 /* one byte in SAM's peripheral device addressing */
#define PORTALS_MAX 16
#define LEASE_TIMEOUT_MAX_S 86400
#define SESSIONS_MAX 10000

struct initiator { /* that may come to sealed LUNs */
    char *name;
    uint8_t key[KEY_BYTES];
};

struct user { /* of CHAP, for plain LUNs */
    char *name, *password;
    char *target_password; /* the target's own towards it; NULL: no mutual CHAP */
};

struct lun_settings {
    unsigned number; /* 1 to LUNS_MAX */
    char *path;
    uint64_t bytes;    /* 0: as it is */
    bool plain;        /* without seals */
    bool read_only;    /* of a plain one */
    char **initiators; /* of a sealed one: their names. NULL: all */
    char **users;      /* the same of a plain one; NULL: everybody, also who is no user */
};

struct config {
    char **listen; /* HOST:PORT, [V6]:PORT */
    char *name;
    char *key_file;
    unsigned suites;    /* WIRE_SUITE_BIT of each */
    char *user;         /* whom it runs as; NULL: as it was started */
    bool syslog;        /* else standard error has the log */
    char *state_folder; /* NULL: beside each disk */
    unsigned lease_timeout_s;
    unsigned sessions_max;
    uint64_t memory_bytes; /* for the data of all sessions */
    GPtrArray *initiators; /* of struct initiator */
    GPtrArray *users;      /* of struct user */
    GPtrArray *luns;       /* of struct lun_settings */
};

void config_init(struct config *config); /* what holds where nothing is said */
void config_free(struct config *config);

/* For both who fill it: the new one belongs to the configuration. */
struct initiator *config_add_initiator(struct config *config, const char *name);
struct user *config_add_user(struct config *config, const char *name);
struct lun_settings *config_add_lun(struct config *config, unsigned number);

const struct initiator *config_initiator(const struct config *config, const char *name);
const struct user *config_user(const struct config *config, const char *name);
const struct lun_settings *config_lun(const struct config *config, unsigned number);

/* ---- values; false: it is none. What would be one: the text behind each. ---- */
bool config_is_name(const char *text);
#define CONFIG_NAME "an iSCSI name, as iqn.2026-11.org.example:disk"
bool config_is_address(const char *text);
#define CONFIG_ADDRESS "an address and a port, as 0.0.0.0:3260 or [::]:3260"
bool config_size(const char *text, uint64_t *bytes);
#define CONFIG_SIZE "a number with K, M, G or T behind it, a multiple of 4K"
bool config_suite(const char *text, unsigned *suites);
#define CONFIG_SUITE "aes-256-gcm, chacha20-poly1305, 3des or null"
#define CONFIG_KEY "a public key, which has 44 characters and comes from encsan keygen"

/* What only the whole can show. */
struct config_fault {
    unsigned lun;    /* where */
    const char *key; /* the same */
    char what[512];
};
/* False: something does not go together. */
bool config_check(const struct config *config, struct config_fault *fault);

/* Reads a configuration file into an initialised `config`. False, with one line
 * for the user in `message`: FILE:LINE: what, and what would be right. */
bool config_read(struct config *config, const char *path, char *message, size_t size);

#endif
