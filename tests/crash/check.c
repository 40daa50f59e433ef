// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * check [option…] FOLDER
 *
 * Lets a recorded run (FOLDER/log, base, ops.*) crash at many points, and looks
 * each time at what is left: e2fsck has nothing to repair, and the kernel's ext4
 * shows nothing but what may be there (history.h). Half of the points are at
 * flushes, the others anywhere between two records of the log, which has to end
 * with a clean unmount. What a crash loses follows from the seed and the number of its point.
 *
 * Several processes share the points. Exit status 1: something was wrong.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "disk.h"
#include "history.h"
#include "image.h"
#include "tree.h"

#define WRONG_MAX 40 /* more tell nothing new */

static gint seed = 1, points = 300, processes = 4, only = -1, wrong_max = WRONG_MAX;
static gchar *keep, *below;

struct figures { /* of all processes, in shared memory */
    unsigned points, wrong, files;
};

struct checker {
    const struct disk_log *log;
    const GPtrArray *streams;
    struct disk *disk;
    char *image, *mount;
    GByteArray *bytes; /* of one file */
    struct figures *figures;
};

struct point {
    unsigned number;
    uint64_t position;
};

/* ---- what is wrong with a tree ---- */

/* A file of a stream whose names are those of `moment`; NULL, or what is wrong. */
static char *check_file(struct checker *checker, const struct tree_file *file, unsigned moment,
                        uint64_t position)
{
    const struct stream *stream = g_ptr_array_index(checker->streams, file->stream);
    struct found_file found = {.ino = file->ino};
    g_autofree char *wrong = NULL;

    if (!tree_read_file(file, checker->bytes))
        return g_strdup_printf("inode %u cannot be read: %s", file->ino, strerror(errno));
    found.size = checker->bytes->len;
    found.bytes = checker->bytes->data;
    wrong = history_check_file(stream, &found, moment, position);
    return wrong ? g_strdup_printf("inode %u of stream %u: %s", file->ino, file->stream, wrong)
                 : NULL;
}

static char *check_files(struct checker *checker, const struct tree *tree, unsigned stream,
                         unsigned moment, uint64_t position)
{
    for (guint i = 0; i < tree->files->len; i++) {
        const struct tree_file *file = &g_array_index(tree->files, struct tree_file, i);
        char *wrong;

        if (file->stream != stream)
            continue;
        __atomic_fetch_add(&checker->figures->files, 1, __ATOMIC_RELAXED);
        wrong = check_file(checker, file, moment, position);
        if (wrong)
            return wrong;
    }
    return NULL;
}

/* One of the moments that a crash may leave has these names, and then these
 * bytes too. Moments with the same names can differ in what their inodes are. */
static char *check_stream(struct checker *checker, const struct tree *tree,
                          const struct stream *stream, uint64_t position)
{
    struct moments moments = history_moments(stream, position);
    char *wrong = NULL;
    bool before = false;

    for (unsigned moment = moments.first; moment <= moments.last; moment++) {
        bool same = stream->sums[moment] == tree->sums[stream->number];

        if (same && !before) {
            g_free(wrong);
            wrong = check_files(checker, tree, stream->number, moment, position);
            if (!wrong)
                return NULL;
        }
        before = same;
    }
    return wrong ? wrong
                 : g_strdup_printf("stream %u: names and attributes as at no moment from %u to %u",
                                   stream->number, moments.first, moments.last);
}

static char *check_tree(struct checker *checker, const struct tree *tree, uint64_t position)
{
    if (tree->wrong->len)
        return g_strdup(tree->wrong->str);
    for (guint i = 0; i < checker->streams->len; i++) {
        char *wrong = check_stream(checker, tree, g_ptr_array_index(checker->streams, i), position);

        if (wrong)
            return wrong;
    }
    return NULL;
}

static char *check_mounted(struct checker *checker, uint64_t position)
{
    g_autofree char *top = g_build_filename(checker->mount, below, NULL);
    struct tree *tree = tree_read(top, checker->streams->len, only >= 0);
    char *wrong = check_tree(checker, tree, position);

    if (wrong && tree->listing)
        fputs(tree->listing->str, stdout);
    tree_free(tree);
    return wrong;
}

/* ---- points ---- */

static void keep_image(const struct checker *checker, unsigned number)
{
    g_autofree char *to = g_strdup_printf("%s/point-%u.img", keep, number);
    g_autofree char *command = g_strdup_printf("cp --sparse=always %s %s", checker->image, to);

    if (system(command) != 0)
        fprintf(stderr, "check: %s: it could not be kept\n", to);
}

static char *check_point(struct checker *checker, struct point point)
{
    char *wrong, *umount_wrong;

    disk_crash(checker->disk, point.position, op_mix((uint64_t)seed, point.number));
    if (keep && (gint)point.number == only)
        keep_image(checker, point.number);
    wrong = image_check(checker->image);
    if (wrong)
        return wrong;
    wrong = image_mount(checker->image, checker->mount);
    if (wrong)
        return wrong;
    wrong = check_mounted(checker, point.position);
    umount_wrong = image_umount(checker->mount);
    if (!umount_wrong)
        return wrong;
    fprintf(stderr, "check: %s: %s\n", checker->mount, umount_wrong);
    exit(2);
}

static void report(const struct checker *checker, struct point point, const char *wrong)
{
    printf("WRONG: seed %d, point %u, %" G_GUINT64_FORMAT " of %zu bytes of the log: %s\n", seed,
           point.number, point.position, checker->log->size, wrong);
    fflush(stdout);
}

static bool enough_wrong(const struct checker *checker)
{
    return (gint)__atomic_load_n(&checker->figures->wrong, __ATOMIC_RELAXED) >= wrong_max;
}

static int check_points(struct checker *checker, const GArray *all, unsigned process)
{
    bool wrong_here = false;

    for (guint i = process; i < all->len && !enough_wrong(checker); i += (guint)processes) {
        struct point point = g_array_index(all, struct point, i);
        g_autofree char *wrong = NULL;

        if (only >= 0 && (gint)point.number != only)
            continue;
        wrong = check_point(checker, point);
        __atomic_fetch_add(&checker->figures->points, 1, __ATOMIC_RELAXED);
        if (!wrong)
            continue;
        report(checker, point, wrong);
        __atomic_fetch_add(&checker->figures->wrong, 1, __ATOMIC_RELAXED);
        wrong_here = true;
    }
    return wrong_here ? 1 : 0;
}

static gint by_position(gconstpointer a, gconstpointer b)
{
    const struct point *x = a, *y = b;

    return x->position < y->position ? -1 : x->position > y->position;
}

/* Numbers are given before they are sorted: a point keeps its own whatever else
 * is checked. The last one is the end, when all is unmounted. */
static GArray *choose_points(const struct disk_log *log)
{
    GArray *all = g_array_new(FALSE, FALSE, sizeof(struct point));
    guint flushes = log->flushes->len;

    for (gint i = 0; i < points; i++) {
        uint64_t random = op_mix(op_mix((uint64_t)seed, 3), (uint64_t)i);
        const GArray *from = i % 2 == 0 && flushes ? log->flushes : log->ends;
        guint start = (guint)(random % from->len);
        struct point point = {(unsigned)i, g_array_index(from, uint64_t, start)};

        /* each flush once, before one gets a second turn */
        if (from == log->flushes && points / 2 >= (gint)flushes)
            point.position = g_array_index(from, uint64_t, (guint)(i / 2) % flushes);
        if (i == points - 1)
            point.position = log->size;
        g_array_append_val(all, point);
    }
    g_array_sort(all, by_position);
    return all;
}

/* ---- processes ---- */

static int run_process(struct checker *checker, const char *folder, const GArray *all,
                       unsigned process)
{
    g_autofree char *base = g_build_filename(folder, "base", NULL);
    int status;

    checker->image = g_strdup_printf("%s/image.%u", folder, process);
    checker->mount = g_strdup_printf("%s/mount.%u", folder, process);
    checker->bytes = g_byte_array_new();
    if (mkdir(checker->mount, 0700) != 0 && errno != EEXIST) {
        fprintf(stderr, "check: %s: %s\n", checker->mount, strerror(errno));
        return 2;
    }
    checker->disk = disk_new(checker->log, base, checker->image);
    status = check_points(checker, all, process);
    disk_free(checker->disk);
    unlink(checker->image);
    rmdir(checker->mount);
    g_byte_array_unref(checker->bytes);
    g_free(checker->image);
    g_free(checker->mount);
    return status;
}

static int wait_for(gint started)
{
    int worst = 0, status;

    for (gint i = 0; i < started; i++) {
        if (wait(&status) < 0)
            return 2;
        status = WIFEXITED(status) ? WEXITSTATUS(status) : 2;
        worst = status > worst ? status : worst;
    }
    return worst;
}

static int run_processes(struct checker *checker, const char *folder, const GArray *all)
{
    gint started = 0;
    int status;

    fflush(NULL);
    while (started < processes) {
        pid_t pid = fork();

        if (pid == 0) {
            status = run_process(checker, folder, all, (unsigned)started);
            fflush(NULL);
            _exit(status); /* the rest is the parent's */
        }
        if (pid < 0)
            break;
        started++;
    }
    status = wait_for(started);
    return started < processes ? 2 : status;
}

static int check_run(struct checker *checker, const char *folder)
{
    gint64 began = g_get_monotonic_time();
    g_autoptr(GArray) all = choose_points(checker->log);
    int status = run_processes(checker, folder, all);
    double seconds = (double)(g_get_monotonic_time() - began) / 1e6;

    printf("seed %d: %u crash points of %u flushes and %u records, %u files read, %u wrong; "
           "%.1f s, %.0f points/s\n",
           seed, checker->figures->points, checker->log->flushes->len / 2, checker->log->ends->len,
           checker->figures->files, checker->figures->wrong, seconds,
           checker->figures->points / seconds);
    return status;
}

static int check(const char *folder)
{
    g_autofree char *path = g_build_filename(folder, "log", NULL);
    struct disk_log *log = disk_log_read(path);
    GPtrArray *streams = log ? history_read(folder, log->size) : NULL;
    struct figures *figures =
        mmap(NULL, sizeof *figures, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    struct checker checker = {.log = log, .streams = streams, .figures = figures};
    int status = 2;

    if (figures == MAP_FAILED)
        fprintf(stderr, "check: %s\n", strerror(errno));
    else if (streams)
        status = check_run(&checker, folder);
    if (figures != MAP_FAILED)
        munmap(figures, sizeof *figures);
    if (streams)
        g_ptr_array_unref(streams);
    if (log)
        disk_log_free(log);
    return status;
}

static bool parse(int *argc, char ***argv)
{
    const GOptionEntry entries[] = {
        {"seed", 0, 0, G_OPTION_ARG_INT, &seed, "what the points follow from", "N"},
        {"points", 0, 0, G_OPTION_ARG_INT, &points, "how many crashes", "N"},
        {"processes", 0, 0, G_OPTION_ARG_INT, &processes, NULL, "N"},
        {"wrong", 0, 0, G_OPTION_ARG_INT, &wrong_max, "that so many are enough", "N"},
        {"only", 0, 0, G_OPTION_ARG_INT, &only, "only the point with this number", "N"},
        {"below", 0, 0, G_OPTION_ARG_FILENAME, &below, "where the workload was, not at the top",
         "FOLDER"},
        {"keep", 0, 0, G_OPTION_ARG_FILENAME, &keep, "keep that one's image there", "FOLDER"},
        {NULL, 0, 0, G_OPTION_ARG_NONE, NULL, NULL, NULL},
    };
    g_autoptr(GOptionContext) context = g_option_context_new("FOLDER");
    g_autoptr(GError) error = NULL;

    g_option_context_add_main_entries(context, entries, NULL);
    if (!g_option_context_parse(context, argc, argv, &error))
        fprintf(stderr, "check: %s\n", error->message);
    else if (*argc != 2 || points < 1 || processes < 1)
        fprintf(stderr, "usage: check [option…] FOLDER\n");
    else
        return true;
    return false;
}

int main(int argc, char **argv)
{
    int status = parse(&argc, &argv) ? check(argv[1]) : 2;

    g_free(keep);
    g_free(below);
    return status;
}
