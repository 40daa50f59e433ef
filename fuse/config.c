// SPDX-License-Identifier: LGPL-2.1-or-later
/* The configuration folder: config.h. No state. */
#include "config.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <glib.h>

#include "folders.h"
#include "key.h"

static char *config_path(const char *name)
{
    g_autofree char *folder = folder_config();

    return g_build_filename(folder, name, NULL);
}

int config_key(const char *path, uint8_t key[], char *message, size_t size)
{
    g_autofree char *own = config_path("key");

    if (!path && !g_file_test(own, G_FILE_TEST_EXISTS)) {
        snprintf(message, size, "no key: give -o key=FILE, or make yours with: encsan keygen %s",
                 own);
        return -ENOENT;
    }
    return key_load(path ? path : own, key, message, size);
}

/* The text of a file that need not be there. */
static int read_optional(const char *path, char **text, char *message, size_t size)
{
    g_autoptr(GError) error = NULL;

    *text = NULL;
    if (g_file_get_contents(path, text, NULL, &error) ||
        g_error_matches(error, G_FILE_ERROR, G_FILE_ERROR_NOENT))
        return 0;
    snprintf(message, size, "%s", error->message);
    return -EIO;
}

/* The key on a line about `target`; NULL: it is about something else. Changes the line. */
static const char *key_on_line(char *line, const char *target)
{
    char *comment = strchr(line, '#');

    if (comment)
        *comment = '\0';
    g_strstrip(line);

    size_t name = strcspn(line, " \t");

    if (name != strlen(target) || g_ascii_strncasecmp(line, target, name))
        return NULL;
    return line + name + strspn(line + name, " \t");
}

int config_target_key(const char *target, uint8_t key[], char *message, size_t size)
{
    g_autofree char *path = config_path("known_targets");
    g_autofree char *text = NULL;
    int error = read_optional(path, &text, message, size);

    if (error)
        return error;

    g_auto(GStrv) lines = g_strsplit(text ? text : "", "\n", -1);

    for (unsigned i = 0; lines[i]; i++) {
        const char *found = key_on_line(lines[i], target);

        if (!found)
            continue;
        if (!key_from_text(found, key))
            return 0;
        snprintf(message, size, "%s:%u: the key of %s is not 44 characters of base64", path, i + 1,
                 target);
        return -EINVAL;
    }
    snprintf(message, size,
             "the key of this target is not known: give -o target_key=KEY (encsan-target prints "
             "it), or add to %s the line: %s KEY",
             path, target);
    return -ENOENT;
}

int config_mount(const char *mountpoint, char **source, char **options, char *message, size_t size)
{
    static const char *const as_options[] = {"key", "target_key"};
    g_autofree char *path = config_path("mounts.conf");
    g_autoptr(GKeyFile) file = g_key_file_new();
    g_autoptr(GError) error = NULL;

    *source = *options = NULL;
    if (!g_key_file_load_from_file(file, path, G_KEY_FILE_NONE, &error)) {
        if (g_error_matches(error, G_FILE_ERROR, G_FILE_ERROR_NOENT))
            return 0;
        snprintf(message, size, "%s: %s", path, error->message);
        return -EINVAL;
    }
    if (!g_key_file_has_group(file, mountpoint))
        return 0;

    *source = g_key_file_get_string(file, mountpoint, "url", NULL);
    if (!*source) {
        snprintf(message, size, "%s: [%s] has no line url=", path, mountpoint);
        return -EINVAL;
    }
    g_autoptr(GString) list = g_string_new(NULL);

    for (size_t i = 0; i < G_N_ELEMENTS(as_options); i++) {
        g_autofree char *value = g_key_file_get_string(file, mountpoint, as_options[i], NULL);

        if (value)
            g_string_append_printf(list, "%s%s=%s", list->len ? "," : "", as_options[i], value);
    }
    g_autofree char *more = g_key_file_get_string(file, mountpoint, "options", NULL);

    if (more)
        g_string_append_printf(list, "%s%s", list->len ? "," : "", more);
    *options = g_strdup(list->str);
    return 0;
}
