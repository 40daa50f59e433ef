// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The target inside a fuzzer, the whole of it but its main(), and the peers of
 * its connections, which come in through a socketpair(2) instead of a port.
 * What goes wrong with the fuzzer itself ends it.
 */
#ifndef FUZZ_HOUSE_H
#define FUZZ_HOUSE_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "key.h"
#include "pdu.h"
#include "target.h"

#define HOUSE_NAME "iqn.2026-11.org.encsan:fuzz"
#define HOUSE_DISK_BYTES (1u << 20)
#define HOUSE_DATA_MAX (64u << 10) /* of what a peer sends with one PDU */

struct house_lun {
    bool plain, read_only;
};
/* Once. LUNs are numbered from 1. There is a user of CHAP, alice, whom no LUN needs. */
void house_build(const struct house_lun *luns, unsigned count);
/* For each input: empty disks, and nobody was ever here. */
struct target *house_open(void);
void house_close(void);
extern const uint8_t house_initiator_key[KEY_BYTES]; /* private; it may come to sealed LUNs */

struct peer {
    int fd;
    pthread_t thread; /* the connection's */
    uint32_t cmd_sn, itt;
    bool header_digest, data_digest;
};

void peer_open(struct peer *peer);
/* All the bytes, as far as the target takes them; what it answers is dropped. */
void peer_talk(struct peer *peer, const uint8_t *bytes, size_t count);
/* Says that nothing more comes, and waits for the connection's end. */
void peer_close(struct peer *peer);

/* ---- for those that know iSCSI ---- */
/* The whole login phase in one PDU. `keys` are added; NULL: none. */
size_t peer_login_pdu(const char *initiator, const char *keys, uint8_t *out, size_t size);
/* The same, and its answer. False: refused. */
bool peer_login(struct peer *peer, const char *initiator, const char *keys);
/* Fills in lengths, digests and, where it is no immediate one, CmdSN. False: the connection ended. */
bool peer_send(struct peer *peer, uint8_t bhs[PDU_BHS_BYTES], const void *data, uint32_t bytes);
/* Reads up to the answer to this command, whose data goes to `out`. Its status; -1: the connection
 * ended. */
int peer_finish(struct peer *peer, uint32_t itt, uint8_t *out, uint32_t size);

struct peer_command {
    uint8_t lun;
    uint8_t cdb[WIRE_CDB_BYTES];
    const void *out; /* data out, `bytes`; NULL: it is data in */
    uint32_t bytes;
};
/* Sends it whole. Its tag; 0: the connection ended. */
uint32_t peer_command(struct peer *peer, const struct peer_command *command);

#endif
