// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Names. libext2fs looks them up by walking through the whole directory, so a
 * directory that is used gets an index: name to inode and block, and for each
 * block the largest piece that a new entry could have. It is built by the first
 * operation, kept in step by each, and lives as long as the kernel knows the
 * directory.
 *
 * Entries are written by our own code into linear directories. Those with a
 * hash tree (the kernel makes them) get theirs from ext2fs_link, which knows
 * how to insert there; their index knows names but not for sure blocks.
 */
#include "fs.h"

#include <errno.h>
#include <linux/fs.h>
#include <string.h>

#define NAME_BYTES_MAX 255
#define LINKS_MAX 65000
#define FAST_SYMLINK_MAX 59

struct place {
    ext2_ino_t ino;
    uint32_t block; /* logical, in the directory */
};

struct dir_index {
    GHashTable *names; /* char * -> struct place * */
    GArray *room;      /* uint16_t a block: bytes that an entry could have */
    uint32_t next;     /* block to look for room first */
};

void dir_index_free(struct dir_index *index)
{
    g_hash_table_destroy(index->names);
    g_array_free(index->room, TRUE);
    g_free(index);
}

/* ---- blocks of a directory ---- */

static uint32_t block_count(struct fs *fs, const struct inode *dir)
{
    return (uint32_t)(inode_size(dir) / fs->ext2->blocksize);
}

/* Where its last entry ends: the checksum's tail follows. */
static uint32_t entries_end(struct fs *fs)
{
    return fs->ext2->blocksize - (ext2fs_has_feature_metadata_csum(fs->ext2->super)
                                      ? (uint32_t)sizeof(struct ext2_dir_entry_tail)
                                      : 0);
}

static int map_block(struct fs *fs, struct inode *dir, uint32_t block, blk64_t *physical)
{
    errcode_t err = ext2fs_bmap2(fs->ext2, dir->ino, (struct ext2_inode *)&dir->raw, NULL, 0, block,
                                 NULL, physical);

    if (!err && *physical == 0)
        return -EUCLEAN;
    return fs_errno(err);
}

static int read_block(struct fs *fs, struct inode *dir, uint32_t block, uint8_t *buf)
{
    blk64_t physical;
    int error = map_block(fs, dir, block, &physical);

    return error ? error : fs_errno(ext2fs_read_dir_block4(fs->ext2, physical, buf, 0, dir->ino));
}

static int write_block(struct fs *fs, struct inode *dir, uint32_t block, uint8_t *buf)
{
    blk64_t physical;
    int error = map_block(fs, dir, block, &physical);

    return error ? error : fs_errno(ext2fs_write_dir_block4(fs->ext2, physical, buf, 0, dir->ino));
}

static uint32_t entry_bytes(size_t name_len)
{
    return (uint32_t)(8 + name_len + 3) & ~3u;
}

/* The entry at `at`, or NULL where the block does not make sense. */
static struct ext2_dir_entry *entry_at(struct fs *fs, uint8_t *buf, uint32_t at, uint32_t *len)
{
    struct ext2_dir_entry *e = (struct ext2_dir_entry *)(buf + at);

    if (at + 8 > fs->ext2->blocksize || ext2fs_get_rec_len(fs->ext2, e, len) != 0 || *len < 8 ||
        *len % 4 || at + *len > fs->ext2->blocksize ||
        entry_bytes((size_t)ext2fs_dirent_name_len(e)) > *len)
        return NULL;
    return e;
}

/* What an entry leaves for another one behind it. */
static uint32_t slack(const struct ext2_dir_entry *e, uint32_t len)
{
    return e->inode ? len - entry_bytes((size_t)ext2fs_dirent_name_len(e)) : len;
}

static bool is_dot(const struct ext2_dir_entry *e)
{
    int len = ext2fs_dirent_name_len(e);

    return (len == 1 && e->name[0] == '.') || (len == 2 && e->name[0] == '.' && e->name[1] == '.');
}

/* ---- the index ---- */

static int index_block(struct fs *fs, struct dir_index *index, uint8_t *buf, uint32_t block)
{
    uint32_t end = entries_end(fs), len;
    uint16_t room = 0;

    for (uint32_t at = 0; at < end; at += len) {
        struct ext2_dir_entry *e = entry_at(fs, buf, at, &len);

        if (!e)
            return -EUCLEAN;
        if (slack(e, len) > room)
            room = (uint16_t)slack(e, len);
        if (e->inode && !is_dot(e)) {
            struct place *place = g_new(struct place, 1);

            *place = (struct place){e->inode, block};
            g_hash_table_insert(index->names,
                                g_strndup(e->name, (gsize)ext2fs_dirent_name_len(e)), place);
        }
    }
    g_array_append_val(index->room, room);
    return 0;
}

static bool is_hashed(const struct inode *dir)
{
    return dir->raw.i_flags & EXT2_INDEX_FL;
}

/* An inner node of a hash tree looks like one empty entry over the whole block. */
static int load(struct fs *fs, struct inode *dir)
{
    struct dir_index *index;
    uint8_t buf[ENCSAN_BLOCK_BYTES];
    int error = 0;

    if (!LINUX_S_ISDIR(dir->raw.i_mode))
        return -ENOTDIR;
    if (dir->index)
        return 0;
    index = g_new0(struct dir_index, 1);
    index->names = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
    index->room = g_array_new(FALSE, FALSE, sizeof(uint16_t));
    for (uint32_t b = 0; b < block_count(fs, dir) && !error; b++) {
        error = read_block(fs, dir, b, buf);
        if (!error)
            error = index_block(fs, index, buf, b);
    }
    if (error)
        dir_index_free(index);
    else
        dir->index = index;
    return error;
}

static struct place *find(const struct inode *dir, const char *name)
{
    return g_hash_table_lookup(dir->index->names, name);
}

static uint16_t largest_slack(struct fs *fs, uint8_t *buf)
{
    uint32_t end = entries_end(fs), len;
    uint16_t room = 0;

    for (uint32_t at = 0; at < end; at += len) {
        struct ext2_dir_entry *e = entry_at(fs, buf, at, &len);

        if (!e)
            break;
        if (slack(e, len) > room)
            room = (uint16_t)slack(e, len);
    }
    return room;
}

/* ---- inserting ---- */

static int file_type(mode_t mode)
{
    switch (mode & S_IFMT) {
    case S_IFREG:
        return EXT2_FT_REG_FILE;
    case S_IFDIR:
        return EXT2_FT_DIR;
    case S_IFCHR:
        return EXT2_FT_CHRDEV;
    case S_IFBLK:
        return EXT2_FT_BLKDEV;
    case S_IFIFO:
        return EXT2_FT_FIFO;
    case S_IFSOCK:
        return EXT2_FT_SOCK;
    case S_IFLNK:
        return EXT2_FT_SYMLINK;
    default:
        return EXT2_FT_UNKNOWN;
    }
}

static void put_entry(struct fs *fs, struct ext2_dir_entry *e, uint32_t len, const char *name,
                      ext2_ino_t ino, int type)
{
    size_t name_len = strlen(name);

    (void)ext2fs_set_rec_len(fs->ext2, len, e); /* a multiple of 4 below 64 KiB always fits */
    e->inode = ino;
    e->name_len = 0;
    ext2fs_dirent_set_name_len(e, (int)name_len);
    if (ext2fs_has_feature_filetype(fs->ext2->super))
        ext2fs_dirent_set_file_type(e, type);
    memcpy(e->name, name, name_len);
}

static int insert_into(struct fs *fs, struct inode *dir, uint32_t block, const char *name,
                       ext2_ino_t ino, int type)
{
    uint8_t buf[ENCSAN_BLOCK_BYTES];
    uint32_t need = entry_bytes(strlen(name)), end = entries_end(fs), len;
    int error = read_block(fs, dir, block, buf);

    for (uint32_t at = 0; !error && at < end; at += len) {
        struct ext2_dir_entry *e = entry_at(fs, buf, at, &len);
        uint32_t used;

        if (!e)
            return -EUCLEAN;
        if (slack(e, len) < need)
            continue;
        used = len - slack(e, len);
        if (used) {
            (void)ext2fs_set_rec_len(fs->ext2, used, e);
            e = (struct ext2_dir_entry *)(buf + at + used);
        }
        put_entry(fs, e, len - used, name, ino, type);
        error = write_block(fs, dir, block, buf);
        if (!error)
            g_array_index(dir->index->room, uint16_t, block) = largest_slack(fs, buf);
        return error;
    }
    return error ? error : -EUCLEAN; /* the index said that there is room */
}

static int expand(struct fs *fs, struct inode *dir)
{
    uint16_t room = (uint16_t)entries_end(fs);
    errcode_t err = ext2fs_expand_dir(fs->ext2, dir->ino);
    int error;

    if (err)
        return err == EXT2_ET_BLOCK_ALLOC_FAIL ? -ENOSPC : fs_errno(err);
    error = inode_refresh(fs, dir);
    if (!error && !is_hashed(dir))
        g_array_append_val(dir->index->room, room);
    return error;
}

/* The block with room for `need` bytes; the directory grows if there is none. */
static int find_room(struct fs *fs, struct inode *dir, uint32_t need, uint32_t *block)
{
    struct dir_index *index = dir->index;
    int error;

    for (uint32_t i = 0; i < index->room->len; i++) {
        *block = (index->next + i) % index->room->len;
        if (g_array_index(index->room, uint16_t, *block) >= need) {
            index->next = *block;
            return 0;
        }
    }
    error = expand(fs, dir);
    *block = index->next = index->room->len - 1;
    return error;
}

static int insert_hashed(struct fs *fs, struct inode *dir, const char *name, ext2_ino_t ino,
                         int type)
{
    errcode_t err = ext2fs_link(fs->ext2, dir->ino, name, ino, type);
    int error;

    if (err == EXT2_ET_DIR_NO_SPACE) {
        error = expand(fs, dir);
        if (error)
            return error;
        err = ext2fs_link(fs->ext2, dir->ino, name, ino, type);
    }
    error = fs_errno(err);
    return error ? error : inode_refresh(fs, dir);
}

static int add_name(struct fs *fs, struct inode *dir, const char *name, ext2_ino_t ino, mode_t mode)
{
    struct place place = {ino, 0};
    int error;

    error = inode_write(fs, dir); /* the library works on the inode by its number */
    if (error)
        return error;
    if (is_hashed(dir)) {
        error = insert_hashed(fs, dir, name, ino, file_type(mode));
    } else {
        error = find_room(fs, dir, entry_bytes(strlen(name)), &place.block);
        if (!error)
            error = insert_into(fs, dir, place.block, name, ino, file_type(mode));
    }
    if (error)
        return error;
    g_hash_table_insert(dir->index->names, g_strdup(name), g_memdup2(&place, sizeof place));
    inode_touch(dir, true);
    return inode_write(fs, dir);
}

/* ---- finding, changing and removing an entry in its block ---- */

static struct ext2_dir_entry *find_in_block(struct fs *fs, uint8_t *buf, const char *name,
                                            struct ext2_dir_entry **previous)
{
    uint32_t end = entries_end(fs), len;
    size_t name_len = strlen(name);

    *previous = NULL;
    for (uint32_t at = 0; at < end; at += len) {
        struct ext2_dir_entry *e = entry_at(fs, buf, at, &len);

        if (!e)
            return NULL;
        if (e->inode && (size_t)ext2fs_dirent_name_len(e) == name_len &&
            memcmp(e->name, name, name_len) == 0)
            return e;
        *previous = e;
    }
    return NULL;
}

/* Reads the block that has the entry. In a hashed directory it may have moved. */
static int find_entry(struct fs *fs, struct inode *dir, const char *name, uint8_t *buf,
                      uint32_t *block, struct ext2_dir_entry **entry,
                      struct ext2_dir_entry **previous)
{
    struct place *place = find(dir, name);
    uint32_t first = place ? place->block : 0, count = block_count(fs, dir);

    for (uint32_t i = 0; i < count; i++) {
        int error;

        *block = (first + i) % count;
        error = read_block(fs, dir, *block, buf);
        if (error)
            return error;
        *entry = find_in_block(fs, buf, name, previous);
        if (*entry)
            return 0;
    }
    return -EUCLEAN;
}

static int remove_name(struct fs *fs, struct inode *dir, const char *name)
{
    uint8_t buf[ENCSAN_BLOCK_BYTES];
    struct ext2_dir_entry *entry, *previous;
    uint32_t block, len, previous_len;
    int error = find_entry(fs, dir, name, buf, &block, &entry, &previous);

    if (error)
        return error;
    if (previous) {
        (void)ext2fs_get_rec_len(fs->ext2, entry, &len); /* entry_at has checked both */
        (void)ext2fs_get_rec_len(fs->ext2, previous, &previous_len);
        (void)ext2fs_set_rec_len(fs->ext2, previous_len + len, previous);
    } else {
        entry->inode = 0;
        ext2fs_dirent_set_name_len(entry, 0);
    }
    error = write_block(fs, dir, block, buf);
    if (error)
        return error;
    if (!is_hashed(dir))
        g_array_index(dir->index->room, uint16_t, block) = largest_slack(fs, buf);
    g_hash_table_remove(dir->index->names, name);
    inode_touch(dir, true);
    return inode_write(fs, dir);
}

/* The entry names another inode now. */
static int replace_name(struct fs *fs, struct inode *dir, const char *name, ext2_ino_t ino,
                        mode_t mode)
{
    uint8_t buf[ENCSAN_BLOCK_BYTES];
    struct ext2_dir_entry *entry, *previous;
    uint32_t block;
    int error = find_entry(fs, dir, name, buf, &block, &entry, &previous);

    if (error)
        return error;
    entry->inode = ino;
    if (ext2fs_has_feature_filetype(fs->ext2->super))
        ext2fs_dirent_set_file_type(entry, file_type(mode));
    error = write_block(fs, dir, block, buf);
    if (error)
        return error;
    if (strcmp(name, "..") != 0) {
        find(dir, name)->ino = ino;
        inode_touch(dir, true);
    }
    return inode_write(fs, dir);
}

/* ---- lookup and listing ---- */

static int check_name(const char *name)
{
    return strlen(name) > NAME_BYTES_MAX ? -ENAMETOOLONG : 0;
}


static int parent_of(struct fs *fs, struct inode *dir, ext2_ino_t *ino)
{
    uint8_t buf[ENCSAN_BLOCK_BYTES];
    struct ext2_dir_entry *entry, *previous;
    uint32_t block;
    int error = find_entry(fs, dir, "..", buf, &block, &entry, &previous);

    if (!error)
        *ino = entry->inode;
    return error;
}

int dir_lookup(struct fs *fs, struct inode *dir, const char *name, ext2_ino_t *ino)
{
    const struct place *place;
    int error = check_name(name);

    if (!error)
        error = load(fs, dir);
    if (error)
        return error;
    if (strcmp(name, ".") == 0) {
        *ino = dir->ino;
        return 0;
    }
    if (strcmp(name, "..") == 0)
        return parent_of(fs, dir, ino);
    place = find(dir, name);
    if (!place)
        return -ENOENT;
    *ino = place->ino;
    return 0;
}

int dir_iterate(struct fs *fs, struct inode *dir, uint64_t offset,
                int (*each)(void *opaque, const char *name, ext2_ino_t ino, int type,
                            uint64_t next_offset),
                void *opaque)
{
    uint8_t buf[ENCSAN_BLOCK_BYTES];
    uint32_t size = fs->ext2->blocksize, end = entries_end(fs), len;
    char name[NAME_BYTES_MAX + 1];

    for (uint32_t b = (uint32_t)(offset / size); b < block_count(fs, dir); b++) {
        int error = read_block(fs, dir, b, buf);

        if (error)
            return error;
        for (uint32_t at = 0; at < end; at += len) {
            struct ext2_dir_entry *e = entry_at(fs, buf, at, &len);

            if (!e)
                return -EUCLEAN;
            if (!e->inode || (uint64_t)b * size + at < offset)
                continue;
            memcpy(name, e->name, (size_t)ext2fs_dirent_name_len(e));
            name[ext2fs_dirent_name_len(e)] = 0;
            /* a cookie inside the entry: stays before what is put behind it later */
            if (each(opaque, name, e->inode, ext2fs_dirent_file_type(e), (uint64_t)b * size + at + 1))
                return 0;
        }
    }
    return 0;
}

/* ---- creation ---- */

/* A directory has a link from itself and one from each subdirectory; past
 * LINKS_MAX ext4 says 1 (dir_nlink), which means "many". */
static void add_subdirectory(struct fs *fs, struct inode *dir)
{
    if (dir->raw.i_links_count == 1)
        return;
    if (++dir->raw.i_links_count > LINKS_MAX) {
        dir->raw.i_links_count = 1;
        ext2fs_set_feature_dir_nlink(fs->ext2->super);
    }
}

static void remove_subdirectory(struct inode *dir)
{
    if (dir->raw.i_links_count > 2)
        dir->raw.i_links_count--;
}

/* Gives the file its first block, with `content`, as metadata. */
static int write_first_block(struct fs *fs, struct inode *inode, const uint8_t *content, bool is_dir)
{
    ext2_filsys e = fs->ext2;
    blk64_t goal = ext2fs_find_inode_goal(e, inode->ino, (struct ext2_inode *)&inode->raw, 0), block;
    errcode_t err = ext2fs_new_block2(e, goal, NULL, &block);

    if (err)
        return err == EXT2_ET_BLOCK_ALLOC_FAIL ? -ENOSPC : fs_errno(err);
    err = ext2fs_bmap2(e, inode->ino, (struct ext2_inode *)&inode->raw, NULL, BMAP_SET, 0, NULL, &block);
    if (err)
        return fs_errno(err);
    ext2fs_block_alloc_stats2(e, block, +1);
    ext2fs_iblk_set(e, (struct ext2_inode *)&inode->raw, 1);
    if (is_dir)
        err = ext2fs_write_dir_block4(e, block, (void *)content, 0, inode->ino);
    else
        err = io_channel_write_blk64(e->io, block, 1, content);
    return fs_errno(err);
}

static int fill_directory(struct fs *fs, struct inode *inode, const struct inode *parent)
{
    char *block;
    errcode_t err = ext2fs_new_dir_block(fs->ext2, inode->ino, parent->ino, &block);
    int error = fs_errno(err);

    if (error)
        return error;
    inode_set_size(inode, fs->ext2->blocksize);
    error = write_first_block(fs, inode, (uint8_t *)block, true);
    ext2fs_free_mem(&block);
    return error;
}

static int fill_symlink(struct fs *fs, struct inode *inode, const char *target)
{
    uint8_t block[ENCSAN_BLOCK_BYTES] = {0};
    size_t len = strlen(target);

    if (len >= sizeof block)
        return -ENAMETOOLONG;
    inode_set_size(inode, len);
    if (len <= FAST_SYMLINK_MAX) {
        memset(inode->raw.i_block, 0, sizeof inode->raw.i_block);
        memcpy(inode->raw.i_block, target, len);
        return 0;
    }
    if (ext2fs_has_feature_extents(fs->ext2->super)) {
        struct ext3_extent_header *header = (struct ext3_extent_header *)inode->raw.i_block;

        inode->raw.i_flags |= EXT4_EXTENTS_FL;
        header->eh_magic = ext2fs_cpu_to_le16(EXT3_EXT_MAGIC);
        header->eh_max = ext2fs_cpu_to_le16(4);
    }
    memcpy(block, target, len);
    return write_first_block(fs, inode, block, false);
}

static void fill_device(struct inode *inode, dev_t rdev)
{
    uint32_t major = (uint32_t)(rdev >> 8 & 0xfff), minor = (uint32_t)((rdev & 0xff) | (rdev >> 12 & 0xfff00));

    if (major < 256 && minor < 256)
        inode->raw.i_block[0] = major << 8 | minor;
    else
        inode->raw.i_block[1] = (minor & 0xff) | major << 8 | (minor & ~0xffu) << 12;
}

static int fill(struct fs *fs, struct inode *inode, struct inode *dir, const struct dir_new *new)
{
    mode_t mode = inode->raw.i_mode;
    int error = 0;

    if (S_ISDIR(mode))
        error = fill_directory(fs, inode, dir);
    else if (S_ISLNK(mode))
        error = fill_symlink(fs, inode, new->target);
    else if (S_ISCHR(mode) || S_ISBLK(mode))
        fill_device(inode, new->rdev);
    if (error)
        return error;
    inode->raw.i_links_count = S_ISDIR(mode) ? 2 : 1;
    error = acl_inherit(fs, dir, inode, new->umask);
    if (error)
        return error;
    return inode_write(fs, inode);
}

int dir_create(struct fs *fs, struct inode *dir, const char *name, const struct dir_new *new,
               struct inode **made)
{
    int error = check_name(name);

    if (!error)
        error = load(fs, dir);
    if (error)
        return error;
    if (dir->raw.i_links_count == 0)
        return -ENOENT; /* removed, but somebody's working directory */
    if (find(dir, name))
        return -EEXIST;
    error = inode_new(fs, dir, new->mode, new->uid, new->gid, made);
    if (error)
        return error;
    error = fill(fs, *made, dir, new);
    if (!error)
        error = add_name(fs, dir, name, (*made)->ino, new->mode);
    if (error) {
        inode_undo(fs, *made);
        return error;
    }
    if (S_ISDIR(new->mode)) {
        add_subdirectory(fs, dir);
        error = inode_write(fs, dir);
    }
    return error;
}

int dir_link(struct fs *fs, struct inode *inode, struct inode *dir, const char *name)
{
    int error = check_name(name);

    if (!error)
        error = load(fs, dir);
    if (error)
        return error;
    if (dir->raw.i_links_count == 0 || inode->raw.i_links_count == 0)
        return -ENOENT;
    if (inode->raw.i_links_count >= LINKS_MAX)
        return -EMLINK;
    if (find(dir, name))
        return -EEXIST;
    error = add_name(fs, dir, name, inode->ino, inode->raw.i_mode);
    if (error)
        return error;
    inode->raw.i_links_count++;
    inode_touch(inode, false);
    return inode_write(fs, inode);
}

/* ---- removal ---- */

/* One name less. Without any the inode waits on the orphan list until the
 * kernel forgets it. */
static int drop_link(struct fs *fs, struct inode *inode)
{
    if (LINUX_S_ISDIR(inode->raw.i_mode))
        inode->raw.i_links_count = 0;
    else
        inode->raw.i_links_count--;
    inode_touch(inode, false);
    return inode->raw.i_links_count == 0 ? inode_orphan(fs, inode) : inode_write(fs, inode);
}

/* The inode behind a name, with a lookup to be put back. */
static int get_named(struct fs *fs, struct inode *dir, const char *name, struct inode **inode)
{
    ext2_ino_t ino;
    int error = dir_lookup(fs, dir, name, &ino);

    return error ? error : inode_get(fs, ino, inode);
}

static int check_empty(struct fs *fs, struct inode *dir)
{
    int error = load(fs, dir);

    if (error)
        return error;
    return g_hash_table_size(dir->index->names) ? -ENOTEMPTY : 0;
}

static int unlink_inode(struct fs *fs, struct inode *dir, const char *name, struct inode *inode)
{
    bool is_dir = LINUX_S_ISDIR(inode->raw.i_mode);
    int error = remove_name(fs, dir, name);

    if (error)
        return error;
    if (is_dir) {
        remove_subdirectory(dir);
        error = inode_write(fs, dir);
    }
    return error ? error : drop_link(fs, inode);
}

static int remove_entry(struct fs *fs, struct inode *dir, const char *name, bool want_dir)
{
    struct inode *inode;
    int error = get_named(fs, dir, name, &inode);
    bool is_dir;

    if (error)
        return error;
    is_dir = LINUX_S_ISDIR(inode->raw.i_mode);
    if (is_dir != want_dir)
        error = want_dir ? -ENOTDIR : -EISDIR;
    else if (is_dir)
        error = check_empty(fs, inode);
    if (!error)
        error = unlink_inode(fs, dir, name, inode);
    inode_put(fs, inode, 1);
    return error;
}

int dir_unlink(struct fs *fs, struct inode *dir, const char *name)
{
    return remove_entry(fs, dir, name, false);
}

int dir_rmdir(struct fs *fs, struct inode *dir, const char *name)
{
    return remove_entry(fs, dir, name, true);
}

/* ---- rename ---- */

/* A directory came from one parent to another. */
static int reparent(struct fs *fs, struct inode *moved, struct inode *from, struct inode *to)
{
    int error;

    if (from == to || !LINUX_S_ISDIR(moved->raw.i_mode))
        return 0;
    error = load(fs, moved);
    if (!error)
        error = replace_name(fs, moved, "..", to->ino, S_IFDIR);
    if (error)
        return error;
    remove_subdirectory(from);
    add_subdirectory(fs, to);
    error = inode_write(fs, from);
    return error ? error : inode_write(fs, to);
}

static int check_replace(struct fs *fs, const struct inode *moved, struct inode *victim)
{
    if (!LINUX_S_ISDIR(victim->raw.i_mode))
        return LINUX_S_ISDIR(moved->raw.i_mode) ? -ENOTDIR : 0;
    return LINUX_S_ISDIR(moved->raw.i_mode) ? check_empty(fs, victim) : -EISDIR;
}

static int rename_over(struct fs *fs, struct inode *moved, struct inode *dir, const char *name,
                       struct inode *new_dir, const char *new_name, struct inode *victim)
{
    int error = check_replace(fs, moved, victim);

    if (!error)
        error = replace_name(fs, new_dir, new_name, moved->ino, moved->raw.i_mode);
    if (!error)
        error = remove_name(fs, dir, name);
    if (error)
        return error;
    if (LINUX_S_ISDIR(victim->raw.i_mode)) {
        remove_subdirectory(new_dir);
        error = inode_write(fs, new_dir);
    }
    if (!error)
        error = reparent(fs, moved, dir, new_dir);
    return error ? error : drop_link(fs, victim);
}

static int rename_new(struct fs *fs, struct inode *moved, struct inode *dir, const char *name,
                      struct inode *new_dir, const char *new_name)
{
    int error = add_name(fs, new_dir, new_name, moved->ino, moved->raw.i_mode);

    if (!error)
        error = remove_name(fs, dir, name);
    return error ? error : reparent(fs, moved, dir, new_dir);
}

static int exchange(struct fs *fs, struct inode *a, struct inode *dir, const char *name,
                    struct inode *b, struct inode *new_dir, const char *new_name)
{
    int error = replace_name(fs, dir, name, b->ino, b->raw.i_mode);

    if (!error)
        error = replace_name(fs, new_dir, new_name, a->ino, a->raw.i_mode);
    if (!error)
        error = reparent(fs, a, dir, new_dir);
    if (!error)
        error = reparent(fs, b, new_dir, dir);
    inode_touch(b, false);
    return error ? error : inode_write(fs, b);
}

static int rename_found(struct fs *fs, struct inode *moved, struct inode *dir, const char *name,
                        struct inode *new_dir, const char *new_name, unsigned flags)
{
    struct inode *victim = NULL;
    int error = get_named(fs, new_dir, new_name, &victim);

    if (error && error != -ENOENT)
        return error;
    if (!victim)
        error = flags & RENAME_EXCHANGE ? -ENOENT
                                        : rename_new(fs, moved, dir, name, new_dir, new_name);
    else if (flags & RENAME_NOREPLACE)
        error = -EEXIST;
    else if (victim == moved)
        error = 0; /* two names of one file: both stay (POSIX) */
    else if (flags & RENAME_EXCHANGE)
        error = exchange(fs, moved, dir, name, victim, new_dir, new_name);
    else
        error = rename_over(fs, moved, dir, name, new_dir, new_name, victim);
    if (victim)
        inode_put(fs, victim, 1);
    return error;
}

int dir_rename(struct fs *fs, struct inode *dir, const char *name, struct inode *new_dir,
               const char *new_name, unsigned flags)
{
    struct inode *moved;
    int error = check_name(new_name);

    if (error || flags & ~(unsigned)(RENAME_NOREPLACE | RENAME_EXCHANGE))
        return error ? error : -EINVAL;
    if (new_dir->raw.i_links_count == 0)
        return -ENOENT;
    error = get_named(fs, dir, name, &moved);
    if (error)
        return error;
    error = rename_found(fs, moved, dir, name, new_dir, new_name, flags);
    if (!error) {
        inode_touch(moved, false);
        error = inode_write(fs, moved);
    }
    inode_put(fs, moved, 1);
    return error;
}

int dir_readlink(struct fs *fs, struct inode *inode, char *buf, size_t size)
{
    uint8_t block[ENCSAN_BLOCK_BYTES];
    uint64_t len = inode_size(inode);
    const uint8_t *from = (const uint8_t *)inode->raw.i_block;
    blk64_t physical;

    if (!LINUX_S_ISLNK(inode->raw.i_mode))
        return -EINVAL;
    if (!ext2fs_is_fast_symlink((struct ext2_inode *)&inode->raw)) {
        int error = map_block(fs, inode, 0, &physical);

        if (!error)
            error = fs_errno(io_channel_read_blk64(fs->ext2->io, physical, 1, block));
        if (error)
            return error;
        from = block;
    }
    if (len >= size || len >= sizeof block)
        return -ENAMETOOLONG;
    memcpy(buf, from, len);
    buf[len] = 0;
    return 0;
}
