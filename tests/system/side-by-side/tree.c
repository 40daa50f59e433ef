// SPDX-License-Identifier: LGPL-2.1-or-later
/* Two whole trees, compared: tree.h. */
#include "tree.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "inode_flags.h"
#include "look.h"

#define BLOCK_BYTES 4096
#define LIST_BYTES 65536

struct walk {
    GHashTable *other; /* inode there by inode here */
    char *difference;
};

static void differ(struct walk *w, const char *path, const char *what)
{
    if (!w->difference)
        w->difference = g_strdup_printf("%s: another %s", path, what);
}

static gint by_name(gconstpointer a, gconstpointer b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* ---- what a file has ---- */

/* All its bytes, wherever there are holes. 0: it cannot be read. */
static uint64_t sum_of_data(const char *path)
{
    static const char zeros[BLOCK_BYTES];
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    uint64_t sum = 1;
    off_t at = 0;

    if (fd < 0)
        return 0;
    while ((at = lseek(fd, at, SEEK_DATA)) >= 0) {
        char block[BLOCK_BYTES] = {0};
        uint32_t hash = 5381;
        ssize_t n;

        at -= at % BLOCK_BYTES;
        n = pread(fd, block, sizeof block, at);
        if (n <= 0)
            break;
        for (size_t i = 0; i < sizeof block; i++)
            hash = hash * 33 + (uint8_t)block[i];
        if (memcmp(block, zeros, sizeof block) != 0)
            sum += (uint64_t)hash * (uint64_t)(at / BLOCK_BYTES * 2 + 1);
        at += BLOCK_BYTES;
    }
    if (at >= 0 || errno != ENXIO)
        sum = 0;
    close(fd);
    return sum;
}

static GPtrArray *attributes_of(const char *path)
{
    GPtrArray *all = g_ptr_array_new_with_free_func(g_free);
    g_autofree char *list = g_malloc(LIST_BYTES), *value = g_malloc(LIST_BYTES);
    ssize_t n = llistxattr(path, list, LIST_BYTES);

    if (n < 0)
        g_ptr_array_add(all, g_strdup_printf("llistxattr: %s", strerror(errno)));
    for (const char *name = list; name < list + n; name += strlen(name) + 1) {
        ssize_t bytes = lgetxattr(path, name, value, LIST_BYTES);
        g_autofree char *sum = g_compute_checksum_for_data(G_CHECKSUM_SHA256, (guchar *)value,
                                                           bytes > 0 ? (gsize)bytes : 0);

        g_ptr_array_add(all, g_strdup_printf("%s %zd %s", name, bytes, sum));
    }
    g_ptr_array_sort(all, by_name);
    return all;
}

static bool same_texts(const GPtrArray *a, const GPtrArray *b)
{
    bool same = a->len == b->len;

    for (guint i = 0; i < a->len && same; i++)
        same = strcmp(a->pdata[i], b->pdata[i]) == 0;
    return same;
}

/* 0, too, for who may not read it. */
static uint32_t flags_of(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    uint32_t flags = 0;

    if (fd >= 0) {
        flags = inode_flags_of(fd);
        close(fd);
    }
    return flags;
}

static bool same_link(const char *a, const char *b)
{
    char x[BLOCK_BYTES], y[BLOCK_BYTES];
    ssize_t n = readlink(a, x, sizeof x);

    return n > 0 && readlink(b, y, sizeof y) == n && memcmp(x, y, (size_t)n) == 0;
}

/* Two names are of one file here where they are there. */
static bool same_inode(struct walk *w, ino_t a, ino_t b)
{
    gpointer known = g_hash_table_lookup(w->other, GSIZE_TO_POINTER(a));

    g_hash_table_insert(w->other, GSIZE_TO_POINTER(a), GSIZE_TO_POINTER(b));
    return !known || known == GSIZE_TO_POINTER(b);
}

static int error_of(int result)
{
    return result == 0 ? 0 : errno;
}

static void compare_file(struct walk *w, const char *a, const char *b)
{
    g_autoptr(GPtrArray) x = attributes_of(a), y = attributes_of(b);
    struct stat s, t;
    const char *what;

    if (error_of(lstat(a, &s)) != error_of(lstat(b, &t)))
        differ(w, a, "errno of lstat");
    if (lstat(a, &s) != 0 || lstat(b, &t) != 0)
        return;
    what = look_differ(&s, &t);
    if (what)
        differ(w, a, what);
    if (!same_inode(w, s.st_ino, t.st_ino))
        differ(w, a, "set of names");
    if (!same_texts(x, y))
        differ(w, a, "set of attributes");
    if (S_ISLNK(s.st_mode) && !same_link(a, b))
        differ(w, a, "target");
    if ((S_ISREG(s.st_mode) || S_ISDIR(s.st_mode)) && flags_of(a) != flags_of(b))
        differ(w, a, "set of flags");
    if (S_ISREG(s.st_mode) && sum_of_data(a) != sum_of_data(b))
        differ(w, a, "content");
}

/* ---- the tree ---- */

static GPtrArray *names_in(struct walk *w, const char *path)
{
    GPtrArray *names = g_ptr_array_new_with_free_func(g_free);
    DIR *dir = opendir(path);
    struct dirent *entry;

    if (!dir) { /* for a user who may not */
        g_ptr_array_add(names, g_strdup(strerror(errno)));
        return names;
    }
    while ((entry = readdir(dir))) {
        struct stat st;

        if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, ".."))
            continue;
        g_ptr_array_add(names, g_strdup(entry->d_name));
        if (fstatat(dirfd(dir), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
            (st.st_ino != entry->d_ino || IFTODT(st.st_mode) != entry->d_type))
            differ(w, path, "inode in stat than in readdir");
    }
    closedir(dir);
    g_ptr_array_sort(names, by_name);
    return names;
}

static void compare_dir(struct walk *w, const char *a, const char *b)
{
    g_autoptr(GPtrArray) x = names_in(w, a), y = names_in(w, b);

    if (!same_texts(x, y))
        differ(w, a, "set of names in it");
    for (guint i = 0; i < x->len && !w->difference; i++) {
        g_autofree char *in_a = g_build_filename(a, x->pdata[i], NULL);
        g_autofree char *in_b = g_build_filename(b, x->pdata[i], NULL);
        struct stat st;

        compare_file(w, in_a, in_b);
        if (lstat(in_a, &st) == 0 && S_ISDIR(st.st_mode))
            compare_dir(w, in_a, in_b);
    }
}

char *tree_compare(const char *a, const char *b)
{
    struct walk w = {g_hash_table_new(NULL, NULL), NULL};

    compare_file(&w, a, b);
    compare_dir(&w, a, b);
    g_hash_table_destroy(w.other);
    return w.difference;
}
