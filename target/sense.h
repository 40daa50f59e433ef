// SPDX-License-Identifier: LGPL-2.1-or-later
/* Sense data: SPC-4, 4.5 and annex F. Key 0 (NO SENSE): all is well. */
#ifndef TARGET_SENSE_H
#define TARGET_SENSE_H

#include <stdint.h>

struct sense {
    uint8_t key, asc, ascq;
};

#define SENSE_NONE ((struct sense){0x00, 0x00, 0x00})
#define SENSE_NOT_READY ((struct sense){0x02, 0x04, 0x01}) /* is becoming ready */
#define SENSE_STOPPED ((struct sense){0x02, 0x04, 0x02}) /* initializing command required */
#define SENSE_READ_ERROR ((struct sense){0x03, 0x11, 0x00})
#define SENSE_WRITE_ERROR ((struct sense){0x03, 0x0C, 0x00})
#define SENSE_INTERNAL_FAILURE ((struct sense){0x04, 0x44, 0x00})
#define SENSE_INVALID_OPCODE ((struct sense){0x05, 0x20, 0x00})
#define SENSE_LBA_OUT_OF_RANGE ((struct sense){0x05, 0x21, 0x00})
#define SENSE_INVALID_FIELD_IN_CDB ((struct sense){0x05, 0x24, 0x00})
#define SENSE_NO_SUCH_LUN ((struct sense){0x05, 0x25, 0x00})
#define SENSE_INVALID_FIELD_IN_LIST ((struct sense){0x05, 0x26, 0x00})
#define SENSE_INVALID_RELEASE ((struct sense){0x05, 0x26, 0x04})
#define SENSE_PARAMETER_LIST_LENGTH ((struct sense){0x05, 0x1A, 0x00})
#define SENSE_COMMAND_SEQUENCE ((struct sense){0x05, 0x2C, 0x00})
#define SENSE_NO_SAVED_PARAMETERS ((struct sense){0x05, 0x39, 0x00})
#define SENSE_NO_REGISTRATIONS_LEFT ((struct sense){0x05, 0x55, 0x04})
#define SENSE_RESET ((struct sense){0x06, 0x29, 0x00})
#define SENSE_UNIT_RESET ((struct sense){0x06, 0x29, 0x03})
#define SENSE_MODE_CHANGED ((struct sense){0x06, 0x2A, 0x01})
#define SENSE_CAPACITY_CHANGED ((struct sense){0x06, 0x2A, 0x09})
#define SENSE_LUNS_CHANGED ((struct sense){0x06, 0x3F, 0x0E})
#define SENSE_RESERVATIONS_PREEMPTED ((struct sense){0x06, 0x2A, 0x03})
#define SENSE_RESERVATIONS_RELEASED ((struct sense){0x06, 0x2A, 0x04})
#define SENSE_REGISTRATIONS_PREEMPTED ((struct sense){0x06, 0x2A, 0x05})
#define SENSE_ACCESS_DENIED ((struct sense){0x07, 0x20, 0x02})
#define SENSE_WRITE_PROTECTED ((struct sense){0x07, 0x27, 0x00})
#define SENSE_SOFTWARE_WRITE_PROTECTED ((struct sense){0x07, 0x27, 0x02})
#define SENSE_SPACE_ALLOCATION ((struct sense){0x07, 0x27, 0x07})
#define SENSE_ABORTED ((struct sense){0x0B, 0x00, 0x00})
#define SENSE_UNEXPECTED_DATA ((struct sense){0x0B, 0x0C, 0x0C})
#define SENSE_NOT_ENOUGH_DATA ((struct sense){0x0B, 0x0C, 0x0D})
#define SENSE_INFORMATION_UNIT ((struct sense){0x0B, 0x0E, 0x03})
#define SENSE_PROTOCOL_SERVICE_CRC ((struct sense){0x0B, 0x47, 0x05})
#define SENSE_DATA_PHASE ((struct sense){0x0B, 0x4B, 0x00})
#define SENSE_MISCOMPARE ((struct sense){0x0E, 0x1D, 0x00})

#endif
