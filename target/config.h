// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * What a target is told: encsan-target.conf(5). The command line (options.c) and
 * the configuration file (config_file.c) both end here, and nothing else reads
 * either of them. Constant once it is complete; a reload brings another one.
 */
#ifndef TARGET_CONFIG_H
#define TARGET_CONFIG_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <glib.h>

#include "key.h"

#define LUNS_MAX 255 /* one byte in SAM's peripheral device addressing */
#define TARGETS_MAX 16
#define PORTALS_MAX 16
#define LEASE_TIMEOUT_MAX_S 86400
#define SESSIONS_MAX 10000
#define WINDOW_MAX 1024

struct initiator { /* that may come to sealed LUNs */
    char *name;
    uint8_t key[KEY_BYTES];
};

struct user { /* of CHAP, for plain LUNs */
    char *name, *password;
    char *target_password; /* the target's own towards it; NULL: no mutual CHAP */
};

struct target_settings {
    char *label; /* in the file; NULL: [target] itself */
    char *name;  /* iSCSI's */
};

struct lun_settings {
    char *target;    /* whose, by its label */
    unsigned number; /* 1 to LUNS_MAX */
    unsigned line;   /* in the file */
    char *path;          /* or an iscsi:// URL */
    char *password_file; /* with that; NULL: none */
    uint64_t bytes;    /* 0: as it is */
    bool plain;        /* without seals */
    bool read_only;    /* of a plain one */
    char **initiators; /* of a sealed one: their names. NULL: all */
    char **users;      /* the same of a plain one; NULL: everybody, also who is no user */
};

struct config {
    atomic_uint references;
    char *file;    /* that says all this; NULL: the command line does */
    char **listen; /* HOST:PORT, [V6]:PORT */
    char *key_file;
    unsigned suites;    /* WIRE_SUITE_BIT of each */
    char *user;         /* whom it runs as; NULL: as it was started */
    bool syslog;        /* else standard error has the log */
    char *state_folder; /* NULL: beside each disk */
    char *metrics;      /* where they are told, HOST:PORT; NULL: nowhere */
    unsigned lease_timeout_s;
    unsigned sessions_max;
    unsigned window;       /* commands of a session at once */
    uint64_t memory_bytes; /* for the data of all sessions */
    GPtrArray *targets;    /* of struct target_settings; the first is [target] */
    GPtrArray *initiators; /* of struct initiator */
    GPtrArray *users;      /* of struct user */
    GPtrArray *luns;       /* of struct lun_settings, by target and number */
};

void config_init(struct config *config); /* what holds where nothing is said */
void config_free(struct config *config);
/* The same where several have it: the last one frees it. */
struct config *config_new(void);
struct config *config_ref(struct config *config);
void config_unref(struct config *config);

/* For both who fill it: the new one belongs to the configuration. */
struct target_settings *config_add_target(struct config *config, const char *label);
struct initiator *config_add_initiator(struct config *config, const char *name);
struct user *config_add_user(struct config *config, const char *name);
struct lun_settings *config_add_lun(struct config *config, const char *target, unsigned number);
void config_sort(struct config *config); /* once all is there */

/* Labels may be NULL, for [target]. What is not there is NULL. */
const struct target_settings *config_target(const struct config *config, const char *label);
const struct target_settings *config_named(const struct config *config, const char *iscsi_name);
const struct initiator *config_initiator(const struct config *config, const char *name);
const struct user *config_user(const struct config *config, const char *name);
const struct lun_settings *config_lun(const struct config *config, const char *target,
                                      unsigned number);
/* As it stands in the file, and in the log: NUMBER or LABEL/NUMBER. The caller's. */
char *config_lun_label(const struct lun_settings *lun);

/* What `next` says otherwise and a process cannot change any more is in it as it is in `now`
 * afterwards. Returns the names of these keys, NULL: none. The caller's. */
char *config_keep(const struct config *now, struct config *next);

/* ---- values; false: it is none. What would be one: the text behind each. ---- */
bool config_is_name(const char *text);
#define CONFIG_NAME "an iSCSI name, as iqn.2026-11.org.example:disk"
bool config_is_address(const char *text);
#define CONFIG_ADDRESS "an address and a port, as 0.0.0.0:3260 or [::]:3260"
bool config_is_url(const char *text); /* of a LUN of another target; asks no name server */
#define CONFIG_URL "a URL as iscsi://[USER@]HOST[:PORT]/IQN/LUN, with the password in password-file="
bool config_size(const char *text, uint64_t *bytes);
#define CONFIG_SIZE "a number with K, M, G or T behind it, a multiple of 4K"
bool config_suite(const char *text, unsigned *suites);
#define CONFIG_SUITE "aes-256-gcm, chacha20-poly1305, 3des or null"
#define CONFIG_KEY "a public key, which has 44 characters and comes from encsan keygen"

/* What a message about this LUN begins with, up to a space: its place in the file; "" where
 * there is none. The caller's. */
char *config_where(const struct config *config, const struct lun_settings *lun);

/* What only the whole can show. */
struct config_fault {
    const struct lun_settings *lun; /* where */
    const char *key;                /* the same */
    char what[512];
};
/* False: something does not go together. */
bool config_check(const struct config *config, struct config_fault *fault);

/* Reads a configuration file into an initialised `config`. False, with one line
 * for the user in `message`: FILE:LINE: what, and what would be right. */
bool config_read(struct config *config, const char *path, char *message, size_t size);

#endif
