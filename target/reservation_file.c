// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Persistent reservations that outlive a restart (APTPL), in a file where the
 * state of a sealed disk would be: lines of text, the last one a checksum of
 * those before it.
 *
 *   encsan reservations 1
 *   generation GENERATION type TYPE
 *   holder ISID NAME                    where the type has a single one
 *   registration KEY ISID NAME          as many as there are
 *   sha256 SUM
 *
 * It is replaced as a whole. A damaged one is an error: nobody gets access that
 * somebody else has reserved.
 */
#include "reservation.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <glib.h>

#include "state.h"

#define FIRST_LINE "encsan reservations 1"
#define SUM_PREFIX "sha256 "

/* ---- writing ---- */

static void put_port(GString *out, const struct port *port)
{
    for (size_t i = 0; i < sizeof port->isid; i++)
        g_string_append_printf(out, "%02x", port->isid[i]);
    g_string_append_printf(out, " %s\n", port->name);
}

static char *to_text(const struct reservations *r)
{
    GString *out = g_string_new(FIRST_LINE "\n");
    g_autofree char *sum = NULL;

    g_string_append_printf(out, "generation %" PRIu32 " type %u\n", r->generation, r->type);
    if (r->type != RESERVATION_NONE && !reservation_is_all_registrants(r->type)) {
        g_string_append(out, "holder ");
        put_port(out, &r->holder);
    }
    for (unsigned i = 0; i < r->count; i++) {
        g_string_append_printf(out, "registration %016" PRIx64 " ", r->registrations[i].key);
        put_port(out, &r->registrations[i].port);
    }
    sum = g_compute_checksum_for_string(G_CHECKSUM_SHA256, out->str, -1);
    g_string_append_printf(out, SUM_PREFIX "%s\n", sum);
    return g_string_free(out, FALSE);
}

int reservations_save(const struct reservations *r)
{
    g_autofree char *text = NULL;

    if (!r->persist)
        return state_remove(r->path);
    text = to_text(r);
    errno = 0;
    if (!g_file_set_contents_full(r->path, text, -1,
                                  G_FILE_SET_CONTENTS_CONSISTENT | G_FILE_SET_CONTENTS_DURABLE,
                                  0600, NULL))
        return errno ? -errno : -EIO;
    return 0;
}

/* ---- reading ---- */

static bool parse_port(const char *text, struct port *port)
{
    unsigned isid[ISID_BYTES];
    int end = 0;

    if (sscanf(text, "%2x%2x%2x%2x%2x%2x %n", &isid[0], &isid[1], &isid[2], &isid[3], &isid[4],
               &isid[5], &end) != ISID_BYTES ||
        end == 0 || text[end] == 0 ||
        g_strlcpy(port->name, text + end, sizeof port->name) >= sizeof port->name)
        return false;
    for (size_t i = 0; i < sizeof port->isid; i++)
        port->isid[i] = (uint8_t)isid[i];
    return true;
}

static bool parse_line(struct reservations *r, const char *line)
{
    struct registration *next = &r->registrations[r->count];
    unsigned type;
    int end = 0;

    if (sscanf(line, "generation %" SCNu32 " type %u", &r->generation, &type) == 2) {
        r->type = type;
        return type == RESERVATION_NONE || reservation_is_type(type);
    }
    if (g_str_has_prefix(line, "holder "))
        return parse_port(line + strlen("holder "), &r->holder);
    if (r->count == REGISTRATIONS_MAX ||
        sscanf(line, "registration %" SCNx64 " %n", &next->key, &end) != 1 || end == 0)
        return false;
    r->count++;
    return parse_port(line + end, &next->port);
}

static bool is_consistent(const struct reservations *r)
{
    return r->type == RESERVATION_NONE ||
           (reservation_is_all_registrants(r->type) ? r->count > 0
                                                    : reservation_find(r, &r->holder) != NULL);
}

/* `text` is taken apart. */
static bool parse(struct reservations *r, char *text)
{
    char *sum = g_strrstr(text, SUM_PREFIX);
    g_autofree char *expected = NULL;
    g_auto(GStrv) lines = NULL;
    bool ok = true;

    if (!sum || sum == text)
        return false;
    expected =
        g_compute_checksum_for_data(G_CHECKSUM_SHA256, (const guchar *)text, (gsize)(sum - text));
    if (strcmp(g_strchomp(sum + strlen(SUM_PREFIX)), expected) != 0)
        return false;
    sum[-1] = 0;
    lines = g_strsplit(text, "\n", -1);
    if (strcmp(lines[0], FIRST_LINE) != 0)
        return false;
    for (unsigned i = 1; ok && lines[i]; i++)
        ok = parse_line(r, lines[i]);
    return ok && is_consistent(r);
}

static bool load(struct reservations *r, char *message, size_t size)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *text = NULL;

    if (!g_file_get_contents(r->path, &text, NULL, &error)) {
        if (g_error_matches(error, G_FILE_ERROR, G_FILE_ERROR_NOENT))
            return true;
        snprintf(message, size, "%s", error->message);
        return false;
    }
    r->persist = true;
    if (parse(r, text))
        return true;
    snprintf(message, size,
             "%s: damaged, so nobody knows who has reserved the disk; remove it to free the disk",
             r->path);
    return false;
}

char *reservations_path(const char *disk, const char *folder, char *message, size_t size)
{
    return state_path_with(".encsan-reservations", disk, folder, message, size);
}

struct reservations *reservations_open(const char *path, char *message, size_t size)
{
    struct reservations *r = calloc(1, sizeof *r);

    if (!r) {
        snprintf(message, size, "%s: out of memory", path);
        return NULL;
    }
    r->path = g_strdup(path);
    if (load(r, message, size))
        return r;
    reservations_close(r);
    return NULL;
}

void reservations_close(struct reservations *r)
{
    if (!r)
        return;
    g_free(r->path);
    free(r);
}
