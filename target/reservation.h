// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Persistent reservations: SPC-4, 5.13. A value: the service actions of
 * PERSISTENT RESERVE OUT change a copy, which takes the place of the original
 * once it is safe. Nothing here locks or waits, but for reservation_file.c.
 */
#ifndef TARGET_RESERVATION_H
#define TARGET_RESERVATION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "sense.h"

#define NAME_BYTES 224 /* of iSCSI names, with the NUL: RFC 7143, 4.2.7.2 */
#define ISID_BYTES 6
#define REGISTRATIONS_MAX 64

struct port { /* an initiator port: RFC 7143, 4.4.1 */
    char name[NAME_BYTES];
    uint8_t isid[ISID_BYTES];
};

bool port_equal(const struct port *a, const struct port *b);

enum reservation_type { /* SPC-4, table 71 */
                        RESERVATION_NONE = 0,
                        WRITE_EXCLUSIVE = 1,
                        EXCLUSIVE_ACCESS = 3,
                        WRITE_EXCLUSIVE_REGISTRANTS_ONLY = 5,
                        EXCLUSIVE_ACCESS_REGISTRANTS_ONLY = 6,
                        WRITE_EXCLUSIVE_ALL_REGISTRANTS = 7,
                        EXCLUSIVE_ACCESS_ALL_REGISTRANTS = 8,
};

struct registration {
    uint64_t key;
    struct port port;
};

struct reservations {
    char *path;          /* where they are kept */
    uint32_t generation; /* PRGENERATION */
    bool persist;        /* APTPL */
    enum reservation_type type;
    struct port holder; /* where the type is one with a single holder */
    unsigned count;
    struct registration registrations[REGISTRATIONS_MAX];
};

/* ---- reading ---- */
bool reservation_is_type(unsigned type);
bool reservation_is_all_registrants(enum reservation_type type);
const struct registration *reservation_find(const struct reservations *r, const struct port *port);
bool reservation_is_holder(const struct reservations *r, const struct port *port);

enum access { ACCESS_NONE, ACCESS_READ, ACCESS_WRITE }; /* what a command does to the medium */
/* True: RESERVATION CONFLICT. */
bool reservation_conflicts(const struct reservations *r, const struct port *port,
                           enum access access);

/* ---- PERSISTENT RESERVE OUT ---- */
enum reservation_action { /* SPC-4, table 224 */
                          ACTION_REGISTER = 0,
                          ACTION_RESERVE = 1,
                          ACTION_RELEASE = 2,
                          ACTION_CLEAR = 3,
                          ACTION_PREEMPT = 4,
                          ACTION_PREEMPT_AND_ABORT = 5,
                          ACTION_REGISTER_AND_IGNORE = 6,
                          ACTION_REGISTER_AND_MOVE = 7,
};

struct reservation_request {
    enum reservation_action action;
    enum reservation_type type;
    uint64_t key, action_key;
    bool persist;    /* APTPL */
    bool unregister; /* UNREG: of REGISTER AND MOVE */
    bool names_ports; /* SPEC_I_PT: of REGISTER */
    unsigned port_count;
    struct port ports[REGISTRATIONS_MAX]; /* that REGISTER registers, too, or the one to move to */
};

enum reservation_result { RESERVATION_DONE, RESERVATION_CONFLICT, RESERVATION_INVALID };
/* INVALID sets *sense. What is not DONE may have changed `r`, which is a copy. */
enum reservation_result reservation_perform(struct reservations *r, const struct port *port,
                                            const struct reservation_request *request,
                                            struct sense *sense);

/* ---- keeping: reservation_file.c ---- */
/* As state_path, for those of a plain disk. */
char *reservations_path(const char *disk, const char *folder, char *message, size_t size);
/* Reads what is kept there. NULL, with one line for the user in `message`. */
struct reservations *reservations_open(const char *path, char *message, size_t size);
void reservations_close(struct reservations *r);
/* Keeps them, or what is kept is removed, as `persist` says; 0 or -errno. On stable storage then.
 */
int reservations_save(const struct reservations *r);

#endif
