// SPDX-License-Identifier: LGPL-2.1-or-later
/* What a file may hold: file.h. */
#include "file.h"

#include <string.h>

#define SECTOR 512u
#define BLOCK 4096u
#define NOTHING G_MAXUINT      /* as a source: zeros */
#define BEYOND (G_MAXUINT - 1) /* as a source: the version ends before */

struct file *file_new(const struct stream *stream, unsigned created)
{
    struct file *file = g_new0(struct file, 1);

    file->stream = stream;
    file->created = created;
    file->changes = g_array_new(FALSE, FALSE, sizeof(struct change));
    file->promises = g_array_new(FALSE, FALSE, sizeof(struct promise));
    return file;
}

void file_free(gpointer data)
{
    struct file *file = data;

    g_array_free(file->changes, TRUE);
    g_array_free(file->promises, TRUE);
    g_free(file);
}

static uint64_t size_of(const struct file *file, unsigned version)
{
    return version ? g_array_index(file->changes, struct change, version - 1).size : 0;
}

/* The change that made this version of the one before. */
static const struct op *change_to(const struct file *file, unsigned version)
{
    return &file->stream->ops[g_array_index(file->changes, struct change, version - 1).index];
}

void file_change(struct file *file, unsigned index)
{
    const struct op *op = &file->stream->ops[index];
    struct change change = {index, size_of(file, file->changes->len)};

    if (op->kind == OP_WRITE)
        change.size = MAX(change.size, op->offset + op->length);
    else if (op->kind == OP_TRUNCATE)
        change.size = op->length;
    g_array_append_val(file->changes, change);
}

void file_fsync(struct file *file, uint64_t position)
{
    struct promise promise = {position, G_MAXUINT, file->changes->len};

    g_array_append_val(file->promises, promise);
}

void file_replaces(struct file *file, unsigned index)
{
    struct promise promise = {UINT64_MAX, index + 1, file->changes->len};

    g_array_append_val(file->promises, promise);
}

/* ---- where bytes come from ---- */

/* One look at a file: versions `first` to `last` may be there, `whole` is the one
 * whose truncations and holes are there. */
struct view {
    const struct file *file;
    const struct found_file *found;
    unsigned first, last, whole;
};

/* Does this change put zeros there, or cut it off? */
static bool clears(const struct file *file, unsigned version, uint64_t at)
{
    const struct op *op = change_to(file, version);

    if (op->kind == OP_TRUNCATE)
        return at >= op->length;
    return op->kind == OP_PUNCH && at >= op->offset && at - op->offset < op->length;
}

static bool writes(const struct file *file, unsigned version, uint64_t at)
{
    const struct op *op = change_to(file, version);

    return op->kind == OP_WRITE && at >= op->offset && at - op->offset < op->length;
}

/* The operation whose bytes are there in that version. */
static unsigned source(const struct file *file, unsigned version, uint64_t at)
{
    if (at >= size_of(file, version))
        return BEYOND;
    for (; version > 0; version--) {
        if (writes(file, version, at))
            return g_array_index(file->changes, struct change, version - 1).index;
        if (clears(file, version, at))
            return NOTHING;
    }
    return NOTHING;
}

static bool holds(const struct view *view, unsigned from, uint64_t at, size_t count)
{
    uint8_t expected[SECTOR] = {0};

    if (from != NOTHING)
        op_fill(view->file->stream->number, from, at, expected, count);
    return memcmp(expected, view->found->bytes + at, count) == 0;
}

/* A truncation puts zeros behind the new end of the file's last block, and may do
 * so before the new size is there. */
static bool may_be_cut(const struct view *view, uint64_t at)
{
    for (unsigned version = view->first + 1; version <= view->last; version++) {
        const struct op *op = change_to(view->file, version);

        if (op->kind == OP_TRUNCATE && op->length % BLOCK && at >= op->length &&
            at / BLOCK == op->length / BLOCK)
            return true;
    }
    return false;
}

/* Within a sector, and no change begins or ends inside. */
static bool piece_is_right(const struct view *view, uint64_t at, size_t count)
{
    unsigned first = view->first, tried = BEYOND;

    for (unsigned version = view->whole; version > first; version--)
        if (clears(view->file, version, at))
            first = version;
    for (unsigned version = view->last + 1; version-- > first;) {
        unsigned from = source(view->file, version, at);

        if (from == BEYOND || from == tried)
            continue;
        if (holds(view, from, at, count))
            return true;
        tried = from;
    }
    return may_be_cut(view, at) && holds(view, NOTHING, at, count);
}

/* ---- pieces ---- */

static gint compare(gconstpointer a, gconstpointer b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return x < y ? -1 : x > y;
}

static void add_border(GArray *borders, uint64_t at, uint64_t size)
{
    if (at < size)
        g_array_append_val(borders, at);
}

/* Where a change begins or ends, sorted, and the end. */
static GArray *borders_of(const struct view *view)
{
    GArray *borders = g_array_new(FALSE, FALSE, sizeof(uint64_t));
    uint64_t size = view->found->size;

    for (unsigned version = 1; version <= view->last; version++) {
        const struct op *op = change_to(view->file, version);

        add_border(borders, op->kind == OP_TRUNCATE ? op->length : op->offset, size);
        if (op->kind != OP_TRUNCATE)
            add_border(borders, op->offset + op->length, size);
        add_border(borders, size_of(view->file, version), size);
    }
    g_array_sort(borders, compare);
    g_array_append_val(borders, size);
    return borders;
}

/* The first byte that no version explains; UINT64_MAX: there is none. */
static uint64_t first_wrong(const struct view *view)
{
    g_autoptr(GArray) borders = borders_of(view);
    uint64_t at = 0;

    for (guint i = 0; i < borders->len; i++) {
        uint64_t border = g_array_index(borders, uint64_t, i);

        while (at < border) {
            uint64_t end = MIN(border, (at / SECTOR + 1) * SECTOR);

            if (!piece_is_right(view, at, (size_t)(end - at)))
                return at;
            at = end;
        }
    }
    return UINT64_MAX;
}

/* ---- versions ---- */

static bool size_fits(const struct file *file, unsigned version, unsigned last, uint64_t size)
{
    if (size == size_of(file, version))
        return true;
    return version < last && size > size_of(file, version) && size < size_of(file, version + 1);
}

static unsigned promised(const struct file *file, unsigned moment, uint64_t position)
{
    unsigned version = position >= file->stream->unmounted ? file->changes->len : 0;

    for (guint i = 0; i < file->promises->len; i++) {
        struct promise promise = g_array_index(file->promises, struct promise, i);

        if (promise.position <= position || promise.moment <= moment)
            version = MAX(version, promise.version);
    }
    return version;
}

static unsigned begun(const struct file *file, uint64_t position)
{
    unsigned version = file->changes->len;

    while (version > 0 && change_to(file, version)->begin > position)
        version--;
    return version;
}

/* What stands at a place that is wrong. */
static const char *what_is_at(const struct found_file *found, uint64_t at)
{
    for (uint64_t i = at; i < found->size && i < at + 16; i++)
        if (found->bytes[i])
            return "bytes that were never written there";
    return "zeros where bytes were written";
}

char *file_check(const struct file *file, const struct found_file *found, unsigned moment,
                 uint64_t position)
{
    struct view view = {file, found, promised(file, moment, position), begun(file, position), 0};
    uint64_t wrong = UINT64_MAX;
    bool fits = false;

    for (view.whole = view.first; view.whole <= view.last; view.whole++) {
        if (!size_fits(file, view.whole, view.last, found->size))
            continue;
        fits = true;
        wrong = first_wrong(&view);
        if (wrong == UINT64_MAX)
            return NULL;
    }
    if (!fits)
        return g_strdup_printf("%" G_GUINT64_FORMAT
                               " bytes: the size of none of its versions %u to %u",
                               found->size, view.first, view.last);
    return g_strdup_printf("%s: at %" G_GUINT64_FORMAT " of %" G_GUINT64_FORMAT
                           " (versions %u to %u may be there)",
                           what_is_at(found, wrong), wrong, found->size, view.first, view.last);
}
