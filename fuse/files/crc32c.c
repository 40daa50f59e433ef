// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * ext4's checksum, by the CPU's instruction.
 *
 * libext2fs checks a directory's block whenever it reads it, from the cache, too, and its own CRC32C is one of
 * tables: that was 44 % of the instructions of a creation. It calls this function by
 * name, through the dynamic linker, which finds the program's before its own.
 */
#include "fs.h"

#include <isa-l.h>

/* As the original: neither `crc` nor the result is inverted. */
__u32 ext2fs_crc32c_le(__u32 crc, unsigned char const *p, size_t len)
{
    return crc32_iscsi((unsigned char *)p, (int)len, crc);
}
