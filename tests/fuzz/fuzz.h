// SPDX-License-Identifier: LGPL-2.1-or-later
/* What libFuzzer calls: https://llvm.org/docs/LibFuzzer.html */
#ifndef FUZZ_H
#define FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct input { /* what is left of it */
    const uint8_t *data;
    size_t size;
};

/* The next `bytes` bytes; behind the end there are zeros. */
static inline void take(struct input *in, void *out, size_t bytes)
{
    size_t n = bytes < in->size ? bytes : in->size;

    memset(out, 0, bytes);
    if (n)
        memcpy(out, in->data, n);
    in->data += n;
    in->size -= n;
}

static inline uint8_t take_byte(struct input *in)
{
    uint8_t byte;

    take(in, &byte, 1);
    return byte;
}

static inline uint32_t take_16(struct input *in)
{
    uint8_t bytes[2];

    take(in, bytes, sizeof bytes);
    return (uint32_t)bytes[0] << 8 | bytes[1];
}

#endif
