// SPDX-License-Identifier: LGPL-2.1-or-later
/* Names and bytes from numbers: op.h. */
#include "op.h"

#include <stdio.h>
#include <string.h>

#define LONG_NAME_BYTES 160

/* The end of splitmix64: every bit of both depends on every bit of the other. */
uint64_t op_mix(uint64_t a, uint64_t b)
{
    uint64_t z = a * UINT64_C(0x9E3779B97F4A7C15) + b + UINT64_C(0x632BE59BD9B4E019);

    z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
    return z ^ (z >> 31);
}

uint64_t op_hash_bytes(const void *bytes, size_t count)
{
    uint64_t hash = count;

    for (size_t i = 0; i < count; i++)
        hash = op_mix(hash, ((const uint8_t *)bytes)[i]);
    return hash;
}

void op_fill(unsigned stream, unsigned index, uint64_t offset, void *buf, size_t count)
{
    uint64_t tag = op_mix(stream, index);
    uint8_t *out = buf;

    while (count) {
        uint64_t word = op_mix(tag, offset / 8);
        size_t skip = offset % 8, n = 8 - skip < count ? 8 - skip : count;

        memcpy(out, (uint8_t *)&word + skip, n);
        out += n;
        offset += n;
        count -= n;
    }
}

void op_text(unsigned stream, unsigned index, char *text, size_t length)
{
    for (size_t i = 0; i < length; i++)
        text[i] = (char)('a' + op_mix(op_mix(stream, index), i) % 26);
    text[length] = '\0';
}

/* One name in four is long, so that directories have several blocks. */
void op_name(unsigned stream, unsigned number, char name[OP_NAME_BYTES])
{
    int length = snprintf(name, OP_NAME_BYTES, "%u-%u", stream, number);

    if (op_mix(stream, number) % 4 == 0) {
        memset(name + length, '.', LONG_NAME_BYTES);
        name[length + LONG_NAME_BYTES] = '\0';
    }
}

bool op_parse_name(const char *name, unsigned *stream, unsigned *number)
{
    char same[OP_NAME_BYTES];

    if (sscanf(name, "%u-%u", stream, number) != 2)
        return false;
    op_name(*stream, *number, same);
    return strcmp(name, same) == 0;
}

void op_xattr_name(unsigned which, char name[OP_NAME_BYTES])
{
    snprintf(name, OP_NAME_BYTES, "user.%u", which);
}
