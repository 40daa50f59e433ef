// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Going ahead of who walks through a tree, as find, ls -R, du, rsync and rm -r do: each
 * directory would cost a round trip for its blocks, and one for the inodes of what is in it.
 * Here many are brought side by side, and then what was found in them, so that it is two
 * round trips for a level of the tree rather than for a directory.
 *
 * A directory that is foreseen is
 *
 *   AHEAD    in the queue of those to be brought, which is in the order of a walk: what is in
 *            a directory follows it, and then comes the next one.
 *   COMING   being brought.
 *   BROUGHT  with the inodes of what is in it; the directories there are AHEAD now.
 *
 * and no longer foreseen when somebody has listed it. How many blocks may lie here for
 * directories that nobody has listed yet is the budget. It is small for somebody who begins to
 * list at a place that was not foreseen, doubles with each directory that was, and is
 * never so much that the line needs long to bring it.
 */
#include "scout_tree.h"

#include <string.h>

#include "dirblock.h"

#define BUDGET_FIRST 256u  /* blocks */
#define BUDGET_SHARE 3     /* of the cache, at most */
#define BLOCKS_EACH 16     /* of a directory: more has who lists it, */
#define BLOCKS_LISTED 256  /* then so many */
#define BLOCKS_GUESSED 3   /* that a directory needs, with the inodes */
#define FORESEEN_MAX 16384 /* AHEAD, and BROUGHT */
#define SLOW_US 1000000    /* a batch that takes so long is too large */

struct foreseen {
    ext2_ino_t ino;
    enum { AHEAD, COMING, BROUGHT } state;
    bool listed;   /* before it was BROUGHT: then it will not be */
    size_t blocks; /* that were brought for it */
    GList link;    /* in tree->ahead or tree->brought */
};

struct scout_tree {
    struct fs *fs;
    GHashTable *foreseen; /* ext2_ino_t -> struct foreseen */
    GQueue ahead, brought; /* the latter as they came */
    size_t unlisted;       /* blocks of the latter */
    size_t budget, most;   /* most: now, as the line is */
    bool going;            /* scout_tree_go is, or will be */
    bool stopping;
};

/* Several that come at once. */
struct batch {
    struct finds f; /* first: what is noted gets this */
    GPtrArray *dirs; /* struct foreseen */
    GArray *found;   /* ext2_ino_t: directories in them */
    /* of the directory that is being looked into: */
    bool with_inodes;
    size_t blocks;
    uint64_t lowest, highest; /* with inodes of what is in it */
};

static size_t most_blocks(const struct fs *fs)
{
    return bufcache_limit(fs->cache) / BUDGET_SHARE;
}

struct scout_tree *scout_tree_new(struct fs *fs)
{
    struct scout_tree *tree = g_new0(struct scout_tree, 1);

    tree->fs = fs;
    tree->foreseen = g_hash_table_new_full(g_direct_hash, g_direct_equal, NULL, g_free);
    g_queue_init(&tree->ahead);
    g_queue_init(&tree->brought);
    tree->most = most_blocks(fs);
    return tree;
}

void scout_tree_free(struct scout_tree *tree)
{
    g_hash_table_destroy(tree->foreseen); /* the queues' links are there */
    g_free(tree);
}

void scout_tree_stop(struct scout_tree *tree)
{
    tree->stopping = true;
}

/* ---- what is foreseen ---- */

static struct foreseen *find(struct scout_tree *tree, ext2_ino_t ino)
{
    return g_hash_table_lookup(tree->foreseen, GUINT_TO_POINTER(ino));
}

static void forget(struct scout_tree *tree, struct foreseen *dir)
{
    if (dir->state == AHEAD)
        g_queue_unlink(&tree->ahead, &dir->link);
    if (dir->state == BROUGHT)
        g_queue_unlink(&tree->brought, &dir->link);
    tree->unlisted -= dir->blocks;
    g_hash_table_remove(tree->foreseen, GUINT_TO_POINTER(dir->ino)); /* frees it */
}

/* As the next one to be brought. */
static struct foreseen *foresee(struct scout_tree *tree, ext2_ino_t ino)
{
    struct foreseen *dir = g_new0(struct foreseen, 1);

    if (tree->ahead.length == FORESEEN_MAX)
        forget(tree, g_queue_peek_tail(&tree->ahead));
    dir->ino = ino;
    dir->state = AHEAD;
    dir->link.data = dir;
    g_queue_push_head_link(&tree->ahead, &dir->link);
    g_hash_table_insert(tree->foreseen, GUINT_TO_POINTER(ino), dir);
    return dir;
}

static void has_come(struct scout_tree *tree, struct foreseen *dir)
{
    if (tree->brought.length == FORESEEN_MAX)
        forget(tree, g_queue_peek_head(&tree->brought));
    dir->state = BROUGHT;
    g_queue_push_tail_link(&tree->brought, &dir->link);
    tree->unlisted += dir->blocks;
    if (dir->listed)
        forget(tree, dir);
}

static void foresee_all(struct scout_tree *tree, const GArray *inos)
{
    for (guint i = inos->len; i-- > 0;) { /* the first one in front of the others */
        ext2_ino_t ino = g_array_index(inos, ext2_ino_t, i);
        const struct inode *inode = inode_find(tree->fs, ino);

        if (!find(tree, ino) && !(inode && inode->scouted))
            foresee(tree, ino);
    }
}

/* It may have been skipped for good. */
static void count_no_more(struct scout_tree *tree, struct foreseen *dir)
{
    tree->unlisted -= dir->blocks;
    dir->blocks = 0;
}

/* Where nobody was expected: what was brought for others may be of no use. */
static void begin_anew(struct scout_tree *tree)
{
    for (GList *link = tree->brought.tail; link && tree->unlisted; link = link->prev)
        count_no_more(tree, link->data);
    tree->budget = MIN(BUDGET_FIRST, tree->most);
}

/* In an order of names perhaps, and not of the directory: those before it can wait. */
static void put_first(struct scout_tree *tree, const struct foreseen *dir)
{
    while (tree->ahead.head->data != dir)
        g_queue_push_tail_link(&tree->ahead, g_queue_pop_head_link(&tree->ahead));
}

/* With so many that come already. */
static bool may_come(const struct scout_tree *tree, size_t coming)
{
    const struct foreseen *next = tree->ahead.head ? tree->ahead.head->data : NULL;

    return next && (next->listed || tree->unlisted + coming * BLOCKS_GUESSED < tree->budget);
}

/* ---- bringing ---- */

static void note_block(struct finds *f, uint64_t block)
{
    g_array_append_val(f->blocks, block);
}

static bool is_dir(const struct inode *inode)
{
    return LINUX_S_ISDIR(inode->raw.i_mode); /* and not what has its number by now */
}

/* Its first blocks, where its inode says that they are. */
static void note_blocks(struct finds *f, struct inode *dir)
{
    uint32_t count = is_dir(dir) ? dirblock_count(f->fs, dir) : 0;
    uint64_t block;

    count = MIN(count, dir->scouted ? BLOCKS_LISTED : BLOCKS_EACH);
    for (uint32_t n = 0; n < count; n++)
        if (dirblock_place(f->fs, dir, n, &block) == 0)
            note_block(f, block);
}

static bool is_dot(const char *name)
{
    return strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

static int note_child(void *opaque, const char *name, ext2_ino_t ino, int type, uint64_t cookie)
{
    struct batch *b = opaque;
    uint64_t block = inode_table_block(b->f.fs, ino);

    if (is_dot(name))
        return 0;
    if (type == EXT2_FT_DIR)
        g_array_append_val(b->found, ino);
    if (b->with_inodes && !bufcache_has(b->f.fs->cache, block)) {
        note_block(&b->f, block);
        b->lowest = MIN(b->lowest, block);
        b->highest = MAX(b->highest, block);
    }
    return b->found->len >= FORESEEN_MAX || b->f.blocks->len >= most_blocks(b->f.fs);
}

/* The inodes of what is in it, unless that is very much. */
static void note_children(struct finds *f, struct inode *dir)
{
    struct batch *b = (struct batch *)f;
    guint before = f->blocks->len;
    uint32_t count = is_dir(dir) ? dirblock_count(f->fs, dir) : 0;

    b->with_inodes = count <= BLOCKS_EACH;
    b->lowest = UINT64_MAX;
    b->highest = 0;
    if (count > 0)
        dir_iterate(f->fs, dir, 0, note_child, b);
    b->blocks = MIN(count, BLOCKS_EACH);
    if (f->blocks->len > before) /* most have their block in common with others */
        b->blocks += MIN(f->blocks->len - before, b->highest - b->lowest + 1);
}

static void take_batch(struct scout_tree *tree, struct batch *b)
{
    g_ptr_array_set_size(b->dirs, 0);
    g_array_set_size(b->f.inos, 0);
    g_array_set_size(b->found, 0);
    while (may_come(tree, b->dirs->len)) {
        struct foreseen *dir = g_queue_pop_head_link(&tree->ahead)->data;

        dir->state = COMING;
        g_ptr_array_add(b->dirs, dir);
        g_array_append_val(b->f.inos, dir->ino);
    }
}

/* Those from the i-th on wait for the next time. */
static void put_back(struct scout_tree *tree, struct batch *b, guint i)
{
    for (guint last = b->dirs->len; last-- > i;) {
        struct foreseen *dir = b->dirs->pdata[last];

        dir->state = AHEAD;
        g_queue_push_head_link(&tree->ahead, &dir->link);
    }
    g_ptr_array_set_size(b->dirs, i);
}

/* Looks at those whose blocks are there, for as long as the budget allows. */
static void look_into(struct scout_tree *tree, struct batch *b)
{
    size_t blocks = 0;
    guint i = 0;

    g_array_set_size(b->f.blocks, 0);
    for (; i < b->dirs->len; i++) {
        struct foreseen *dir = b->dirs->pdata[i];

        if (i > 0 && !dir->listed && tree->unlisted + blocks >= tree->budget)
            break;
        b->blocks = 0;
        scout_each(&b->f, i, i + 1, note_children);
        dir->blocks = b->blocks;
        blocks += b->blocks;
    }
    put_back(tree, b, i);
    foresee_all(tree, b->found);
}

static void bring_batch(struct scout_tree *tree, struct batch *b)
{
    struct finds *f = &b->f;

    scout_bring_inodes(f, 0, f->inos->len);
    scout_bring_from_each(f, 0, f->inos->len, note_blocks);
    look_into(tree, b);
    bufcache_bring_ahead(f->fs->cache, f->blocks, &f->fs->lock);
    for (guint i = 0; i < b->dirs->len; i++)
        has_come(tree, b->dirs->pdata[i]);
}

/* What others read waits for it, too. */
static void adapt(struct scout_tree *tree, int64_t took_us)
{
    tree->most = took_us > SLOW_US ? MAX(tree->most / 2, BUDGET_FIRST)
                                   : MIN(tree->most * 2, most_blocks(tree->fs));
    tree->budget = MIN(tree->budget, tree->most);
}

void scout_tree_go(struct finds *f, void *opaque)
{
    struct scout_tree *tree = opaque;
    struct batch b = {.f = *f,
                      .dirs = g_ptr_array_new(),
                      .found = g_array_new(FALSE, FALSE, sizeof(ext2_ino_t))};

    while (!tree->stopping && (take_batch(tree, &b), b.dirs->len > 0)) {
        int64_t began_us = g_get_monotonic_time();

        bring_batch(tree, &b);
        adapt(tree, g_get_monotonic_time() - began_us);
    }
    tree->going = false;
    g_ptr_array_free(b.dirs, TRUE);
    g_array_free(b.found, TRUE);
}

/* ---- who lists ---- */

static int note_dir(void *opaque, const char *name, ext2_ino_t ino, int type, uint64_t cookie)
{
    if (type == EXT2_FT_DIR && !is_dot(name))
        g_array_append_val((GArray *)opaque, ino);
    return 0;
}

static void foresee_in(struct scout_tree *tree, struct inode *dir)
{
    struct bufcache_tries tries = {0};
    GArray *found;

    if (dirblock_count(tree->fs, dir) > BLOCKS_EACH)
        return;
    found = g_array_new(FALSE, FALSE, sizeof(ext2_ino_t));
    bufcache_try(tree->fs->cache, &tries);
    dir_iterate(tree->fs, dir, 0, note_dir, found);
    bufcache_end_try(tree->fs->cache);
    foresee_all(tree, found);
    g_array_free(found, TRUE);
}

/* Those in it may be listed before it has come here: they are foreseen now. */
static void listed_early(struct scout_tree *tree, struct foreseen *dir, struct inode *inode)
{
    if (dir && dir->state == AHEAD) {
        put_first(tree, dir);
        g_queue_unlink(&tree->ahead, &dir->link);
    }
    foresee_in(tree, inode);
    if (!dir)
        dir = foresee(tree, inode->ino);
    else if (dir->state == AHEAD)
        g_queue_push_head_link(&tree->ahead, &dir->link);
    dir->listed = true;
}

static void listed_in_time(struct scout_tree *tree, struct foreseen *dir)
{
    forget(tree, dir);
    if (tree->unlisted >= tree->budget) /* else those that were skipped would stop it */
        count_no_more(tree, tree->brought.head->data);
}

bool scout_tree_listed(struct scout_tree *tree, struct inode *inode)
{
    struct foreseen *dir = find(tree, inode->ino);

    if (dir)
        tree->budget = MIN(2 * tree->budget, tree->most);
    else if (!inode->scouted)
        begin_anew(tree);
    if (dir && dir->state == BROUGHT)
        listed_in_time(tree, dir);
    else if (dir || !inode->scouted)
        listed_early(tree, dir, inode);
    inode->scouted = true;
    /* many at once, and not each when there is room for it */
    if (tree->going || !may_come(tree, tree->budget / 2 / BLOCKS_GUESSED))
        return false;
    tree->going = true;
    return true;
}
