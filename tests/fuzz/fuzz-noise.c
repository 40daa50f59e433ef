// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The messages of the handshake. The first byte says whose they are: message 1
 * or 2 as bytes from the network, or made with the right keys around a payload
 * of any length, then damaged at one place. Only the undamaged ones may open.
 */
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"
#include "key.h"
#include "noise.h"
#include "wire.h"

#define MESSAGE_BYTES_MAX 4096

static const uint8_t initiator_private[NOISE_KEY_BYTES] = {4, 5, 6}, target_private[NOISE_KEY_BYTES] = {1, 2, 3};
static const uint8_t initiator_ephemeral[NOISE_KEY_BYTES] = {7}, target_ephemeral[NOISE_KEY_BYTES] = {8};
static uint8_t target_public[NOISE_KEY_BYTES];

static struct noise *make(bool initiator)
{
    static const uint8_t prologue[] = "encsan 1";
    struct noise_config config = {
        .cipher = NOISE_AESGCM,
        .initiator = initiator,
        .prologue = prologue,
        .prologue_len = sizeof prologue,
        .ephemeral_private = initiator ? initiator_ephemeral : target_ephemeral,
    };
    struct noise *noise;

    memcpy(config.static_private, initiator ? initiator_private : target_private, NOISE_KEY_BYTES);
    if (initiator)
        memcpy(config.remote_static, target_public, NOISE_KEY_BYTES);
    noise = noise_new(&config);
    if (!noise)
        abort();
    return noise;
}

/* What came opens, and both sides have the same keys; or it was damaged. */
static void check(struct noise *reader, const uint8_t *message, int bytes, const uint8_t *payload,
                  size_t payload_bytes, bool damaged)
{
    uint8_t out[MESSAGE_BYTES_MAX];
    int n = noise_read(reader, message, (size_t)bytes, out);

    if (damaged ? n >= 0 : n != (int)payload_bytes || memcmp(out, payload, payload_bytes) != 0)
        abort();
}

static bool damage(struct input *in, uint8_t *message, int bytes)
{
    uint32_t at = take_16(in);
    uint8_t change = take_byte(in);

    message[at % (uint32_t)bytes] ^= change;
    return change != 0;
}

static void exchange(struct input *in, unsigned message_number)
{
    struct noise *initiator = make(true), *target = make(false);
    uint8_t message[MESSAGE_BYTES_MAX + WIRE_NOISE_1_OVERHEAD], payload[MESSAGE_BYTES_MAX];
    size_t bytes = take_16(in) % 1024;
    int n;

    take(in, payload, bytes);
    n = noise_write(initiator, payload, bytes, message);
    if (message_number == 1) {
        bool damaged = damage(in, message, n);

        check(target, message, n, payload, bytes, damaged);
    } else {
        check(target, message, n, payload, bytes, false);
        n = noise_write(target, payload, bytes, message);
        bool damaged = damage(in, message, n);

        check(initiator, message, n, payload, bytes, damaged);
    }
    noise_free(initiator);
    noise_free(target);
}

static void read_raw(struct input *in, bool initiator)
{
    struct noise *noise = make(initiator);
    uint8_t message[MESSAGE_BYTES_MAX + WIRE_NOISE_1_OVERHEAD], payload[MESSAGE_BYTES_MAX];
    size_t bytes = in->size < MESSAGE_BYTES_MAX ? in->size : MESSAGE_BYTES_MAX;

    if (initiator && noise_write(noise, NULL, 0, message) < 0)
        abort();
    noise_read(noise, in->data, bytes, payload);
    noise_free(noise);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    enum { RAW_1, RAW_2, MESSAGE_1, MESSAGE_2 };
    struct input in = {data, size};

    if (key_public(target_private, target_public) != 0)
        abort();
    switch (take_byte(&in) % 4) {
    case RAW_1:
        read_raw(&in, false);
        break;
    case RAW_2:
        read_raw(&in, true);
        break;
    case MESSAGE_1:
        exchange(&in, 1);
        break;
    case MESSAGE_2:
        exchange(&in, 2);
    }
    return 0;
}
