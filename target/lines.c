// SPDX-License-Identifier: LGPL-2.1-or-later
/* The lines of a key file: lines.h. The grammar is that of GKeyFile, without translated keys. */
#include "lines.h"

#include <stdio.h>
#include <string.h>

struct lines {
    GHashTable *numbers; /* "GROUP" and "GROUP\nKEY", which no name can be */
};

struct reading {
    struct lines *lines;
    char *group; /* that the line is in; NULL before the first */
    unsigned number;
};

static char *place(const char *group, const char *key)
{
    return key ? g_strconcat(group, "\n", key, NULL) : g_strdup(group);
}

unsigned lines_find(const struct lines *lines, const char *group, const char *key)
{
    g_autofree char *where = place(group, key);

    return GPOINTER_TO_UINT(g_hash_table_lookup(lines->numbers, where));
}

/* NULL, or what is wrong: to be freed. */
static char *note(const struct reading *r, const char *key)
{
    unsigned before = lines_find(r->lines, r->group, key);

    if (before)
        return g_strdup_printf("%s%s%s is in line %u already", key ? "" : "[", key ? key : r->group,
                               key ? "=" : "]", before);
    g_hash_table_insert(r->lines->numbers, place(r->group, key), GUINT_TO_POINTER(r->number));
    return NULL;
}

static char *read_group(struct reading *r, const char *line)
{
    size_t len = strlen(line);

    if (len < 3 || line[len - 1] != ']' || strcspn(line + 1, "[]") != len - 2)
        return g_strdup("a group is a name in brackets, as [target]");
    g_free(r->group);
    r->group = g_strndup(line + 1, len - 2);
    return note(r, NULL);
}

static char *read_key(struct reading *r, const char *line)
{
    const char *equals = strchr(line, '=');
    g_autofree char *key = equals ? g_strchomp(g_strndup(line, (size_t)(equals - line))) : NULL;

    if (!key || !*key || key[strspn(key, "abcdefghijklmnopqrstuvwxyz-")])
        return g_strdup("no KEY=VALUE, [GROUP], or comment that begins with #");
    if (!r->group)
        return g_strdup_printf("%s= stands before the first group, as [target]", key);
    return note(r, key);
}

/* As GKeyFile, spaces before a line and behind one do not count. */
static char *read_line(struct reading *r, char *line)
{
    line = g_strstrip(line);
    if (*line == 0 || *line == '#')
        return NULL;
    return *line == '[' ? read_group(r, line) : read_key(r, line);
}

struct lines *lines_new(const char *path, const char *text, char *message, size_t size)
{
    g_auto(GStrv) split = g_strsplit(text, "\n", -1);
    struct reading r = {.lines = g_new0(struct lines, 1)};
    g_autofree char *wrong = NULL;

    r.lines->numbers = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    for (char **line = split; *line && !wrong; line++) {
        r.number++;
        wrong = read_line(&r, *line);
    }
    g_free(r.group);
    if (!wrong)
        return r.lines;
    snprintf(message, size, "%s:%u: %s", path, r.number, wrong);
    lines_free(r.lines);
    return NULL;
}

void lines_free(struct lines *lines)
{
    if (!lines)
        return;
    g_hash_table_unref(lines->numbers);
    g_free(lines);
}
