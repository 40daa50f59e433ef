// SPDX-License-Identifier: LGPL-2.1-or-later
/* Names of initiator ports in SCSI's parameter data: iSCSI TransportIDs, SPC-4, 7.6.4.6. */
#ifndef TARGET_TRANSPORT_ID_H
#define TARGET_TRANSPORT_ID_H

#include <stdbool.h>
#include <stdint.h>

#include "reservation.h"

#define TRANSPORT_ID_BYTES_MAX (4 + NAME_BYTES + 24)

/* Format 01b, with the ISID. Returns its bytes; `out` is zeroed. */
uint32_t transport_id_put(const struct port *port, uint8_t *out);

/* Of at most `bytes` bytes. Returns how many it has; 0: it is none. Format 00b
 * names a device: *all_ports, and there is no ISID. */
uint32_t transport_id_get(const uint8_t *in, uint32_t bytes, struct port *port, bool *all_ports);

#endif
