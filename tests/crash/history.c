// SPDX-License-Identifier: LGPL-2.1-or-later
/* Streams as the checker needs them: history.h. */
#include "history.h"

#include <stdio.h>

#include "file.h"
#include "world.h"

static void stream_free(gpointer data)
{
    struct stream *stream = data;

    g_free(stream->sums);
    g_free(stream->promised);
    g_hash_table_destroy(stream->files);
    g_free(stream->bytes);
    g_free(stream);
}

/* ---- promises ---- */

static bool concerns(const struct op *op, uint32_t ino)
{
    switch ((enum op_kind)op->kind) {
    case OP_WRITE:
    case OP_TRUNCATE:
    case OP_PUNCH:
    case OP_FSYNC:
        return false;
    default:
        return op->ino == ino || op->dir == ino || op->new_dir == ino;
    }
}

/* What an fsync promises of names and attributes: the last that was done to
 * this inode, and with it, as transactions follow each other, all before it. */
static unsigned promise_of(const struct stream *stream, unsigned fsync)
{
    for (unsigned i = fsync; i-- > 0;)
        if (concerns(&stream->ops[i], stream->ops[fsync].ino))
            return i + 1;
    return 0;
}

static void compute_promises(struct stream *stream)
{
    stream->promised = g_new0(unsigned, stream->count + 1);
    for (unsigned i = 0; i < stream->count; i++) {
        unsigned here = stream->ops[i].kind == OP_FSYNC ? promise_of(stream, i) : 0;

        stream->promised[i + 1] = MAX(stream->promised[i], here);
    }
}

/* How many operations had ended, or begun, when the log was that long. */
static unsigned count_until(const struct stream *stream, uint64_t position, bool ended)
{
    unsigned low = 0, high = stream->count;

    while (low < high) {
        unsigned middle = (low + high) / 2;
        const struct op *op = &stream->ops[middle];

        if ((ended ? op->end : op->begin) <= position)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

struct moments history_moments(const struct stream *stream, uint64_t position)
{
    if (position >= stream->unmounted)
        return (struct moments){stream->count, stream->count};
    return (struct moments){stream->promised[count_until(stream, position, true)],
                            count_until(stream, position, false)};
}

/* ---- reading ---- */

static struct file *file_at(const struct stream *stream, uint32_t ino, unsigned moment)
{
    GPtrArray *files = g_hash_table_lookup(stream->files, GUINT_TO_POINTER(ino));

    for (guint i = files ? files->len : 0; i-- > 0;) {
        struct file *file = g_ptr_array_index(files, i);

        if (file->created < moment)
            return file;
    }
    return NULL;
}

static void add_file(struct stream *stream, uint32_t ino, unsigned index)
{
    GPtrArray *files = g_hash_table_lookup(stream->files, GUINT_TO_POINTER(ino));

    if (!files) {
        files = g_ptr_array_new_with_free_func(file_free);
        g_hash_table_insert(stream->files, GUINT_TO_POINTER(ino), files);
    }
    g_ptr_array_add(files, file_new(stream, index));
}

static void add_operation(struct stream *stream, const struct world *world, unsigned index)
{
    const struct op *op = &stream->ops[index];
    struct file *file = file_at(stream, op->ino, index);

    switch ((enum op_kind)op->kind) {
    case OP_CREATE:
        add_file(stream, op->ino, index);
        return;
    case OP_WRITE:
    case OP_TRUNCATE:
    case OP_PUNCH:
        file_change(file, index);
        return;
    case OP_FSYNC:
        if (file)
            file_fsync(file, op->end);
        return;
    case OP_RENAME:
        if (file && world_edge(world, op->new_dir, op->new_name))
            file_replaces(file, index);
        return;
    default:
        return;
    }
}

static void compute(struct stream *stream)
{
    struct world *world = world_new(stream->number);

    stream->sums = g_new(uint64_t, stream->count + 1);
    stream->sums[0] = 0;
    for (unsigned i = 0; i < stream->count; i++) {
        add_operation(stream, world, i);
        world_apply(world, &stream->ops[i], i);
        stream->sums[i + 1] = world->sum;
    }
    world_free(world);
    compute_promises(stream);
}

static struct stream *read_stream(const char *path, unsigned number, uint64_t unmounted,
                                  GError **error)
{
    struct stream *stream;
    char *bytes;
    gsize size;

    if (!g_file_get_contents(path, &bytes, &size, error))
        return NULL;
    stream = g_new0(struct stream, 1);
    stream->number = number;
    stream->unmounted = unmounted;
    stream->bytes = bytes;
    stream->ops = (const struct op *)(const void *)bytes;
    stream->count = (unsigned)(size / sizeof(struct op));
    stream->files = g_hash_table_new_full(NULL, NULL, NULL, (GDestroyNotify)g_ptr_array_unref);
    compute(stream);
    return stream;
}

GPtrArray *history_read(const char *folder, uint64_t unmounted)
{
    GPtrArray *streams = g_ptr_array_new_with_free_func(stream_free);
    g_autoptr(GError) error = NULL;

    while (!error) {
        g_autofree char *path = g_strdup_printf("%s/ops.%u", folder, streams->len);
        struct stream *stream = read_stream(path, streams->len, unmounted, &error);

        if (stream)
            g_ptr_array_add(streams, stream);
    }
    if (streams->len && g_error_matches(error, G_FILE_ERROR, G_FILE_ERROR_NOENT))
        return streams;
    fprintf(stderr, "check: %s\n", error->message);
    g_ptr_array_unref(streams);
    return NULL;
}

char *history_check_file(const struct stream *stream, const struct found_file *found,
                         unsigned moment, uint64_t position)
{
    const struct file *file = file_at(stream, found->ino, moment);

    if (!file)
        return g_strdup("it was no regular file");
    return file_check(file, found, moment, position);
}
