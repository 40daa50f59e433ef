// SPDX-License-Identifier: LGPL-2.1-or-later
/* Walks a tree: tree.h. */
#include "tree.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "world.h"

#define LOST "lost+found"

static void read_folder(struct tree *tree, const char *path, uint32_t ino);

static void note(struct tree *tree, const char *path, const char *what)
{
    g_string_append_printf(tree->wrong, "%s: %s\n", path, what);
}

static void read_xattrs(struct tree *tree, const char *path, struct node *node)
{
    for (unsigned i = 0; i < OP_XATTRS; i++) {
        char name[OP_NAME_BYTES], value[OP_VALUE_BYTES_MAX];
        ssize_t n;

        op_xattr_name(i, name);
        n = lgetxattr(path, name, value, sizeof value);
        if (n >= 0)
            node->xattrs[i] = op_hash_bytes(value, (size_t)n);
        else if (errno != ENODATA && errno != EOPNOTSUPP && errno != EPERM)
            note(tree, path, strerror(errno));
    }
}

static void read_target(struct tree *tree, const char *path, struct node *node)
{
    char text[OP_VALUE_BYTES_MAX];
    ssize_t n = readlink(path, text, sizeof text);

    if (n < 0)
        note(tree, path, strerror(errno));
    else
        node->target = op_hash_bytes(text, (size_t)n);
}

static void add_node(struct tree *tree, const char *path, unsigned stream, const struct stat *st)
{
    struct node node = {
        .ino = (uint32_t)st->st_ino, .mode = st->st_mode, .links = (unsigned)st->st_nlink};
    struct tree_file file = {stream, node.ino, NULL};

    if (!g_hash_table_add(tree->seen, GUINT_TO_POINTER(node.ino)))
        return;
    if (S_ISLNK(st->st_mode))
        read_target(tree, path, &node);
    else
        read_xattrs(tree, path, &node);
    tree->sums[stream] += world_hash_node(&node);
    if (S_ISREG(st->st_mode)) {
        file.path = g_strdup(path);
        g_array_append_val(tree->files, file);
    }
}

static void add_entry(struct tree *tree, const char *path, const char *name, uint32_t dir)
{
    struct edge edge = {dir, 0, 0};
    unsigned stream;
    struct stat st;

    if (!op_parse_name(name, &stream, &edge.name) || stream >= tree->streams) {
        note(tree, path, "a name that nobody has given");
        return;
    }
    if (lstat(path, &st) != 0) {
        note(tree, path, strerror(errno));
        return;
    }
    edge.ino = (uint32_t)st.st_ino;
    tree->sums[stream] += world_hash_edge(&edge);
    if (tree->listing)
        g_string_append_printf(tree->listing, "%u: in %u: %.12s is %u, mode %o, links %u\n", stream,
                               dir, name, edge.ino, st.st_mode, (unsigned)st.st_nlink);
    add_node(tree, path, stream, &st);
    if (S_ISDIR(st.st_mode))
        read_folder(tree, path, edge.ino);
}

static void check_lost(struct tree *tree, const char *path)
{
    g_autoptr(GDir) folder = g_dir_open(path, 0, NULL);

    if (folder && g_dir_read_name(folder))
        note(tree, path, "something was lost, and found");
}

static void read_folder(struct tree *tree, const char *path, uint32_t ino)
{
    DIR *folder = opendir(path);
    struct dirent *entry = NULL;

    if (folder) {
        for (errno = 0; (entry = readdir(folder)); errno = 0) {
            g_autofree char *below = g_strdup_printf("%s/%s", path, entry->d_name);

            if (strcmp(entry->d_name, LOST) == 0)
                check_lost(tree, below);
            else if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
                add_entry(tree, below, entry->d_name, ino);
        }
    }
    if (errno)
        note(tree, path, strerror(errno));
    if (folder)
        closedir(folder);
}

static void file_clear(gpointer data)
{
    g_free(((struct tree_file *)data)->path);
}

struct tree *tree_read(const char *top, unsigned streams, gboolean listing)
{
    struct tree *tree = g_new0(struct tree, 1);

    tree->streams = streams;
    tree->sums = g_new0(uint64_t, streams);
    tree->files = g_array_new(FALSE, FALSE, sizeof(struct tree_file));
    g_array_set_clear_func(tree->files, file_clear);
    tree->seen = g_hash_table_new(NULL, NULL);
    tree->wrong = g_string_new(NULL);
    tree->listing = listing ? g_string_new(NULL) : NULL;
    read_folder(tree, top, OP_ROOT_INO);
    return tree;
}

void tree_free(struct tree *tree)
{
    g_free(tree->sums);
    g_array_unref(tree->files);
    g_hash_table_unref(tree->seen);
    g_string_free(tree->wrong, TRUE);
    if (tree->listing)
        g_string_free(tree->listing, TRUE);
    g_free(tree);
}

gboolean tree_read_file(const struct tree_file *file, GByteArray *bytes)
{
    int fd = open(file->path, O_RDONLY | O_CLOEXEC);
    struct stat st;
    ssize_t n = -1;

    if (fd < 0)
        return FALSE;
    if (fstat(fd, &st) == 0) {
        g_byte_array_set_size(bytes, (guint)st.st_size);
        n = pread(fd, bytes->data, bytes->len, 0);
    }
    close(fd);
    return n == (ssize_t)bytes->len;
}
