// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The names and attributes of one stream's files after so many of its
 * operations. Its `sum` stands for all of that: the sum of a hash for each name
 * and each inode, so that it is kept up to date by adding and subtracting, and
 * a tree that was found is compared with thousands of moments by one number.
 *
 * The workload chooses what to do from it, the checker compares with it.
 */
#ifndef CRASH_WORLD_H
#define CRASH_WORLD_H

#include <sys/stat.h>
#include <glib.h>

#include "op.h"

struct node {
    uint32_t ino;
    mode_t mode;                /* type and permissions */
    unsigned links;             /* of a directory: not kept */
    uint64_t target;            /* of a symlink: its hash */
    uint64_t xattrs[OP_XATTRS]; /* hashes of the values; 0: none */
    uint64_t size;
    unsigned changes; /* of data */
    int fd;           /* the workload's, of a directory; -1 */
};

struct edge {
    uint32_t dir, name, ino;
};

struct world {
    unsigned stream;
    GPtrArray *nodes; /* struct node, its own */
    GArray *edges;    /* struct edge */
    uint64_t sum;
};

struct world *world_new(unsigned stream);
void world_free(struct world *world);

/* Operations follow each other by index, from 0. */
void world_apply(struct world *world, const struct op *op, unsigned index);

struct node *world_node(const struct world *world, uint32_t ino); /* NULL: none */
struct edge *world_edge(const struct world *world, uint32_t dir, uint32_t name);

uint64_t world_hash_edge(const struct edge *edge);
uint64_t world_hash_node(const struct node *node);

#endif
