// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Every byte that EncSAN adds to iSCSI, and every limit, in this one file.
 * man/encsan-protocol.7 says what each field means and why it is there.
 *
 * All integers are big-endian (T10's order); the structs hold them as byte
 * arrays or as __be types read and written with the wire_* helpers below, so
 * there is no padding and no alignment to think of.
 */
#ifndef ENCSAN_WIRE_H
#define ENCSAN_WIRE_H

#include <stdint.h>
#include <string.h>
#include <endian.h>

/* ---- SCSI opcodes ---- */
enum {
    WIRE_SEALED_WRITE = 0xC8, /* data out: seal(struct wire_write ‖ data) */
    WIRE_SEALED_READ = 0xC9,  /* data in: be64 counter ‖ seal(struct wire_read ‖ data) */
    WIRE_SEALED_SYNC = 0xCA,  /* data in: be64 counter ‖ seal(struct wire_receipt) */
    WIRE_SECURITY_PROTOCOL_IN = 0xA2,  /* SPC-4 6.29: Noise message 2 */
    WIRE_SECURITY_PROTOCOL_OUT = 0xB5, /* SPC-4 6.30: Noise message 1 */
};
#define WIRE_SECURITY_PROTOCOL 0xF0 /* vendor specific; SPC-4 table 258 */
/* SECURITY PROTOCOL SPECIFIC: the number of the Noise message */
#define WIRE_SPS_MESSAGE_1 1
#define WIRE_SPS_MESSAGE_2 2

/* ---- limits ---- */
#define WIRE_VERSION 1
#define WIRE_CDB_BYTES 16
#define WIRE_TAG_BYTES 16              /* every suite's tag */
#define WIRE_COUNTER_BYTES 8           /* before each sealed answer */
#define WIRE_PDU_DATA_MAX 262144       /* header + data + tag: one PDU, one round trip */
#define WIRE_BLOCK_BYTES 4096          /* block size of a sealed LUN */
#define WIRE_DATA_BLOCKS_MAX 63        /* the most blocks that fit one PDU with header and tag */
#define WIRE_LBA_MAX (UINT64_C(1) << 38) /* SEALED READ has 38 bits of LBA */
#define WIRE_ORDINAL_MAX ((UINT64_C(1) << 48) - 1)
#define WIRE_REPLAY_WINDOW 4096        /* sequence numbers */
#define WIRE_BAD_TAGS_MAX 1000         /* then the target closes the session */
#define WIRE_ORDINAL_WINDOW 65536      /* ordinals beyond the last receipted one */
#define WIRE_WAITING_MAX 64            /* commands a lease that wait for their `after` */
#define WIRE_RECEIPT_BITS 8192         /* bitmap above the executed mark */
#define WIRE_SYNC_WAIT_US 1000000      /* a SYNC is answered after this at the latest */
#define WIRE_PENDING_SA_US 10000000    /* life of an SA whose first WRITE has not come */
#define WIRE_MESSAGES_MAX (UINT64_C(1) << 31)      /* hard limit, either direction */
#define WIRE_BYTES_MAX (UINT64_C(1) << 40)         /* hard limit, either direction */
#define WIRE_MESSAGES_MAX_3DES (UINT64_C(1) << 20) /* 64-bit blocks: the birthday bound is near */
/* The initiator makes new keys in the running session at one of these, in either direction. */
#ifndef WIRE_REKEY_MESSAGES
#define WIRE_REKEY_MESSAGES (UINT64_C(1) << 29)
#endif
#ifndef WIRE_REKEY_BYTES
#define WIRE_REKEY_BYTES (UINT64_C(1) << 38)
#endif
#define WIRE_REKEY_MESSAGES_3DES (UINT64_C(1) << 18)
#ifndef WIRE_REKEY_US
#define WIRE_REKEY_US (3600 * UINT64_C(1000000))
#endif

/* ---- suites ---- */
enum wire_suite {
    WIRE_SUITE_AES_256_GCM = 1,
    WIRE_SUITE_CHACHA20_POLY1305 = 2,
    WIRE_SUITE_3DES = 3,  /* the paper's cipher; only where both ends name it */
    WIRE_SUITE_NULL = 4,  /* no protection at all; for measuring */
};
#define WIRE_SUITE_BIT(suite) (1u << (suite))

/* ---- handshake: Noise_IK_25519_AESGCM_SHA256 ----
 * prologue = "encsan 1" ‖ 0 ‖ target name ‖ 0 ‖ be64 LUN */
#define WIRE_KEY_BYTES 32
#define WIRE_ID_BYTES 16
#define WIRE_NOISE_1_OVERHEAD (32 + 32 + 16 + 16) /* e, s + tag, payload's tag */
#define WIRE_NOISE_2_OVERHEAD (32 + 16)           /* e, payload's tag */

enum wire_intent {
    WIRE_INTENT_RO = 1,
    WIRE_INTENT_ACQUIRE = 2,
    WIRE_INTENT_RESUME = 3, /* exactly the generation in `generation` */
    WIRE_INTENT_STEAL = 4,  /* from exactly that generation */
};

#define WIRE_SENSE_NOT_READY 0x02 /* as a sealed sense key: not now, and nothing else is wrong */

struct wire_boot_id {
    uint8_t counter[8]; /* persistent, grows at each start of the LUN */
    uint8_t random[8];
};
#define WIRE_BOOT_FLUSHES 0xffffu /* of the counter: only these bits have grown: a flush failed */

struct wire_hello { /* payload of message 1 */
    uint8_t version;
    uint8_t intent; /* enum wire_intent */
    uint8_t suites[2]; /* WIRE_SUITE_BIT of each offered */
    uint8_t reserved[4];
    uint8_t mount_id[WIRE_ID_BYTES];
    uint8_t previous_mount_id[WIRE_ID_BYTES];
    uint8_t generation[8]; /* for resume and steal */
    uint8_t base[8];       /* highest ordinal that a receipt covered */
};

enum wire_refusal {
    WIRE_ACCEPTED = 0,
    WIRE_REFUSED_VERSION = 1,
    WIRE_REFUSED_INITIATOR = 2, /* this key may not use this LUN */
    WIRE_REFUSED_SUITE = 3,     /* none of the offered ones is allowed */
    WIRE_REFUSED_HELD = 4,      /* another holds the lease: holder_* say who */
    WIRE_REFUSED_GENERATION = 5, /* resume or steal named another generation */
    WIRE_REFUSED_READ_ONLY = 6, /* the LUN is read-only and the intent is not */
    WIRE_REFUSED_BUSY = 7,      /* no room for another SA */
};

struct wire_welcome { /* payload of message 2 */
    uint8_t version;
    uint8_t refusal; /* enum wire_refusal */
    uint8_t suite;   /* enum wire_suite */
    uint8_t sa_index;
    uint8_t block_bytes[4];
    uint8_t blocks[8];
    uint8_t volume_id[WIRE_ID_BYTES];
    struct wire_boot_id boot_id;
    uint8_t generation[8]; /* of the lease now, before this mount takes it */
    uint8_t durable[8];    /* ordinal */
    uint8_t holder_key[WIRE_KEY_BYTES];
    uint8_t holder_mount_id[WIRE_ID_BYTES];
    uint8_t holder_since[8];     /* Unix time, seconds */
    uint8_t holder_address[64];  /* text, NUL padded */
    uint8_t ordinal_window[4];
    uint8_t waiting_max[4];
    uint8_t data_blocks_max[4];
    uint8_t reserved[4];
};

/* ---- sealed commands ---- */
struct wire_cdb {
    uint8_t opcode;
    uint8_t sa_index;
    uint8_t sequence[4];
    uint8_t field[6]; /* masked on the wire */
    uint8_t tag[4];
};

/* SEALED READ's field: LBA 38 bits | blocks - 1, 10 bits */
static inline uint64_t wire_read_field(uint64_t lba, uint32_t blocks)
{
    return lba << 10 | (blocks - 1);
}

enum wire_operation {
    WIRE_OP_NONE = 0,   /* nothing; ordinal 0 only confirms the SA and its intent */
    WIRE_OP_WRITE = 1,
    WIRE_OP_ZEROES = 2,
    WIRE_OP_UNMAP = 3,
};
#define WIRE_FLAG_FUA 0x01
#define WIRE_FLAG_RELEASE 0x02 /* with NONE and ordinal 0: the lease is given back */

struct wire_write { /* header of SEALED WRITE, before the data */
    uint8_t operation;
    uint8_t flags;
    uint8_t reserved[2];
    uint8_t blocks[4];
    uint8_t lba[8];
    uint8_t ordinal[8];
    uint8_t after[8]; /* execute when every ordinal <= after is durable; 0: at once */
};

struct wire_read { /* header of SEALED READ's answer, before the data */
    uint8_t status; /* SCSI status (SAM-5 5.3.1); 0 is GOOD and the data is valid */
    uint8_t sense_key;
    uint8_t asc;
    uint8_t ascq;
    uint8_t reserved[12];
};

enum wire_lease_state {
    WIRE_LEASE_NONE = 0,
    WIRE_LEASE_HELD = 1,   /* by this SA's mount and generation */
    WIRE_LEASE_SHARED = 2, /* read-only */
    WIRE_LEASE_FENCED = 3, /* another generation has it: nothing of this SA is executed any more */
};

struct wire_receipt {
    struct wire_boot_id boot_id;
    uint8_t generation[8];
    uint8_t lease_state; /* enum wire_lease_state */
    uint8_t failed_sense_key; /* of failed_ordinal */
    uint8_t failed_asc;
    uint8_t failed_ascq;
    uint8_t reserved[4];
    uint8_t durable[8];  /* every ordinal <= this is on stable storage */
    uint8_t executed[8]; /* every ordinal <= this is executed */
    uint8_t failed_ordinal[8]; /* the lowest that failed, 0: none */
    /* bit i (LSB first in each byte): ordinal executed + 1 + i is executed */
    uint8_t bitmap[WIRE_RECEIPT_BITS / 8];
};

#define WIRE_WRITE_BYTES(blocks) \
    (sizeof(struct wire_write) + (uint64_t)(blocks) * WIRE_BLOCK_BYTES + WIRE_TAG_BYTES)
#define WIRE_READ_BYTES(blocks)                                                                   \
    (WIRE_COUNTER_BYTES + sizeof(struct wire_read) + (uint64_t)(blocks) * WIRE_BLOCK_BYTES +      \
     WIRE_TAG_BYTES)
#define WIRE_SYNC_BYTES (WIRE_COUNTER_BYTES + sizeof(struct wire_receipt) + WIRE_TAG_BYTES)

_Static_assert(sizeof(struct wire_cdb) == WIRE_CDB_BYTES, "CDB");
_Static_assert(sizeof(struct wire_hello) == 56, "message 1");
_Static_assert(sizeof(struct wire_welcome) == 200, "message 2");
_Static_assert(sizeof(struct wire_write) == 32, "write header");
_Static_assert(sizeof(struct wire_read) == 16, "read header");
_Static_assert(sizeof(struct wire_receipt) == 56 + WIRE_RECEIPT_BITS / 8, "receipt");
_Static_assert(WIRE_WRITE_BYTES(WIRE_DATA_BLOCKS_MAX) <= WIRE_PDU_DATA_MAX, "one PDU");
_Static_assert(WIRE_READ_BYTES(WIRE_DATA_BLOCKS_MAX) <= WIRE_PDU_DATA_MAX, "one PDU");

/* ---- big-endian access ---- */
static inline uint64_t wire_get64(const uint8_t p[static 8])
{
    uint64_t v;
    memcpy(&v, p, 8);
    return be64toh(v);
}
static inline uint64_t wire_get48(const uint8_t p[static 6])
{
    uint8_t b[8] = {0};
    memcpy(b + 2, p, 6);
    return wire_get64(b);
}
static inline uint32_t wire_get32(const uint8_t p[static 4])
{
    uint32_t v;
    memcpy(&v, p, 4);
    return be32toh(v);
}
static inline uint32_t wire_get24(const uint8_t p[static 3])
{
    return (uint32_t)p[0] << 16 | (uint32_t)p[1] << 8 | p[2];
}
static inline uint16_t wire_get16(const uint8_t p[static 2])
{
    return (uint16_t)(p[0] << 8 | p[1]);
}
static inline void wire_put64(uint8_t p[static 8], uint64_t v)
{
    v = htobe64(v);
    memcpy(p, &v, 8);
}
static inline void wire_put48(uint8_t p[static 6], uint64_t v)
{
    uint8_t b[8];
    wire_put64(b, v);
    memcpy(p, b + 2, 6);
}
static inline void wire_put32(uint8_t p[static 4], uint32_t v)
{
    v = htobe32(v);
    memcpy(p, &v, 4);
}
static inline void wire_put24(uint8_t p[static 3], uint32_t v)
{
    p[0] = (uint8_t)(v >> 16);
    p[1] = (uint8_t)(v >> 8);
    p[2] = (uint8_t)v;
}
static inline void wire_put16(uint8_t p[static 2], uint16_t v)
{
    p[0] = (uint8_t)(v >> 8);
    p[1] = (uint8_t)v;
}

#endif
