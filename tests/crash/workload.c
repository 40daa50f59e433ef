// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * workload [option…] MOUNTPOINT DISK-LOG FOLDER
 *
 * Several threads, each with a random mix of operations that follows from the
 * seed, on a mount whose target records its disk in DISK-LOG. What each did, and
 * how long the log was then, is written to FOLDER/ops.0, ops.1, … for `check`.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "actor.h"

#define SHARED_FOLDERS 4
#define FILES_MAX 40
#define FOLDERS_MAX 12
#define FILE_BYTES_MAX (192u << 10)
#define CHANGES_MAX 40 /* of one file: what the checker has to look through */

static gint seed = 1, threads = 4, operations = 1500;
static gchar *mix_name;

/* ---- picking ---- */

static bool is_kind(const struct actor *actor, const struct edge *edge, mode_t kind)
{
    return (world_node(actor->world, edge->ino)->mode & S_IFMT) == kind;
}

static unsigned count(const struct actor *actor, mode_t kind)
{
    unsigned n = 0;

    for (guint i = 0; i < actor->world->nodes->len; i++)
        n += (((struct node *)g_ptr_array_index(actor->world->nodes, i))->mode & S_IFMT) == kind;
    return n;
}

/* A name of this kind of file. False: there is none. */
static bool pick(struct actor *actor, mode_t kind, struct edge *edge)
{
    const GArray *edges = actor->world->edges;
    unsigned start = edges->len ? actor_random(actor, edges->len) : 0;

    for (guint i = 0; i < edges->len; i++) {
        *edge = g_array_index(edges, struct edge, (start + i) % edges->len);
        if (is_kind(actor, edge, kind))
            return true;
    }
    return false;
}

/* A directory of its own or a shared one. */
static struct folder pick_folder(struct actor *actor)
{
    struct edge edge;

    if (actor_random(actor, 3) && pick(actor, S_IFDIR, &edge))
        return actor_folder(actor, edge.ino);
    return g_array_index(actor->shared, struct folder, actor_random(actor, actor->shared->len));
}

static bool is_empty(const struct actor *actor, uint32_t dir)
{
    for (guint i = 0; i < actor->world->edges->len; i++)
        if (g_array_index(actor->world->edges, struct edge, i).dir == dir)
            return false;
    return true;
}

/* Is it `dir`, or does it lie somewhere in it? */
static bool lies_in(const struct actor *actor, uint32_t ino, uint32_t dir)
{
    const GArray *edges = actor->world->edges;

    for (guint i = 0; i < edges->len && ino != dir; i++) {
        struct edge edge = g_array_index(edges, struct edge, i);

        if (edge.ino == ino)
            return lies_in(actor, edge.dir, dir);
    }
    return ino == dir;
}

/* Small ones are the rule; some begin and end on blocks. */
static size_t pick_length(struct actor *actor)
{
    switch (actor_random(actor, 6)) {
    case 0:
        return 1 + actor_random(actor, 128 << 10);
    case 1:
    case 2:
        return (1 + actor_random(actor, 8)) * 4096;
    default:
        return 1 + actor_random(actor, 6000);
    }
}

/* ---- what an actor can do ---- */

static void write_somewhere(struct actor *actor, struct edge edge)
{
    uint64_t size = world_node(actor->world, edge.ino)->size, offset = size;
    size_t length = pick_length(actor);

    switch (actor_random(actor, 4)) {
    case 0:
        offset = size ? actor_random(actor, (unsigned)size) : 0;
        break;
    case 1:
        offset = size ? actor_random(actor, (unsigned)size) / 4096 * 4096 : 0;
        break;
    case 2: /* leaves a hole now and then */
        offset += actor_random(actor, 3) ? 0 : actor_random(actor, 20000);
        break;
    }
    if (offset + length > FILE_BYTES_MAX)
        offset = 0;
    actor_write(actor, edge, offset, length);
}

static void do_unlink(struct actor *actor)
{
    struct edge edge;

    if (!pick(actor, actor_random(actor, 5) ? S_IFREG : S_IFLNK, &edge))
        return;
    if (actor_random(actor, 4) || !is_kind(actor, &edge, S_IFREG)) {
        actor_unlink(actor, edge);
        return;
    }
    actor_hold(actor, edge);
    actor_unlink(actor, edge);
    actor_write_held(actor, pick_length(actor));
}

static void do_create(struct actor *actor)
{
    struct folder dir = pick_folder(actor);
    struct edge edge;

    if (count(actor, S_IFREG) >= FILES_MAX) {
        do_unlink(actor);
        return;
    }
    edge = (struct edge){dir.ino, actor->next_name, 0};
    edge.ino = actor_create(actor, dir);
    if (actor_random(actor, 6))
        actor_write(actor, edge, 0, pick_length(actor));
}

static void do_write(struct actor *actor)
{
    struct edge edge;

    if (!pick(actor, S_IFREG, &edge))
        return;
    if (world_node(actor->world, edge.ino)->changes >= CHANGES_MAX)
        actor_unlink(actor, edge);
    else
        write_somewhere(actor, edge);
}

static void do_truncate(struct actor *actor)
{
    struct edge edge;
    uint64_t size;

    if (!pick(actor, S_IFREG, &edge))
        return;
    size = world_node(actor->world, edge.ino)->size;
    if (actor_random(actor, 4) == 0)
        size += actor_random(actor, 10000);
    else
        size = size ? actor_random(actor, (unsigned)size) : 0;
    actor_truncate(actor, edge, size);
}

static void do_punch(struct actor *actor)
{
    struct edge edge;
    uint64_t size;

    if (!pick(actor, S_IFREG, &edge))
        return;
    size = world_node(actor->world, edge.ino)->size;
    actor_punch(actor, edge, size ? actor_random(actor, (unsigned)size) : 0, pick_length(actor));
}

static void do_rename(struct actor *actor)
{
    struct edge from;

    if (pick(actor, actor_random(actor, 4) ? S_IFREG : S_IFLNK, &from))
        actor_rename(actor, from, (struct edge){pick_folder(actor).ino, actor->next_name++, 0});
}

static void do_rename_over(struct actor *actor)
{
    struct edge from, to;

    /* two names of one file: rename(2) does nothing */
    if (pick(actor, S_IFREG, &from) && pick(actor, S_IFREG, &to) && from.ino != to.ino)
        actor_rename(actor, from, to);
}

/* What editors do: a new file, and then its name is that of the old one. */
static void do_replace(struct actor *actor)
{
    struct edge old, fresh;

    if (!pick(actor, S_IFREG, &old))
        return;
    fresh = (struct edge){old.dir, actor->next_name, 0};
    fresh.ino = actor_create(actor, actor_folder(actor, old.dir));
    actor_write(actor, fresh, 0, pick_length(actor));
    if (actor_random(actor, 3) == 0)
        actor_fsync(actor, fresh);
    actor_rename(actor, fresh, old);
}

static void do_rename_folder(struct actor *actor)
{
    struct edge from, to;

    if (!pick(actor, S_IFDIR, &from))
        return;
    if (actor_random(actor, 3) || !pick(actor, S_IFDIR, &to) || !is_empty(actor, to.ino))
        to = (struct edge){pick_folder(actor).ino, actor->next_name++, 0};
    if (from.ino != to.ino && !lies_in(actor, to.dir, from.ino))
        actor_rename(actor, from, to);
}

static void do_link(struct actor *actor)
{
    struct edge from;

    if (pick(actor, S_IFREG, &from) && world_node(actor->world, from.ino)->links < 4)
        actor_link(actor, from, pick_folder(actor));
}

static void do_symlink(struct actor *actor)
{
    struct edge edge;

    if (count(actor, S_IFLNK) < FILES_MAX / 4)
        actor_symlink(actor, pick_folder(actor),
                      1 + actor_random(actor, actor_random(actor, 2) ? 50 : 900));
    else if (pick(actor, S_IFLNK, &edge))
        actor_unlink(actor, edge);
}

/* Empties it first, of files. */
static void do_rmdir(struct actor *actor)
{
    const GArray *edges = actor->world->edges;
    struct edge dir;

    if (!pick(actor, S_IFDIR, &dir))
        return;
    for (guint i = 0; i < edges->len;) {
        struct edge edge = g_array_index(edges, struct edge, i);

        if (edge.dir != dir.ino || is_kind(actor, &edge, S_IFDIR))
            i++;
        else
            actor_unlink(actor, edge);
    }
    if (is_empty(actor, dir.ino))
        actor_rmdir(actor, dir);
}

static void do_mkdir(struct actor *actor)
{
    if (count(actor, S_IFDIR) < FOLDERS_MAX)
        actor_mkdir(actor, pick_folder(actor));
    else
        do_rmdir(actor);
}

static void do_xattr(struct actor *actor)
{
    unsigned which = actor_random(actor, OP_XATTRS);
    struct edge edge;
    size_t length;

    if (!pick(actor, actor_random(actor, 4) ? S_IFREG : S_IFDIR, &edge))
        return;
    length = 1 + actor_random(actor, actor_random(actor, 3) ? 40 : 600);
    if (world_node(actor->world, edge.ino)->xattrs[which] && actor_random(actor, 3) == 0)
        length = 0;
    actor_xattr(actor, edge, which, length);
}

static void do_fsync(struct actor *actor)
{
    struct edge edge;

    if (pick(actor, S_IFREG, &edge))
        actor_fsync(actor, edge);
}

static void do_fsync_folder(struct actor *actor)
{
    actor_fsync_folder(actor, pick_folder(actor));
}

/* ---- mixes ---- */

enum { ACTIONS = 16 };

static void (*const actions[ACTIONS])(struct actor *actor) = {
    do_create,  do_write,         do_truncate, do_punch,        do_rename, do_rename_over,
    do_replace, do_rename_folder, do_link,     do_symlink,      do_unlink, do_mkdir,
    do_rmdir,   do_xattr,         do_fsync,    do_fsync_folder,
};

/* How often each is done, in the order of `actions`. */
static const struct mix {
    const char *name;
    unsigned char weights[ACTIONS];
} mixes[] = {
    {"all", {20, 30, 6, 4, 6, 4, 5, 3, 4, 4, 12, 6, 2, 8, 5, 3}},
    /* directories come and go, and their blocks become data */
    {"folders", {30, 10, 0, 0, 0, 0, 0, 0, 0, 0, 10, 40, 20, 0, 6, 0}},
    /* files come and go, and their blocks become other files' */
    {"files", {40, 10, 10, 4, 0, 4, 8, 0, 0, 0, 40, 0, 0, 0, 1, 1}},
};

static const struct mix *find_mix(void)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(mixes); i++)
        if (g_strcmp0(mixes[i].name, mix_name ? mix_name : "all") == 0)
            return &mixes[i];
    return NULL;
}

static void act(struct actor *actor, const struct mix *mix)
{
    unsigned all = 0, chosen, i = 0;

    for (unsigned k = 0; k < ACTIONS; k++)
        all += mix->weights[k];
    chosen = actor_random(actor, all);
    while (chosen >= mix->weights[i])
        chosen -= mix->weights[i++];
    actions[i](actor);
}

static void *run(void *opaque)
{
    struct actor *actor = opaque;
    const struct mix *mix = find_mix();

    while (actor->ops->len < (guint)operations)
        act(actor, mix);
    return NULL;
}

/* ---- all of it ---- */

static void make_shared(struct actor *actor, int root)
{
    struct folder top = {OP_ROOT_INO, root};

    for (unsigned i = 0; i < SHARED_FOLDERS; i++) {
        struct folder folder = {.ino = actor_mkdir(actor, top)};

        folder.fd = world_node(actor->world, folder.ino)->fd;
        g_array_append_val(actor->shared, folder);
    }
    actor_fsync_folder(actor, top);
}

static void run_threads(struct actor **actors)
{
    g_autofree pthread_t *ids = g_new(pthread_t, threads);

    for (gint i = 0; i < threads; i++) {
        int error = pthread_create(&ids[i], NULL, run, actors[i + 1]);

        if (error) {
            fprintf(stderr, "workload: a thread: %s\n", strerror(error));
            exit(1);
        }
    }
    for (gint i = 0; i < threads; i++)
        pthread_join(ids[i], NULL);
}

static int save(struct actor **actors, const char *folder)
{
    for (gint i = 0; i <= threads; i++) {
        int error = actor_save(actors[i], folder);

        if (error) {
            fprintf(stderr, "workload: %s: %s\n", folder, strerror(-error));
            return 1;
        }
    }
    return 0;
}

static int work(int root, int disk_log, const char *folder)
{
    g_autofree struct actor **actors = g_new(struct actor *, threads + 1);
    g_autoptr(GArray) shared = g_array_new(FALSE, FALSE, sizeof(struct folder));
    int status;

    for (gint i = 0; i <= threads; i++) {
        actors[i] = actor_new((unsigned)i, (uint64_t)seed, disk_log);
        actors[i]->shared = shared;
    }
    make_shared(actors[0], root);
    run_threads(actors);
    status = save(actors, folder);
    for (gint i = 0; i <= threads; i++)
        actor_free(actors[i]);
    return status;
}

static bool parse(int *argc, char ***argv)
{
    const GOptionEntry entries[] = {
        {"seed", 0, 0, G_OPTION_ARG_INT, &seed, "what the random operations follow from", "N"},
        {"threads", 0, 0, G_OPTION_ARG_INT, &threads, NULL, "N"},
        {"operations", 0, 0, G_OPTION_ARG_INT, &operations, "of each thread", "N"},
        {"mix", 0, 0, G_OPTION_ARG_STRING, &mix_name, "all, folders or files", "NAME"},
        {NULL, 0, 0, G_OPTION_ARG_NONE, NULL, NULL, NULL},
    };
    g_autoptr(GOptionContext) context = g_option_context_new("MOUNTPOINT DISK-LOG FOLDER");
    g_autoptr(GError) error = NULL;

    g_option_context_add_main_entries(context, entries, NULL);
    if (!g_option_context_parse(context, argc, argv, &error))
        fprintf(stderr, "workload: %s\n", error->message);
    else if (*argc != 4 || threads < 1 || operations < 1 || !find_mix())
        fprintf(stderr, "usage: workload [option…] MOUNTPOINT DISK-LOG FOLDER\n");
    else
        return true;
    return false;
}

int main(int argc, char **argv)
{
    int root, disk_log, status;

    if (!parse(&argc, &argv))
        return 2;
    umask(0);
    root = open(argv[1], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    disk_log = open(argv[2], O_RDONLY | O_CLOEXEC);
    if (root < 0 || disk_log < 0) {
        fprintf(stderr, "workload: %s: %s\n", argv[root < 0 ? 1 : 2], strerror(errno));
        return 1;
    }
    status = work(root, disk_log, argv[3]);
    close(root);
    close(disk_log);
    g_free(mix_name);
    return status;
}
