// SPDX-License-Identifier: LGPL-2.1-or-later
/* iSCSI PDUs: RFC 7143, 11. A Basic Header Segment is a byte array, its fields are offsets. */
#ifndef TARGET_PDU_H
#define TARGET_PDU_H

#include <stdbool.h>
#include <stdint.h>

#include <isa-l/crc.h>

#include "wire.h"

#define PDU_BHS_BYTES 48
#define PDU_AHS_BYTES_MAX (255 * 4)
#define PDU_DIGEST_BYTES 4
#define PDU_DATA_MAX WIRE_PDU_DATA_MAX /* the MaxRecvDataSegmentLength that we declare */
#define PDU_NO_TAG UINT32_C(0xFFFFFFFF)

enum pdu_opcode {
    PDU_NOP_OUT = 0x00,
    PDU_SCSI_COMMAND = 0x01,
    PDU_TASK_MANAGEMENT = 0x02,
    PDU_LOGIN = 0x03,
    PDU_TEXT = 0x04,
    PDU_DATA_OUT = 0x05,
    PDU_LOGOUT = 0x06,
    PDU_NOP_IN = 0x20,
    PDU_SCSI_RESPONSE = 0x21,
    PDU_TASK_MANAGEMENT_RESPONSE = 0x22,
    PDU_LOGIN_RESPONSE = 0x23,
    PDU_TEXT_RESPONSE = 0x24,
    PDU_DATA_IN = 0x25,
    PDU_LOGOUT_RESPONSE = 0x26,
    PDU_R2T = 0x31,
    PDU_ASYNC_MESSAGE = 0x32,
    PDU_REJECT = 0x3F,
};
#define PDU_OPCODE_MASK 0x3F
#define PDU_IMMEDIATE 0x40 /* in byte 0 */

enum { /* offsets */
       BHS_OPCODE = 0,
       BHS_FLAGS = 1,
       BHS_RESPONSE = 2, /* also a Reject's reason */
       BHS_STATUS = 3,
       BHS_AHS_LENGTH = 4, /* in words */
       BHS_DATA_LENGTH = 5,
       BHS_LUN = 8,
       BHS_ITT = 16,
       BHS_TTT = 20,
       BHS_CID = 20,             /* Login, Logout */
       BHS_EXPECTED_LENGTH = 20, /* SCSI Command */
       BHS_REFERENCED_TAG = 20,  /* Task Management */
       BHS_CMD_SN = 24,
       BHS_STAT_SN = 24,
       BHS_EXP_CMD_SN = 28,
       BHS_MAX_CMD_SN = 32,
       BHS_CDB = 32,
       BHS_EXP_DATA_SN = 36, /* SCSI Response */
       BHS_DATA_SN = 36,     /* also R2TSN */
       BHS_ASYNC_EVENT = 36,
       BHS_BUFFER_OFFSET = 40,
       BHS_PARAMETER_3 = 42, /* Asynchronous Message */
       BHS_RESIDUAL = 44,
       BHS_DESIRED_LENGTH = 44, /* R2T */
};

#define PDU_FINAL 0x80
/* SCSI Command */
#define PDU_READ 0x40
#define PDU_WRITE 0x20
/* SCSI Response, Data-In */
#define PDU_OVERFLOW 0x04
#define PDU_UNDERFLOW 0x02
#define PDU_HAS_STATUS 0x01 /* Data-In */
/* Login, Text */
#define PDU_TRANSIT 0x80
#define PDU_CONTINUE 0x40

#define PDU_EVENT_LOGOUT 1 /* Asynchronous Message: the target requests a Logout */

enum pdu_reject {
    PDU_REJECT_DATA_DIGEST = 0x02,
    PDU_REJECT_PROTOCOL_ERROR = 0x04,
    PDU_REJECT_NOT_SUPPORTED = 0x05,
    PDU_REJECT_INVALID_FIELD = 0x09,
};

static inline uint32_t pdu_padding(uint32_t bytes)
{
    return -bytes & 3;
}

/* CRC32C: RFC 7143, 13.1. Begins with PDU_CRC_BEGIN; pdu_put_digest ends it. */
#define PDU_CRC_BEGIN UINT32_C(0xFFFFFFFF)

static inline uint32_t pdu_crc(uint32_t crc, const void *data, uint32_t bytes)
{
    return bytes ? crc32_iscsi((unsigned char *)data, (int)bytes, crc) : crc;
}

static inline void pdu_put_digest(uint8_t out[PDU_DIGEST_BYTES], uint32_t crc)
{
    const uint32_t digest = htole32(~crc);

    memcpy(out, &digest, PDU_DIGEST_BYTES);
}

/* RFC 1982: a < b */
static inline bool pdu_sn_before(uint32_t a, uint32_t b)
{
    return (int32_t)(a - b) < 0;
}

#endif
