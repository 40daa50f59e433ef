// SPDX-License-Identifier: LGPL-2.1-or-later
/* Operations on the mount, and their stream: actor.h. */
#include "actor.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>
#include <unistd.h>

/* The thread's streams are in memory until the end: one that fails has nothing to be checked. */
static void must(bool well, const struct actor *actor, const char *what)
{
    if (well)
        return;
    fprintf(stderr, "workload: stream %u, operation %u: %s: %s\n", actor->world->stream,
            actor->ops->len, what, strerror(errno));
    exit(1);
}

struct actor *actor_new(unsigned stream, uint64_t seed, int disk_log)
{
    struct actor *actor = g_new0(struct actor, 1);

    actor->world = world_new(stream);
    actor->ops = g_array_new(FALSE, FALSE, sizeof(struct op));
    actor->random = op_mix(seed, stream);
    actor->disk_log = disk_log;
    actor->held_fd = -1;
    return actor;
}

void actor_free(struct actor *actor)
{
    if (actor->held_fd >= 0)
        close(actor->held_fd);
    world_free(actor->world);
    g_array_free(actor->ops, TRUE);
    g_free(actor);
}

int actor_save(const struct actor *actor, const char *folder)
{
    g_autofree char *path = g_strdup_printf("%s/ops.%u", folder, actor->world->stream);
    FILE *file = fopen(path, "w");
    size_t written;

    if (!file)
        return -errno;
    written = fwrite(actor->ops->data, sizeof(struct op), actor->ops->len, file);
    return fclose(file) == 0 && written == actor->ops->len ? 0 : -errno;
}

unsigned actor_random(struct actor *actor, unsigned below)
{
    actor->random = op_mix(actor->random, 1);
    return (unsigned)((actor->random >> 32) % below);
}

static uint64_t now(const struct actor *actor)
{
    struct stat st;

    must(fstat(actor->disk_log, &st) == 0, actor, "the disk's log");
    return (uint64_t)st.st_size;
}

static unsigned index_of_next(const struct actor *actor)
{
    return actor->ops->len;
}

/* It has been done, and began at op.begin. */
static void keep(struct actor *actor, struct op op)
{
    op.end = now(actor);
    world_apply(actor->world, &op, index_of_next(actor));
    g_array_append_val(actor->ops, op);
}

struct folder actor_folder(const struct actor *actor, uint32_t ino)
{
    const struct node *node = world_node(actor->world, ino);

    if (node)
        return (struct folder){ino, node->fd};
    for (guint i = 0; i < actor->shared->len; i++) {
        struct folder folder = g_array_index(actor->shared, struct folder, i);

        if (folder.ino == ino)
            return folder;
    }
    errno = ENOENT;
    must(false, actor, "a directory");
    return (struct folder){0, -1};
}

static int open_file(struct actor *actor, struct edge edge)
{
    char name[OP_NAME_BYTES];
    int fd;

    op_name(actor->world->stream, edge.name, name);
    fd = openat(actor_folder(actor, edge.dir).fd, name, O_RDWR | O_CLOEXEC);
    must(fd >= 0, actor, "open");
    return fd;
}

/* ---- names ---- */

/* Different ones, so that a file is not taken for the next one with the same inode. */
static mode_t permissions(const struct actor *actor)
{
    return 0400 | (op_mix(actor->world->stream, index_of_next(actor)) & 0377);
}

uint32_t actor_create(struct actor *actor, struct folder dir)
{
    struct op op = {now(actor), .kind = OP_CREATE, .dir = dir.ino, .length = permissions(actor)};
    char name[OP_NAME_BYTES];
    struct stat st;
    int fd;

    op.name = actor->next_name++;
    op_name(actor->world->stream, op.name, name);
    fd = openat(dir.fd, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, (mode_t)op.length);
    must(fd >= 0 && fstat(fd, &st) == 0 && close(fd) == 0, actor, "create");
    op.ino = (uint32_t)st.st_ino;
    keep(actor, op);
    return op.ino;
}

uint32_t actor_mkdir(struct actor *actor, struct folder dir)
{
    struct op op = {now(actor), .kind = OP_MKDIR, .dir = dir.ino, .length = permissions(actor)};
    char name[OP_NAME_BYTES];
    struct stat st;
    int fd;

    op.name = actor->next_name++;
    op_name(actor->world->stream, op.name, name);
    must(mkdirat(dir.fd, name, (mode_t)op.length) == 0, actor, "mkdir");
    fd = openat(dir.fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    must(fd >= 0 && fstat(fd, &st) == 0, actor, "a new directory");
    op.ino = (uint32_t)st.st_ino;
    keep(actor, op);
    world_node(actor->world, op.ino)->fd = fd;
    return op.ino;
}

void actor_symlink(struct actor *actor, struct folder dir, size_t length)
{
    struct op op = {now(actor), .kind = OP_SYMLINK, .dir = dir.ino, .length = length};
    char name[OP_NAME_BYTES], text[OP_VALUE_BYTES_MAX + 1];
    struct stat st;

    op.name = actor->next_name++;
    op_name(actor->world->stream, op.name, name);
    op_text(actor->world->stream, index_of_next(actor), text, length);
    must(symlinkat(text, dir.fd, name) == 0, actor, "symlink");
    must(fstatat(dir.fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0, actor, "a new symlink");
    op.ino = (uint32_t)st.st_ino;
    keep(actor, op);
}

void actor_link(struct actor *actor, struct edge from, struct folder dir)
{
    struct op op = {now(actor), .kind = OP_LINK, .ino = from.ino, .new_dir = dir.ino};
    char name[OP_NAME_BYTES], new_name[OP_NAME_BYTES];

    op.new_name = actor->next_name++;
    op_name(actor->world->stream, from.name, name);
    op_name(actor->world->stream, op.new_name, new_name);
    must(linkat(actor_folder(actor, from.dir).fd, name, dir.fd, new_name, 0) == 0, actor, "link");
    keep(actor, op);
}

static void remove_edge(struct actor *actor, struct edge edge, enum op_kind kind)
{
    struct op op = {now(actor), .kind = kind, .ino = edge.ino, .dir = edge.dir, .name = edge.name};
    char name[OP_NAME_BYTES];
    int flag = kind == OP_RMDIR ? AT_REMOVEDIR : 0;

    op_name(actor->world->stream, edge.name, name);
    must(unlinkat(actor_folder(actor, edge.dir).fd, name, flag) == 0, actor,
         flag ? "rmdir" : "unlink");
    keep(actor, op);
}

void actor_unlink(struct actor *actor, struct edge edge)
{
    remove_edge(actor, edge, OP_UNLINK);
}

void actor_rmdir(struct actor *actor, struct edge edge)
{
    remove_edge(actor, edge, OP_RMDIR);
}

void actor_rename(struct actor *actor, struct edge from, struct edge to)
{
    struct op op = {now(actor),        .kind = OP_RENAME, .ino = from.ino,    .dir = from.dir,
                    .name = from.name, .new_dir = to.dir, .new_name = to.name};
    char name[OP_NAME_BYTES], new_name[OP_NAME_BYTES];

    op_name(actor->world->stream, from.name, name);
    op_name(actor->world->stream, to.name, new_name);
    must(renameat(actor_folder(actor, from.dir).fd, name, actor_folder(actor, to.dir).fd,
                  new_name) == 0,
         actor, "rename");
    keep(actor, op);
}

/* ---- attributes and data ---- */

void actor_xattr(struct actor *actor, struct edge edge, unsigned which, size_t length)
{
    struct op op = {now(actor), .kind = OP_XATTR, .ino = edge.ino};
    char name[OP_NAME_BYTES], value[OP_VALUE_BYTES_MAX + 1];
    const struct node *node = world_node(actor->world, edge.ino);
    int fd = S_ISDIR(node->mode) ? node->fd : open_file(actor, edge);

    op.offset = which;
    op.length = length;
    op_xattr_name(which, name);
    op_text(actor->world->stream, index_of_next(actor), value, length);
    must((length ? fsetxattr(fd, name, value, length, 0) : fremovexattr(fd, name)) == 0, actor,
         "an attribute");
    must(fd == node->fd || close(fd) == 0, actor, "close");
    keep(actor, op);
}

/* The bytes of this operation, which is the next one. */
static void write_op(struct actor *actor, const struct op *op, int fd)
{
    g_autofree char *bytes = g_malloc(op->length);

    op_fill(actor->world->stream, index_of_next(actor), op->offset, bytes, op->length);
    errno = ENOSPC; /* the reason, where it is a short write */
    must(pwrite(fd, bytes, op->length, (off_t)op->offset) == (ssize_t)op->length, actor, "write");
}

void actor_write(struct actor *actor, struct edge edge, uint64_t offset, size_t length)
{
    struct op op = {now(actor), .kind = OP_WRITE, .ino = edge.ino};
    int fd = open_file(actor, edge);

    op.offset = offset;
    op.length = length;
    write_op(actor, &op, fd);
    must(close(fd) == 0, actor, "close");
    keep(actor, op);
}

void actor_truncate(struct actor *actor, struct edge edge, uint64_t size)
{
    struct op op = {now(actor), .kind = OP_TRUNCATE, .ino = edge.ino, .length = size};
    int fd = open_file(actor, edge);

    must(ftruncate(fd, (off_t)size) == 0 && close(fd) == 0, actor, "truncate");
    keep(actor, op);
}

void actor_punch(struct actor *actor, struct edge edge, uint64_t offset, uint64_t length)
{
    struct op op = {now(actor), .kind = OP_PUNCH, .ino = edge.ino};
    int fd = open_file(actor, edge);

    op.offset = offset;
    op.length = length;
    must(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)offset, (off_t)length) ==
                 0 &&
             close(fd) == 0,
         actor, "punch");
    keep(actor, op);
}

void actor_fsync(struct actor *actor, struct edge edge)
{
    struct op op = {now(actor), .kind = OP_FSYNC, .ino = edge.ino};
    int fd = open_file(actor, edge);

    must(fsync(fd) == 0, actor, "fsync");
    keep(actor, op);
    must(close(fd) == 0, actor, "close");
}

void actor_fsync_folder(struct actor *actor, struct folder dir)
{
    struct op op = {now(actor), .kind = OP_FSYNC, .ino = dir.ino};

    must(fsync(dir.fd) == 0, actor, "fsync of a directory");
    keep(actor, op);
}

void actor_hold(struct actor *actor, struct edge edge)
{
    must(actor->held_fd < 0 || close(actor->held_fd) == 0, actor, "close");
    actor->held_fd = open_file(actor, edge);
    actor->held_ino = edge.ino;
}

void actor_write_held(struct actor *actor, size_t length)
{
    struct op op = {now(actor), .kind = OP_WRITE, .ino = actor->held_ino, .length = length};

    write_op(actor, &op, actor->held_fd);
    keep(actor, op);
}
