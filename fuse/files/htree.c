// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Hash trees. Block 0 is the root, with "." and ".." before its index; nodes look like a
 * free entry over the whole block. An index is an array of (hash, block), by hash: the block
 * has the names from that hash on. The first one's hash is 0, and its place holds how many
 * there are and may be. Leaves are ordinary blocks of entries in no order.
 *
 * Hashes are even. Where names of one hash fill more than a leaf the index has the hash of
 * the next leaf plus 1: it continues the one before.
 *
 * Each step of an insertion (a leaf or a node becomes two, a level more) leaves a whole
 * tree behind; then the name looks for its place anew.
 */
#include "htree.h"

#include <errno.h>
#include <string.h>

G_STATIC_ASSERT(G_BYTE_ORDER == G_LITTLE_ENDIAN); /* ext4's */

#define DOT_BYTES 12 /* the length of "." and, in a leaf, the least of ".." */
#define INFO_AT 24
#define ROOT_INDEX_AT 32
#define NODE_INDEX_AT 8
#define LEVELS_MAX 3 /* with large_dir; 2 without */
#define BLOCK_MASK 0x0fffffffu
#define HASH_EOF 0xfffffffeu /* is no name's hash: the kernel's end of a listing */
#define NEXT_LEAVES 256      /* that a listing asks for at once */
#define FIRST_COOKIE 3u      /* after "." and ".." */

struct node {
    struct dirblock block;
    unsigned at; /* the way that was taken */
};

struct path { /* from the root to a leaf */
    unsigned depth;
    struct node nodes[LEVELS_MAX];
};

bool htree_is(const struct inode *dir)
{
    return dir->raw.i_flags & EXT2_INDEX_FL;
}

bool htree_may_be(struct fs *fs, const struct inode *dir)
{
    return htree_is(dir) ||
           (ext2fs_has_feature_dir_index(fs->ext2->super) &&
            fs->ext2->super->s_def_hash_version <= EXT2_HASH_TEA && dirblock_count(fs, dir) == 1);
}

/* ---- hashes ---- */

static int hash_name(struct fs *fs, int version, const char *name, size_t len, uint32_t *hash,
                     uint32_t *minor)
{
    struct ext2_super_block *super = fs->ext2->super;
    errcode_t err;

    if (super->s_flags & EXT2_FLAGS_UNSIGNED_HASH)
        version += EXT2_HASH_LEGACY_UNSIGNED - EXT2_HASH_LEGACY;
    err = ext2fs_dirhash(version, name, (int)len, super->s_hash_seed, hash, minor);
    if (*hash == HASH_EOF)
        *hash -= 2;
    return fs_errno(err);
}

/* Positive, and different for names of one hash: some hashes have no minor half. */
static int name_cookie(struct fs *fs, int version, const char *name, size_t len, uint64_t *cookie)
{
    uint32_t hash, minor;
    int error = hash_name(fs, version, name, len, &hash, &minor);

    minor ^= ext2fs_crc32c_le(~0u, (const unsigned char *)name, len);
    *cookie = MAX((uint64_t)(hash >> 1) << 32 | minor, FIRST_COOKIE);
    return error;
}

static uint32_t cookie_hash(uint64_t cookie)
{
    return (uint32_t)(cookie >> 32) << 1;
}

/* ---- the index of a node ---- */

static struct ext2_dx_root_info *root_info(struct node *root)
{
    return (struct ext2_dx_root_info *)(root->block.bytes + INFO_AT);
}

static struct ext2_dx_entry *index_of(struct node *node)
{
    return (struct ext2_dx_entry *)(node->block.bytes +
                                    (node->block.number == 0 ? ROOT_INDEX_AT : NODE_INDEX_AT));
}

static struct ext2_dx_countlimit *counts(struct node *node)
{
    return (struct ext2_dx_countlimit *)index_of(node);
}

static unsigned node_count(struct node *node)
{
    return counts(node)->count;
}

static bool is_full(struct node *node)
{
    return counts(node)->count == counts(node)->limit;
}

static unsigned index_limit(struct fs *fs, unsigned at)
{
    unsigned tail = ext2fs_has_feature_metadata_csum(fs->ext2->super) ? sizeof(struct ext2_dx_tail) : 0;

    return (fs->ext2->blocksize - at - tail) / sizeof(struct ext2_dx_entry);
}

static bool makes_sense(struct fs *fs, struct node *node)
{
    unsigned limit = index_limit(fs, node->block.number == 0 ? ROOT_INDEX_AT : NODE_INDEX_AT);

    return counts(node)->limit == limit && node_count(node) >= 1 && node_count(node) <= limit;
}

static uint32_t child(struct node *node)
{
    return index_of(node)[node->at].block & BLOCK_MASK;
}

/* The last one whose hash is not above. */
static void choose(struct node *node, uint32_t hash)
{
    unsigned low = 1, high = node_count(node); /* the place of the first that is above */

    while (low < high) {
        unsigned middle = (low + high) / 2;

        if (index_of(node)[middle].hash > hash)
            high = middle;
        else
            low = middle + 1;
    }
    node->at = low - 1;
}

static void insert_index(struct node *node, uint32_t hash, uint32_t block)
{
    struct ext2_dx_entry *index = index_of(node);
    unsigned at = node->at + 1;

    memmove(index + at + 1, index + at, (node_count(node) - at) * sizeof *index);
    index[at] = (struct ext2_dx_entry){hash, block};
    counts(node)->count++;
}

/* ---- paths ---- */

static unsigned most_levels(struct fs *fs)
{
    return ext2fs_has_feature_largedir(fs->ext2->super) ? LEVELS_MAX : LEVELS_MAX - 1;
}

static int read_root(struct fs *fs, struct inode *dir, struct path *path)
{
    struct node *root = &path->nodes[0];
    const struct ext2_dx_root_info *info = root_info(root);
    int error = dirblock_read(fs, dir, 0, &root->block);

    if (error)
        return error;
    path->depth = info->indirect_levels + 1u;
    if (info->reserved_zero || info->hash_version > EXT2_HASH_TEA || info->unused_flags & 1 ||
        info->info_length != sizeof *info || path->depth > most_levels(fs) || !makes_sense(fs, root))
        return -EUCLEAN;
    return 0;
}

static int read_node(struct fs *fs, struct inode *dir, uint32_t number, struct node *node)
{
    int error = number == 0 ? -EUCLEAN : dirblock_read(fs, dir, number, &node->block);

    return error || makes_sense(fs, node) ? error : -EUCLEAN;
}

/* To the leaf for this hash. The root has been read. */
static int descend(struct fs *fs, struct inode *dir, struct path *path, uint32_t hash)
{
    int error = 0;

    choose(&path->nodes[0], hash);
    for (unsigned i = 1; i < path->depth && !error; i++) {
        error = read_node(fs, dir, child(&path->nodes[i - 1]), &path->nodes[i]);
        if (!error)
            choose(&path->nodes[i], hash);
    }
    return error;
}

static int read_leaf(struct fs *fs, struct inode *dir, struct path *path, struct dirblock *leaf)
{
    uint32_t number = child(&path->nodes[path->depth - 1]);

    return number == 0 ? -EUCLEAN : dirblock_read(fs, dir, number, leaf);
}

/* To the next leaf, and the hash that the index has for it; -ENOENT: there is none. */
static int advance(struct fs *fs, struct inode *dir, struct path *path, uint32_t *hash)
{
    unsigned i = path->depth - 1;
    int error = 0;

    while (path->nodes[i].at + 1 >= node_count(&path->nodes[i])) {
        if (i == 0)
            return -ENOENT;
        i--;
    }
    path->nodes[i].at++;
    *hash = index_of(&path->nodes[i])[path->nodes[i].at].hash;
    for (i++; i < path->depth && !error; i++) {
        error = read_node(fs, dir, child(&path->nodes[i - 1]), &path->nodes[i]);
        path->nodes[i].at = 0;
    }
    return error;
}

/* Puts the path on the first leaf that may have the name. */
static int find_path(struct fs *fs, struct inode *dir, const char *name, struct path *path,
                     uint32_t *hash)
{
    uint32_t minor;
    int error = read_root(fs, dir, path);

    if (!error)
        error = hash_name(fs, root_info(&path->nodes[0])->hash_version, name, strlen(name), hash,
                          &minor);
    return error ? error : descend(fs, dir, path, *hash);
}

int htree_find(struct fs *fs, struct inode *dir, const char *name, struct dirblock *leaf,
               struct ext2_dir_entry **entry, struct ext2_dir_entry **previous)
{
    struct path path;
    uint32_t hash, next;
    int error = find_path(fs, dir, name, &path, &hash);

    while (!error) {
        error = read_leaf(fs, dir, &path, leaf);
        if (!error)
            error = dirblock_find(fs, leaf, name, entry, previous);
        if (error != -ENOENT)
            return error;
        error = advance(fs, dir, &path, &next);
        if (!error && next != (hash | 1))
            return -ENOENT;
    }
    return error;
}

/* ---- names in a leaf, by their hashes ---- */

struct named {
    uint32_t hash;
    uint64_t cookie;
    struct ext2_dir_entry *entry; /* in a block of the caller's */
};

static int compare_named(const void *a, const void *b)
{
    const struct named *x = a, *y = b;

    return x->cookie < y->cookie ? -1 : x->cookie > y->cookie;
}

static int add_named(struct fs *fs, int version, struct dirblock *leaf, GArray *all)
{
    uint32_t end = dirblock_end(fs), len;
    int error = 0;

    for (uint32_t at = 0; at < end && !error; at += len) {
        struct ext2_dir_entry *e = dirblock_entry(fs, leaf, at, &len);
        struct named named = {.entry = e};
        uint32_t minor;
        size_t name_len;

        if (!e)
            return -EUCLEAN;
        if (!e->inode || dirblock_is_dot(e))
            continue;
        name_len = (size_t)ext2fs_dirent_name_len(e);
        error = hash_name(fs, version, e->name, name_len, &named.hash, &minor);
        if (!error)
            error = name_cookie(fs, version, e->name, name_len, &named.cookie);
        g_array_append_val(all, named);
    }
    return error;
}

static int sort_named(struct fs *fs, int version, struct dirblock *leaf, GArray **all)
{
    int error;

    *all = g_array_new(FALSE, FALSE, sizeof(struct named));
    error = add_named(fs, version, leaf, *all);
    g_array_sort(*all, compare_named);
    return error;
}

/* ---- growth ---- */

static int put_names(struct fs *fs, struct dirblock *b, const GArray *names, guint from, guint to)
{
    int error = 0;

    dirblock_clear(fs, b);
    for (guint i = from; i < to && !error; i++) {
        const struct ext2_dir_entry *e = g_array_index(names, struct named, i).entry;

        error = dirblock_insert(fs, b, e->name, (size_t)ext2fs_dirent_name_len(e), e->inode,
                                ext2fs_dirent_file_type(e));
    }
    return error;
}

/* The first name for the new leaf: about half of the bytes go there. */
static guint middle_of(struct fs *fs, const GArray *names)
{
    uint32_t bytes = 0;
    guint i = names->len;

    while (i > 1 && bytes < fs->ext2->blocksize / 2) {
        const struct ext2_dir_entry *e = g_array_index(names, struct named, --i).entry;

        bytes += dirblock_entry_bytes((size_t)ext2fs_dirent_name_len(e));
    }
    return i;
}

static int move_half(struct fs *fs, struct inode *dir, struct node *parent, struct dirblock *leaf,
                     const GArray *names)
{
    guint middle = middle_of(fs, names);
    const struct named *first = &g_array_index(names, struct named, middle);
    bool continues = first->hash == first[-1].hash;
    struct dirblock low = {.number = leaf->number}, high;
    int error = put_names(fs, &high, names, middle, names->len);

    if (!error)
        error = put_names(fs, &low, names, 0, middle);
    if (!error)
        error = dirblock_append(fs, dir, &high);
    if (error)
        return error;
    insert_index(parent, first->hash + continues, high.number);
    error = dirblock_write(fs, dir, &low);
    return error ? error : dirblock_write(fs, dir, &parent->block);
}

static int split_leaf(struct fs *fs, struct inode *dir, struct path *path, struct dirblock *leaf)
{
    GArray *names;
    int error = sort_named(fs, root_info(&path->nodes[0])->hash_version, leaf, &names);

    if (!error)
        error = names->len < 2 ? -EUCLEAN
                               : move_half(fs, dir, &path->nodes[path->depth - 1], leaf, names);
    g_array_free(names, TRUE);
    return error;
}

/* A node with these, for the caller to append. */
static void fill_node(struct fs *fs, struct node *node, const struct ext2_dx_entry *index,
                      unsigned count)
{
    memset(node->block.bytes, 0, sizeof node->block.bytes);
    (void)ext2fs_set_rec_len(fs->ext2, fs->ext2->blocksize,
                             (struct ext2_dir_entry *)node->block.bytes);
    node->block.number = UINT32_MAX; /* but not the root's */
    memcpy(index_of(node), index, count * sizeof *index);
    counts(node)->limit = (uint16_t)index_limit(fs, NODE_INDEX_AT);
    counts(node)->count = (uint16_t)count;
}

static int split_node(struct fs *fs, struct inode *dir, struct node *parent, struct node *node)
{
    unsigned keep = node_count(node) / 2;
    uint32_t hash = index_of(node)[keep].hash;
    struct node high;
    int error;

    fill_node(fs, &high, index_of(node) + keep, node_count(node) - keep);
    error = dirblock_append(fs, dir, &high.block);
    if (error)
        return error;
    insert_index(parent, hash, high.block.number);
    counts(node)->count = (uint16_t)keep;
    error = dirblock_write(fs, dir, &node->block);
    return error ? error : dirblock_write(fs, dir, &parent->block);
}

static int add_level(struct fs *fs, struct inode *dir, struct path *path)
{
    struct node *root = &path->nodes[0], below;
    int error;

    if (path->depth == most_levels(fs))
        return -ENOSPC;
    fill_node(fs, &below, index_of(root), node_count(root));
    error = dirblock_append(fs, dir, &below.block);
    if (error)
        return error;
    counts(root)->count = 1;
    index_of(root)->block = below.block.number;
    root_info(root)->indirect_levels++;
    return dirblock_write(fs, dir, &root->block);
}

/* One step towards room in this leaf. */
static int grow(struct fs *fs, struct inode *dir, struct path *path, struct dirblock *leaf)
{
    unsigned i = path->depth - 1;

    if (!is_full(&path->nodes[i]))
        return split_leaf(fs, dir, path, leaf);
    while (i > 0 && is_full(&path->nodes[i - 1]))
        i--;
    return i == 0 ? add_level(fs, dir, path)
                  : split_node(fs, dir, &path->nodes[i - 1], &path->nodes[i]);
}

int htree_add(struct fs *fs, struct inode *dir, const char *name, ext2_ino_t ino, int type)
{
    struct dirblock leaf;
    struct path path;
    uint32_t hash;
    int error;

    for (;;) {
        error = find_path(fs, dir, name, &path, &hash);
        if (!error)
            error = read_leaf(fs, dir, &path, &leaf);
        if (error)
            return error;
        error = dirblock_insert(fs, &leaf, name, strlen(name), ino, type);
        if (!error)
            return dirblock_write(fs, dir, &leaf);
        if (error == -ENOSPC)
            error = grow(fs, dir, &path, &leaf);
        if (error)
            return error;
    }
}

static void fill_root(struct fs *fs, struct node *root, uint32_t leaf)
{
    struct ext2_dir_entry *parent = (struct ext2_dir_entry *)(root->block.bytes + DOT_BYTES);

    (void)ext2fs_set_rec_len(fs->ext2, fs->ext2->blocksize - DOT_BYTES, parent);
    memset(root->block.bytes + INFO_AT, 0, fs->ext2->blocksize - INFO_AT);
    *root_info(root) = (struct ext2_dx_root_info){
        .hash_version = fs->ext2->super->s_def_hash_version, .info_length = 8};
    index_of(root)->block = leaf;
    *counts(root) = (struct ext2_dx_countlimit){(uint16_t)index_limit(fs, ROOT_INDEX_AT), 1};
}

/* "." and ".." are where a root has them. */
static bool begins_with_dots(struct fs *fs, struct dirblock *b)
{
    uint32_t first, second;
    struct ext2_dir_entry *dot = dirblock_entry(fs, b, 0, &first);
    struct ext2_dir_entry *parent = dot ? dirblock_entry(fs, b, DOT_BYTES, &second) : NULL;

    return parent && first == DOT_BYTES && ext2fs_dirent_name_len(dot) == 1 &&
           dirblock_is_dot(dot) && ext2fs_dirent_name_len(parent) == 2 && dirblock_is_dot(parent);
}

int htree_make(struct fs *fs, struct inode *dir)
{
    struct dirblock leaf;
    struct node root;
    GArray *names;
    int error = dirblock_read(fs, dir, 0, &root.block);

    if (error || !begins_with_dots(fs, &root.block))
        return error ? error : -EUCLEAN;
    error = sort_named(fs, fs->ext2->super->s_def_hash_version, &root.block, &names);
    if (!error)
        error = put_names(fs, &leaf, names, 0, names->len);
    g_array_free(names, TRUE);
    if (!error)
        error = dirblock_append(fs, dir, &leaf);
    if (error)
        return error;
    fill_root(fs, &root, leaf.number);
    dir->raw.i_flags |= EXT2_INDEX_FL;
    error = dirblock_write(fs, dir, &root.block);
    return error ? error : inode_write(fs, dir);
}

/* ---- listing ---- */

struct listing {
    struct fs *fs;
    int version;
    GPtrArray *blocks; /* that the names lie in */
    GArray *names;
    uint64_t after;
    int (*each)(void *opaque, const char *name, ext2_ino_t ino, int file_type, uint64_t cookie);
    void *opaque;
};

static struct dirblock *new_block(struct listing *l)
{
    struct dirblock *b = g_new(struct dirblock, 1);

    g_ptr_array_add(l->blocks, b);
    return b;
}

/* Tells the names of the blocks, in their order. True: enough. */
static bool tell(struct listing *l)
{
    char name[NAME_BYTES_MAX + 1];

    g_array_sort(l->names, compare_named);
    for (guint i = 0; i < l->names->len; i++) {
        const struct named *n = &g_array_index(l->names, struct named, i);
        size_t len = (size_t)ext2fs_dirent_name_len(n->entry);

        if (n->cookie <= l->after)
            continue;
        memcpy(name, n->entry->name, len);
        name[len] = 0;
        if (l->each(l->opaque, name, n->entry->inode, ext2fs_dirent_file_type(n->entry), n->cookie))
            return true;
    }
    g_array_set_size(l->names, 0);
    g_ptr_array_set_size(l->blocks, 0);
    return false;
}

/* A listing that waits for a leaf will want those behind it. */
static void want_next(struct listing *l, struct inode *dir, struct path *path)
{
    struct node *node = &path->nodes[path->depth - 1];
    unsigned end = MIN(node->at + NEXT_LEAVES, node_count(node));
    GArray *blocks = g_array_new(FALSE, FALSE, sizeof(uint64_t));
    uint64_t block;

    for (unsigned i = node->at; i < end; i++) {
        if (dirblock_place(l->fs, dir, index_of(node)[i].block & BLOCK_MASK, &block) == 0)
            g_array_append_val(blocks, block);
    }
    bufcache_want(l->fs->cache, blocks);
    g_array_free(blocks, TRUE);
}

/* The leaf of the path and those that continue it; then the path is on the next. */
static int read_leaves(struct listing *l, struct inode *dir, struct path *path)
{
    uint32_t next = 1;
    int error = 0;

    while (!error && next & 1) {
        struct dirblock *leaf = new_block(l);

        error = read_leaf(l->fs, dir, path, leaf);
        if (error == -EAGAIN)
            want_next(l, dir, path);
        if (!error)
            error = add_named(l->fs, l->version, leaf, l->names);
        if (!error)
            error = advance(l->fs, dir, path, &next);
    }
    return error;
}

static int list_tree(struct listing *l, struct inode *dir)
{
    struct path path;
    int error = read_root(l->fs, dir, &path);

    if (error)
        return error;
    l->version = root_info(&path.nodes[0])->hash_version;
    error = descend(l->fs, dir, &path, cookie_hash(l->after));
    while (!error) {
        error = read_leaves(l, dir, &path);
        if ((!error || error == -ENOENT) && tell(l))
            return 0;
    }
    return error == -ENOENT ? 0 : error;
}

static int list_block(struct listing *l, struct inode *dir)
{
    struct dirblock *b = new_block(l);
    int error = dirblock_read(l->fs, dir, 0, b);

    l->version = l->fs->ext2->super->s_def_hash_version;
    if (!error)
        error = add_named(l->fs, l->version, b, l->names);
    if (!error)
        tell(l);
    return error;
}

int htree_iterate(struct fs *fs, struct inode *dir, uint64_t after,
                  int (*each)(void *opaque, const char *name, ext2_ino_t ino, int file_type,
                              uint64_t cookie),
                  void *opaque)
{
    struct listing l = {.fs = fs, .after = after, .each = each, .opaque = opaque};
    int error;

    l.blocks = g_ptr_array_new_with_free_func(g_free);
    l.names = g_array_new(FALSE, FALSE, sizeof(struct named));
    error = htree_is(dir) ? list_tree(&l, dir) : list_block(&l, dir);
    g_array_free(l.names, TRUE);
    g_ptr_array_free(l.blocks, TRUE);
    return error;
}
