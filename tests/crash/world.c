// SPDX-License-Identifier: LGPL-2.1-or-later
/* What operations do to names and attributes: world.h. */
#include "world.h"

#include <unistd.h>

static void node_free(gpointer data)
{
    struct node *node = data;

    if (node->fd >= 0)
        close(node->fd);
    g_free(node);
}

struct world *world_new(unsigned stream)
{
    struct world *world = g_new0(struct world, 1);

    world->stream = stream;
    world->nodes = g_ptr_array_new_with_free_func(node_free);
    world->edges = g_array_new(FALSE, FALSE, sizeof(struct edge));
    return world;
}

void world_free(struct world *world)
{
    g_ptr_array_free(world->nodes, TRUE);
    g_array_free(world->edges, TRUE);
    g_free(world);
}

struct node *world_node(const struct world *world, uint32_t ino)
{
    for (guint i = 0; i < world->nodes->len; i++) {
        struct node *node = g_ptr_array_index(world->nodes, i);

        if (node->ino == ino)
            return node;
    }
    return NULL;
}

struct edge *world_edge(const struct world *world, uint32_t dir, uint32_t name)
{
    for (guint i = 0; i < world->edges->len; i++) {
        struct edge *edge = &g_array_index(world->edges, struct edge, i);

        if (edge->dir == dir && edge->name == name)
            return edge;
    }
    return NULL;
}

uint64_t world_hash_edge(const struct edge *edge)
{
    return op_mix(op_mix(edge->dir, edge->name), edge->ino);
}

/* Sizes are not in it: bytes may reach the disk later than what follows them. */
uint64_t world_hash_node(const struct node *node)
{
    uint64_t hash = op_mix(op_mix(node->ino, node->mode), node->target);

    if (!S_ISDIR(node->mode))
        hash = op_mix(hash, node->links);
    for (unsigned i = 0; i < OP_XATTRS; i++)
        hash = op_mix(hash, node->xattrs[i]);
    return hash;
}

/* ---- names ---- */

static void add_edge(struct world *world, uint32_t dir, uint32_t name, uint32_t ino)
{
    struct edge edge = {dir, name, ino};

    g_array_append_val(world->edges, edge);
    world->sum += world_hash_edge(&edge);
}

static void remove_edge(struct world *world, struct edge *edge)
{
    world->sum -= world_hash_edge(edge);
    g_array_remove_index_fast(world->edges, (guint)(edge - (struct edge *)world->edges->data));
}

static void add_node(struct world *world, const struct op *op, unsigned index)
{
    struct node *node = g_new0(struct node, 1);
    char text[OP_VALUE_BYTES_MAX + 1];

    node->ino = op->ino;
    node->links = 1;
    node->fd = -1;
    if (op->kind == OP_SYMLINK) {
        op_text(world->stream, index, text, op->length);
        node->mode = S_IFLNK | 0777;
        node->target = op_hash_bytes(text, op->length);
    } else {
        node->mode = (op->kind == OP_MKDIR ? S_IFDIR : S_IFREG) | (mode_t)op->length;
    }
    g_ptr_array_add(world->nodes, node);
    world->sum += world_hash_node(node);
    add_edge(world, op->dir, op->name, op->ino);
}

static void change_links(struct world *world, struct node *node, int by)
{
    world->sum -= world_hash_node(node);
    node->links += (unsigned)by;
    if (node->links == 0)
        g_ptr_array_remove_fast(world->nodes, node);
    else
        world->sum += world_hash_node(node);
}

static void remove_name(struct world *world, struct edge *edge)
{
    uint32_t ino = edge->ino;

    remove_edge(world, edge);
    change_links(world, world_node(world, ino), -1);
}

static void rename_edge(struct world *world, const struct op *op)
{
    struct edge *old = world_edge(world, op->new_dir, op->new_name);

    if (old)
        remove_name(world, old);
    remove_edge(world, world_edge(world, op->dir, op->name));
    add_edge(world, op->new_dir, op->new_name, op->ino);
}

static void set_xattr(struct world *world, const struct op *op, unsigned index)
{
    struct node *node = world_node(world, op->ino);
    char text[OP_VALUE_BYTES_MAX + 1];

    op_text(world->stream, index, text, op->length);
    world->sum -= world_hash_node(node);
    node->xattrs[op->offset] = op->length ? op_hash_bytes(text, op->length) : 0;
    world->sum += world_hash_node(node);
}

/* ---- data ---- */

static void change_data(struct world *world, const struct op *op)
{
    struct node *node = world_node(world, op->ino);

    if (!node) /* unlinked, and still open */
        return;
    node->changes++;
    if (op->kind == OP_WRITE)
        node->size = MAX(node->size, op->offset + op->length);
    else if (op->kind == OP_TRUNCATE)
        node->size = op->length;
}

void world_apply(struct world *world, const struct op *op, unsigned index)
{
    switch ((enum op_kind)op->kind) {
    case OP_CREATE:
    case OP_MKDIR:
    case OP_SYMLINK:
        add_node(world, op, index);
        return;
    case OP_LINK:
        add_edge(world, op->new_dir, op->new_name, op->ino);
        change_links(world, world_node(world, op->ino), 1);
        return;
    case OP_UNLINK:
    case OP_RMDIR:
        remove_name(world, world_edge(world, op->dir, op->name));
        return;
    case OP_RENAME:
        rename_edge(world, op);
        return;
    case OP_XATTR:
        set_xattr(world, op, index);
        return;
    case OP_WRITE:
    case OP_TRUNCATE:
    case OP_PUNCH:
        change_data(world, op);
        return;
    case OP_FSYNC:
        return;
    }
}
