// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * nullfuse: FUSE's own limit, for the benchmark to compare encsanfs with.
 *
 * It is mounted with encsanfs's settings, and the kernel sends it the same
 * requests: see op_init here and in fuse/files/ops.c, and fuse/options.c. Names,
 * attributes and sizes are kept in memory. Data is dropped: what is written only
 * changes the size, and what is read is zeros. There is nothing to wait for, so
 * requests are answered in FUSE's own threads, without encsanfs's pool.
 *
 * The kernel knows all names for ever, and nobody else changes them: what it has
 * checked (does it exist, is it a directory) is not checked again. So it is no
 * file system for NFS, whose clients know names of old.
 */
#define FUSE_USE_VERSION 314
#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <fuse_lowlevel.h>
#include <glib.h>

#define EXIT_USAGE 2
#define FOREVER_S 1e9
#define MAX_WRITE_BYTES (1u << 20)
#define MAX_BACKGROUND 64
#define READDIR_BYTES_MAX (128u << 10)
#define BLOCK_BYTES 4096
#define FIRST_COOKIE 2 /* 0 and 1 are "." and ".." */

/* A file of any type. It lives as long as it has a link or the kernel knows it. */
struct node {
    struct stat attr;
    uint64_t lookups;  /* the kernel's */
    char *target;      /* symbolic links */
    ino_t parent;      /* directories, as are these: */
    GHashTable *names; /* name -> struct entry, whose owner this is */
    GTree *order;      /* cookie -> struct entry: listings go on where they were */
    uint64_t next_cookie;
};

struct entry {
    char *name;
    uint64_t cookie;
    struct node *node;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* protects all nodes and next_ino */
static struct node *root;
static ino_t next_ino = 1; /* never given twice */
static char zeros[MAX_WRITE_BYTES];

/* ---- nodes: lock held ---- */

/* FUSE's number for a node is its address. */
static struct node *node_of(fuse_ino_t ino)
{
    return ino == FUSE_ROOT_ID ? root : GSIZE_TO_POINTER(ino);
}

static void entry_free(gpointer data)
{
    struct entry *entry = data;

    g_free(entry->name);
    g_free(entry);
}

static gint by_cookie(gconstpointer a, gconstpointer b)
{
    return a < b ? -1 : a > b;
}

static void touch(struct node *node, bool mtime)
{
    clock_gettime(CLOCK_REALTIME, &node->attr.st_ctim);
    if (mtime)
        node->attr.st_mtim = node->attr.st_ctim;
}

static void set_size(struct node *node, off_t size)
{
    node->attr.st_size = size;
    node->attr.st_blocks = (size + BLOCK_BYTES - 1) / BLOCK_BYTES * (BLOCK_BYTES / 512);
}

static struct node *node_new(mode_t mode, dev_t rdev, uid_t uid, gid_t gid)
{
    struct node *node = g_new0(struct node, 1);

    node->attr = (struct stat){.st_ino = next_ino++, .st_mode = mode, .st_nlink = 1, .st_uid = uid,
                               .st_gid = gid, .st_rdev = rdev, .st_blksize = BLOCK_BYTES};
    touch(node, true);
    node->attr.st_atim = node->attr.st_ctim;
    if (S_ISDIR(mode)) {
        node->attr.st_nlink = 2;
        set_size(node, BLOCK_BYTES);
        node->parent = node->attr.st_ino;
        node->names = g_hash_table_new_full(g_str_hash, g_str_equal, NULL, entry_free);
        node->order = g_tree_new(by_cookie);
        node->next_cookie = FIRST_COOKIE;
    }
    return node;
}

static void free_if_unused(struct node *node)
{
    if (node->lookups || node->attr.st_nlink)
        return;
    g_clear_pointer(&node->order, g_tree_unref);
    g_clear_pointer(&node->names, g_hash_table_unref);
    g_free(node->target);
    g_free(node);
}

/* ---- names: lock held ---- */

static void entry_add(struct node *dir, const char *name, struct node *node)
{
    struct entry *entry = g_new(struct entry, 1);

    *entry = (struct entry){g_strdup(name), dir->next_cookie++, node};
    g_hash_table_insert(dir->names, entry->name, entry);
    g_tree_insert(dir->order, GSIZE_TO_POINTER(entry->cookie), entry);
    touch(dir, true);
}

static void entry_remove(struct node *dir, struct entry *entry)
{
    g_tree_remove(dir->order, GSIZE_TO_POINTER(entry->cookie));
    g_hash_table_remove(dir->names, entry->name);
    touch(dir, true);
}

static bool has_entries(const struct node *node)
{
    return node->names && g_hash_table_size(node->names);
}

/* An entry of dir no longer names it. */
static void drop_link(struct node *dir, struct node *node)
{
    node->attr.st_nlink--;
    if (node->names) {
        node->attr.st_nlink = 0;
        dir->attr.st_nlink--;
    }
    touch(node, false);
    free_if_unused(node);
}

static struct node *make(fuse_req_t req, struct node *dir, const char *name, mode_t mode,
                         dev_t rdev)
{
    const struct fuse_ctx *ctx = fuse_req_ctx(req);
    bool inherit = dir->attr.st_mode & S_ISGID;
    struct node *made;

    if (inherit && S_ISDIR(mode))
        mode |= S_ISGID;
    made = node_new(mode, rdev, ctx->uid, inherit ? dir->attr.st_gid : ctx->gid);
    entry_add(dir, name, made);
    if (S_ISDIR(mode)) {
        made->parent = dir->attr.st_ino;
        dir->attr.st_nlink++;
    }
    return made;
}

/* 0 or errno */
static int move(struct node *dir, const char *name, struct node *new_dir, const char *new_name)
{
    struct entry *from = g_hash_table_lookup(dir->names, name);
    struct entry *to = g_hash_table_lookup(new_dir->names, new_name);
    struct node *node = from->node;

    if (to && has_entries(to->node))
        return ENOTEMPTY;
    entry_remove(dir, from);
    if (to) {
        drop_link(new_dir, to->node);
        to->node = node;
        touch(new_dir, true);
    } else {
        entry_add(new_dir, new_name, node);
    }
    touch(node, false);
    if (node->names) {
        dir->attr.st_nlink--;
        new_dir->attr.st_nlink++;
        node->parent = new_dir->attr.st_ino;
    }
    return 0;
}

/* Counts a lookup: the kernel will know it. */
static void fill_entry(struct node *node, struct fuse_entry_param *e)
{
    node->lookups++;
    *e = (struct fuse_entry_param){.ino = GPOINTER_TO_SIZE(node), .attr = node->attr,
                                   .attr_timeout = FOREVER_S, .entry_timeout = FOREVER_S};
}

/* ---- lookup, forget, attributes ---- */

static void op_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    struct fuse_entry_param e = {.entry_timeout = FOREVER_S}; /* there is none, for ever */
    struct entry *entry;

    pthread_mutex_lock(&lock);
    entry = g_hash_table_lookup(node_of(parent)->names, name);
    if (entry)
        fill_entry(entry->node, &e);
    pthread_mutex_unlock(&lock);
    fuse_reply_entry(req, &e);
}

static void op_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *forgets)
{
    pthread_mutex_lock(&lock);
    for (size_t i = 0; i < count; i++) {
        struct node *node = node_of(forgets[i].ino);

        node->lookups -= MIN(forgets[i].nlookup, node->lookups); /* the root has none */
        free_if_unused(node);
    }
    pthread_mutex_unlock(&lock);
    fuse_reply_none(req);
}

static void op_forget(fuse_req_t req, fuse_ino_t ino, uint64_t lookups)
{
    struct fuse_forget_data one = {ino, lookups};

    op_forget_multi(req, 1, &one);
}

static struct stat attr_of(fuse_ino_t ino)
{
    struct stat st;

    pthread_mutex_lock(&lock);
    st = node_of(ino)->attr;
    pthread_mutex_unlock(&lock);
    return st;
}

static void op_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    struct stat st = attr_of(ino);

    fuse_reply_attr(req, &st, FOREVER_S);
}

static void set_attr(struct node *node, const struct stat *attr, int to_set)
{
    struct stat *st = &node->attr;

    touch(node, to_set & FUSE_SET_ATTR_SIZE);
    if (to_set & FUSE_SET_ATTR_SIZE)
        set_size(node, attr->st_size);
    if (to_set & FUSE_SET_ATTR_MODE)
        st->st_mode = (st->st_mode & S_IFMT) | (attr->st_mode & 07777);
    if (to_set & FUSE_SET_ATTR_UID)
        st->st_uid = attr->st_uid;
    if (to_set & FUSE_SET_ATTR_GID)
        st->st_gid = attr->st_gid;
    if (to_set & FUSE_SET_ATTR_ATIME)
        st->st_atim = to_set & FUSE_SET_ATTR_ATIME_NOW ? st->st_ctim : attr->st_atim;
    if (to_set & FUSE_SET_ATTR_MTIME)
        st->st_mtim = to_set & FUSE_SET_ATTR_MTIME_NOW ? st->st_ctim : attr->st_mtim;
    if (to_set & FUSE_SET_ATTR_CTIME)
        st->st_ctim = attr->st_ctim;
}

static void op_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *attr, int to_set,
                       struct fuse_file_info *fi)
{
    pthread_mutex_lock(&lock);
    set_attr(node_of(ino), attr, to_set);
    pthread_mutex_unlock(&lock);
    op_getattr(req, ino, fi);
}

static void op_statfs(fuse_req_t req, fuse_ino_t ino)
{
    static const struct statvfs st = {.f_bsize = BLOCK_BYTES, .f_frsize = BLOCK_BYTES,
                                      .f_blocks = 1 << 30, .f_bfree = 1 << 30, .f_bavail = 1 << 30,
                                      .f_files = 1 << 30, .f_ffree = 1 << 30, .f_favail = 1 << 30,
                                      .f_namemax = 255};

    fuse_reply_statfs(req, &st);
}

/* The kernel asks for security.capability at each write(2), of encsanfs too. */
static void op_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size)
{
    bool possible = g_str_has_prefix(name, "user.") || g_str_has_prefix(name, "trusted.") ||
                    g_str_has_prefix(name, "security.");

    fuse_reply_err(req, possible ? ENODATA : EOPNOTSUPP);
}

static void op_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size)
{
    if (size)
        fuse_reply_buf(req, NULL, 0);
    else
        fuse_reply_xattr(req, 0);
}

/* ---- names ---- */

static void make_entry(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev,
                       const char *target, struct fuse_entry_param *e)
{
    struct node *made;

    pthread_mutex_lock(&lock);
    made = make(req, node_of(parent), name, mode, rdev);
    if (target) {
        made->target = g_strdup(target);
        made->attr.st_size = (off_t)strlen(target);
    }
    fill_entry(made, e);
    pthread_mutex_unlock(&lock);
}

static void op_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev)
{
    struct fuse_entry_param e;

    make_entry(req, parent, name, mode, rdev, NULL, &e);
    fuse_reply_entry(req, &e);
}

static void op_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode)
{
    op_mknod(req, parent, name, S_IFDIR | mode, 0);
}

static void op_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name)
{
    struct fuse_entry_param e;

    make_entry(req, parent, name, S_IFLNK | 0777, 0, target, &e);
    fuse_reply_entry(req, &e);
}

static void op_readlink(fuse_req_t req, fuse_ino_t ino)
{
    fuse_reply_readlink(req, node_of(ino)->target); /* it never changes */
}

static void op_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t parent, const char *name)
{
    struct node *node = node_of(ino);
    struct fuse_entry_param e;

    pthread_mutex_lock(&lock);
    entry_add(node_of(parent), name, node);
    node->attr.st_nlink++;
    touch(node, false);
    fill_entry(node, &e);
    pthread_mutex_unlock(&lock);
    fuse_reply_entry(req, &e);
}

/* unlink and rmdir */
static void op_remove(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    struct node *dir = node_of(parent), *node;
    struct entry *entry;
    bool full;

    pthread_mutex_lock(&lock);
    entry = g_hash_table_lookup(dir->names, name);
    node = entry->node;
    full = has_entries(node);
    if (!full) {
        entry_remove(dir, entry);
        drop_link(dir, node);
    }
    pthread_mutex_unlock(&lock);
    fuse_reply_err(req, full ? ENOTEMPTY : 0);
}

static void op_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t new_parent,
                      const char *new_name, unsigned flags)
{
    int error;

    if (flags & ~(unsigned)RENAME_NOREPLACE) { /* which the kernel has seen to */
        fuse_reply_err(req, EINVAL);
        return;
    }
    pthread_mutex_lock(&lock);
    error = move(node_of(parent), name, node_of(new_parent), new_name);
    pthread_mutex_unlock(&lock);
    fuse_reply_err(req, error);
}

/* ---- listing ---- */

struct listing {
    fuse_req_t req;
    char *buf;
    size_t size, used;
    bool plus;
};

/* Without a node it has no lookup: "." and "..". */
static bool list_one(struct listing *l, const char *name, fuse_ino_t ino, struct node *node,
                     uint64_t next)
{
    struct fuse_entry_param e = {.attr = {.st_ino = ino, .st_mode = S_IFDIR}};
    size_t room = l->size - l->used, len;

    if (node)
        e.attr = node->attr;
    if (node && l->plus)
        fill_entry(node, &e);
    if (l->plus)
        len = fuse_add_direntry_plus(l->req, l->buf + l->used, room, name, &e, (off_t)next);
    else
        len = fuse_add_direntry(l->req, l->buf + l->used, room, name, &e.attr, (off_t)next);
    if (len <= room) {
        l->used += len;
        return true;
    }
    if (node && l->plus)
        node->lookups--;
    return false;
}

static void list_from(struct listing *l, struct node *dir, uint64_t cookie)
{
    GTreeNode *at = g_tree_lower_bound(dir->order, GSIZE_TO_POINTER(cookie));

    if (cookie < 1 && !list_one(l, ".", dir->attr.st_ino, NULL, 1))
        return;
    if (cookie < FIRST_COOKIE && !list_one(l, "..", dir->parent, NULL, FIRST_COOKIE))
        return;
    for (; at; at = g_tree_node_next(at)) {
        struct entry *entry = g_tree_node_value(at);

        if (!list_one(l, entry->name, entry->node->attr.st_ino, entry->node, entry->cookie + 1))
            return;
    }
}

static void list(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, bool plus)
{
    struct listing l = {.req = req, .size = MIN(size, READDIR_BYTES_MAX), .plus = plus};

    l.buf = g_malloc(l.size);
    pthread_mutex_lock(&lock);
    list_from(&l, node_of(ino), (uint64_t)offset);
    pthread_mutex_unlock(&lock);
    fuse_reply_buf(req, l.buf, l.used);
    g_free(l.buf);
}

static void op_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset,
                       struct fuse_file_info *fi)
{
    list(req, ino, size, offset, false);
}

static void op_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset,
                           struct fuse_file_info *fi)
{
    list(req, ino, size, offset, true);
}

/* ---- data ---- */

static void op_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset,
                    struct fuse_file_info *fi)
{
    off_t left = MAX(attr_of(ino).st_size - offset, 0);

    size = MIN(size, sizeof(zeros));
    fuse_reply_buf(req, zeros, MIN(size, (size_t)left));
}

static void op_write(fuse_req_t req, fuse_ino_t ino, const char *buf, size_t size, off_t offset,
                     struct fuse_file_info *fi)
{
    off_t end = offset + (off_t)size;
    struct node *node = node_of(ino);

    pthread_mutex_lock(&lock);
    set_size(node, MAX(end, node->attr.st_size));
    touch(node, true);
    pthread_mutex_unlock(&lock);
    fuse_reply_write(req, size);
}

static void op_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
    fuse_reply_err(req, 0);
}

/* ---- the session ---- */

/* What encsanfs asks for. */
static void op_init(void *userdata, struct fuse_conn_info *conn)
{
    conn->want &= ~(unsigned)(FUSE_CAP_ATOMIC_O_TRUNC | FUSE_CAP_WRITEBACK_CACHE |
                              FUSE_CAP_AUTO_INVAL_DATA | FUSE_CAP_READDIRPLUS_AUTO |
                              FUSE_CAP_SPLICE_READ | FUSE_CAP_HANDLE_KILLPRIV);
    conn->want |= conn->capable & (FUSE_CAP_NO_OPEN_SUPPORT | FUSE_CAP_NO_OPENDIR_SUPPORT |
                                   FUSE_CAP_READDIRPLUS | FUSE_CAP_PARALLEL_DIROPS |
                                   FUSE_CAP_EXPORT_SUPPORT);
    conn->max_write = MAX_WRITE_BYTES;
    conn->max_background = MAX_BACKGROUND;
}

static void op_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    fuse_reply_err(req, ENOSYS); /* the kernel asks once, and never again */
}

/* What encsanfs does not have is not here either (flush, release, access); and
 * no benchmark asks for what it has more (setxattr, fallocate, lseek). */
static const struct fuse_lowlevel_ops ops = {
    .init = op_init,
    .lookup = op_lookup,
    .forget = op_forget,
    .forget_multi = op_forget_multi,
    .getattr = op_getattr,
    .setattr = op_setattr,
    .readlink = op_readlink,
    .mknod = op_mknod,
    .mkdir = op_mkdir,
    .unlink = op_remove,
    .rmdir = op_remove,
    .symlink = op_symlink,
    .rename = op_rename,
    .link = op_link,
    .open = op_open,
    .opendir = op_open,
    .read = op_read,
    .write = op_write,
    .fsync = op_fsync,
    .fsyncdir = op_fsync,
    .readdir = op_readdir,
    .readdirplus = op_readdirplus,
    .statfs = op_statfs,
    .getxattr = op_getxattr,
    .listxattr = op_listxattr,
};

static int serve(struct fuse_session *session)
{
    struct fuse_loop_config *config = fuse_loop_cfg_create();
    int error;

    if (!config)
        return 1;
    error = fuse_session_loop_mt(session, config);
    fuse_loop_cfg_destroy(config);
    return error < 0 ? 1 : 0; /* above 0 it is a signal */
}

static int mount_and_serve(struct fuse_args *args, const char *mountpoint)
{
    struct fuse_session *session = fuse_session_new(args, &ops, sizeof(ops), NULL);
    int status = 1;

    if (!session)
        return EXIT_USAGE; /* it has said which option is unknown */
    /* a shell that starts us with & ignores SIGINT, and libfuse would leave it so */
    signal(SIGINT, SIG_DFL);
    if (fuse_set_signal_handlers(session) == 0) {
        if (fuse_session_mount(session, mountpoint) == 0) {
            status = serve(session);
            fuse_session_unmount(session);
        }
        fuse_remove_signal_handlers(session);
    }
    fuse_session_destroy(session);
    return status;
}

/* ---- the command line ---- */

static int parse_one(void *data, const char *text, int key, struct fuse_args *rest)
{
    char **mountpoint = data;

    if (key != FUSE_OPT_KEY_NONOPT)
        return *text == '-' ? -1 : 1;
    if (*mountpoint)
        return -1;
    *mountpoint = g_strdup(text);
    return 0;
}

static const struct fuse_opt switches[] = {FUSE_OPT_KEY("-f", FUSE_OPT_KEY_DISCARD), FUSE_OPT_END};

/* As encsanfs is mounted, by root too; the user's options come later, and count. */
static int add_options(struct fuse_args *args)
{
    if (fuse_opt_insert_arg(args, 1, "-ofsname=nullfuse,subtype=nullfuse,default_permissions"))
        return -1;
    return geteuid() == 0 ? fuse_opt_insert_arg(args, 1, "-oallow_other") : 0;
}

/* encsanfs's, see there */
static void tune_process(void)
{
    prctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0);
    mallopt(M_MMAP_THRESHOLD, 4 << 20);
    mallopt(M_TRIM_THRESHOLD, 16 << 20);
    mallopt(M_ARENA_MAX, 2);
    /* memory of its own, instead of one page of the kernel's again and again */
    explicit_bzero(zeros, sizeof(zeros));
}

int main(int argc, char *argv[])
{
    struct fuse_args args = FUSE_ARGS_INIT(argc, argv);
    char *mountpoint = NULL;
    int status = EXIT_USAGE;

    if (fuse_opt_parse(&args, &mountpoint, switches, parse_one) == 0 && mountpoint) {
        tune_process();
        root = node_new(S_IFDIR | 0755, 0, getuid(), getgid());
        status = add_options(&args) ? 1 : mount_and_serve(&args, mountpoint);
    }
    if (status == EXIT_USAGE)
        fputs("usage: nullfuse MOUNTPOINT -f [-o option,...]\n", stderr);
    g_free(mountpoint);
    fuse_opt_free_args(&args);
    return status;
}
