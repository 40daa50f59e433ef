// SPDX-License-Identifier: LGPL-2.1-or-later
/* URLs of LUNs: url.h. No state. */
#include "url.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <glib.h>

#define SCHEME "iscsi://"
#define DEFAULT_PORT "3260"
#define LUN_MAX 16383 /* what flat space addressing of SAM-5 4.7.7 can name */

bool url_is(const char *source)
{
    return g_str_has_prefix(source, SCHEME);
}

static bool is_number(const char *text, guint64 max)
{
    return g_ascii_string_to_unsigned(text, 10, 0, max, NULL, NULL);
}

/* HOST, HOST:PORT, [V6] or [V6]:PORT -> HOST:PORT; NULL where it is none */
static char *portal(const char *text)
{
    const char *bracket = *text == '[' ? strchr(text, ']') : NULL;
    const char *colon = strchr(bracket ? bracket : text, ':');
    size_t host = colon ? (size_t)(colon - text) : strlen(text);

    if (*text == '[' && (!bracket || (size_t)(bracket - text) + 1 != host || host < 4))
        return NULL;
    if (!host || strpbrk(text, " \t\n"))
        return NULL;
    if (colon && (!is_number(colon + 1, 65535) || !strcmp(colon + 1, "0")))
        return NULL;

    g_autofree char *lower = g_ascii_strdown(text, (gssize)host);
    return g_strdup_printf("%s:%s", lower, colon ? colon + 1 : DEFAULT_PORT);
}

/* One or more, with commas between them; NULL where it is no such list. */
static char *portals(const char *text, char **first)
{
    g_auto(GStrv) parts = g_strsplit(text, ",", -1);
    g_autoptr(GPtrArray) all = g_ptr_array_new_with_free_func(g_free);

    for (unsigned i = 0; parts[i]; i++) {
        char *one = portal(parts[i]);

        if (!one)
            return NULL;
        g_ptr_array_add(all, one);
    }
    if (!all->len)
        return NULL;
    g_ptr_array_add(all, NULL);
    *first = g_strdup(all->pdata[0]);
    return g_strjoinv(",", (char **)all->pdata);
}

/* RFC 7143 4.2.7.1: iqn., eui. or naa., no white space */
static bool is_target_name(const char *name)
{
    return (g_str_has_prefix(name, "iqn.") || g_str_has_prefix(name, "eui.") ||
            g_str_has_prefix(name, "naa.")) &&
           name[4] && strlen(name) <= 223 && !strpbrk(name, " \t\n");
}

int url_parse(const char *text, struct url *url, char *message, size_t size)
{
    const char *what = NULL;

    memset(url, 0, sizeof(*url));
    if (!url_is(text)) {
        snprintf(message, size, "%s: a URL is iscsi://HOST[:PORT]/IQN/LUN", text);
        return -EINVAL;
    }

    g_auto(GStrv) parts = g_strsplit(text + strlen(SCHEME), "/", -1);
    const char *at = parts[0] ? strrchr(parts[0], '@') : NULL;
    g_autofree char *first = NULL;
    g_autofree char *hosts = parts[0] ? portals(at ? at + 1 : parts[0], &first) : NULL;

    if (g_strv_length(parts) != 3)
        what = "it has not three parts";
    else if (!hosts)
        what = "HOST[:PORT] is not valid";
    else if (!is_target_name(parts[1]))
        what = "the target's name does not begin with iqn., eui. or naa.";
    else if (!is_number(parts[2], LUN_MAX))
        what = "LUN is not a number";
    if (what) {
        snprintf(message, size, "%s: %s; a URL is iscsi://HOST[:PORT]/IQN/LUN", at ? at + 1 : text,
                 what);
        return -EINVAL;
    }

    g_autofree char *iqn = g_ascii_strdown(parts[1], -1);
    url->target = g_strdup_printf("%s/%s", first, iqn);
    url->name = g_strdup_printf(SCHEME "%s/%s/%" G_GUINT64_FORMAT, hosts, iqn,
                                g_ascii_strtoull(parts[2], NULL, 10));
    return 0;
}

void url_clear(struct url *url)
{
    g_clear_pointer(&url->target, g_free);
    g_clear_pointer(&url->name, g_free);
}
