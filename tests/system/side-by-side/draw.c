// SPDX-License-Identifier: LGPL-2.1-or-later
/* Random numbers, and what is made of them: draw.h. */
#include "draw.h"

#include <fcntl.h>
#include <glib.h>
#include <limits.h>
#include <linux/posix_acl.h>
#include <linux/posix_acl_xattr.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static uint64_t state;

void draw_seed(uint64_t seed)
{
    state = seed;
}

static uint64_t draw64(void)
{
    uint64_t z = state += UINT64_C(0x9E3779B97F4A7C15); /* splitmix64 */

    z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
    return z ^ (z >> 31);
}

unsigned draw(unsigned below)
{
    return (unsigned)((draw64() >> 32) % below);
}

void draw_bytes(uint8_t *bytes, size_t count)
{
    for (size_t i = 0; i < count; i += sizeof(uint64_t)) {
        uint64_t word = draw64();

        memcpy(bytes + i, &word, MIN(sizeof word, count - i));
    }
}

/* ---- paths ---- */

static void repeat(GString *to, char c, unsigned times)
{
    while (times--)
        g_string_append_c(to, c);
}

static void append_name(GString *path)
{
    switch (draw(60)) {
    case 0:
        g_string_append_c(path, '.');
        break;
    case 1:
        repeat(path, 'n', NAME_MAX);
        break;
    case 2:
        repeat(path, 'n', NAME_MAX + 1);
        break;
    case 3 ... 10: /* enough of them for a directory with an index */
        g_string_append_printf(path, "%0120u", draw(200));
        break;
    default:
        g_string_append_c(path, (char)('a' + draw(5)));
    }
}

void draw_path(char *path, size_t bytes)
{
    g_autoptr(GString) text = g_string_new(NULL);
    unsigned depth = 1 + draw(3);

    for (unsigned i = 0; i < depth; i++) {
        append_name(text);
        if (i == 0 && draw(40) == 0)
            g_string_append(text, "/..");
        if (i + 1 < depth || draw(40) == 0)
            g_string_append_c(text, '/');
    }
    if (draw(300) == 0)
        g_string_truncate(text, 0);
    if (draw(300) == 0)
        while (text->len < PATH_MAX)
            g_string_append(text, "/.");
    g_strlcpy(path, text->str, bytes);
}

/* Without "..", and with no way from the root: nothing may lead out of the directory. */
void draw_link_target(char *target, size_t bytes)
{
    static const unsigned lengths[] = {59, 60, 61, 100, 1000, 4094, 4095, 4096};
    g_autoptr(GString) text = g_string_new(NULL);

    if (draw(4) == 0)
        repeat(text, 'x', DRAW_ONE_OF(lengths));
    else
        append_name(text);
    if (draw(4) == 0) {
        g_string_append_c(text, '/');
        append_name(text);
    }
    if (draw(20) == 0)
        g_string_prepend(text, "/dev/null/");
    if (draw(100) == 0)
        g_string_truncate(text, 0);
    g_strlcpy(target, text->str, bytes);
}

/* ---- attributes ---- */

mode_t draw_mode(void)
{
    static const mode_t modes[] = {0,     0400,  0444,  0600,  0640,  0644,  0660,  0666,  0700,
                                   0750,  0755,  0775,  0777,  0111,  0711,  0070,  0007,  01777,
                                   02775, 02755, 02745, 04755, 06777, 04700, 02070, 07777, 01000};

    return DRAW_ONE_OF(modes);
}

uid_t draw_id(void)
{
    static const uid_t ids[] = {0,    0,    1001,      1001,      1002,  2001,
                                2002, 2003, (uid_t)-1, (uid_t)-1, 70000, 4000000000};

    return DRAW_ONE_OF(ids);
}

struct timespec draw_time(void)
{
    static const time_t seconds[] = {0, 1, -1, -5000000000, 1000000000, 4294967296, 16000000000};
    static const long parts[] = {0, 1, 123456789, 999999999, 1000000000, UTIME_NOW, UTIME_OMIT};

    return (struct timespec){DRAW_ONE_OF(seconds), DRAW_ONE_OF(parts)};
}

void draw_attribute_name(char *name, size_t bytes)
{
    static const char *const names[] = {
        "user.a",    "user.b",     "user.c",    "user.a.longer.name",
        "trusted.a", "security.a", "nowhere.a", "user.",
        "system.a",  "user.d",     "",
    };

    g_strlcpy(name, DRAW_ONE_OF(names), bytes);
    if (draw(40) == 0) {
        unsigned length = draw(2) ? XATTR_NAME_MAX : XATTR_NAME_MAX + 1;

        memset(name, 'u', length);
        memcpy(name, "user.", 5);
        name[length] = 0;
    }
}

static size_t put_entry(uint8_t *value, size_t at, unsigned tag, uid_t id)
{
    struct posix_acl_xattr_entry entry = {GUINT16_TO_LE((uint16_t)tag),
                                          GUINT16_TO_LE((uint16_t)draw(8)), GUINT32_TO_LE(id)};

    memcpy(value + at, &entry, sizeof entry);
    return at + sizeof entry;
}

size_t draw_acl(uint8_t *value)
{
    struct posix_acl_xattr_header header = {GUINT32_TO_LE(draw(30) ? POSIX_ACL_XATTR_VERSION : 1)};
    bool named = draw(3);
    size_t at = sizeof header;

    memcpy(value, &header, at);
    at = put_entry(value, at, ACL_USER_OBJ, (uid_t)ACL_UNDEFINED_ID);
    if (named && draw(2))
        at = put_entry(value, at, ACL_USER, 1001);
    if (named && draw(2))
        at = put_entry(value, at, ACL_USER, 1002);
    if (draw(30))
        at = put_entry(value, at, ACL_GROUP_OBJ, (uid_t)ACL_UNDEFINED_ID);
    if (named && draw(2))
        at = put_entry(value, at, ACL_GROUP, 2002);
    if (named ? draw(20) : !draw(3))
        at = put_entry(value, at, ACL_MASK, (uid_t)ACL_UNDEFINED_ID);
    if (draw(30))
        at = put_entry(value, at, ACL_OTHER, (uid_t)ACL_UNDEFINED_ID);
    return draw(50) ? at : at - 1;
}

/* ---- data ---- */

off_t draw_offset(void)
{
    const off_t limit = DRAW_OFFSET_LIMIT;

    switch (draw(40)) {
    case 0:
        return -1 - (off_t)draw(5000);
    case 1:
        return limit - (off_t)draw(3) * 2048;
    case 2:
        return limit + (off_t)draw(3) * 2048;
    case 3:
        return (off_t)1 << (32 + draw(31));
    case 4 ... 9:
        return (off_t)draw(300) << 12;
    case 10 ... 13:
        return 0;
    default:
        return draw(200000);
    }
}

size_t draw_length(size_t most)
{
    static const unsigned below[] = {100, 100, 5000, 20000, 70000};
    size_t length = draw(DRAW_ONE_OF(below));

    if (draw(4) == 0)
        length = (length + 4095) / 4096 * 4096;
    return MIN(length, most);
}
