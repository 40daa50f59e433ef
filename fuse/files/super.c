// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The file system as a whole: what a mount refuses, opening, closing, and how
 * changed metadata gets to the volume.
 *
 * libext2fs keeps bitmaps, group descriptors and the superblock in memory, and
 * its own way to write them writes all. Here only the groups that changed are
 * written: those that the block callback names, those whose descriptor or inode
 * bitmap differs from what was last written. (The callback alone misses
 * ext2fs_new_inode, which clears BLOCK_UNINIT; the descriptors alone miss an
 * inode freed and another taken.)
 *
 * While we have the file system, EXT2_VALID_FS is not set on the volume; a mount
 * that finds it so lets e2fsck look first. After a failed write-back nothing is
 * written any more, and it stays so.
 */
#include "fs.h"

#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "log.h"

G_STATIC_ASSERT(G_BYTE_ORDER == G_LITTLE_ENDIAN); /* ext4's: descriptors go out as they lie here */

#define CACHE_BYTES (64u << 20)
#define WRITE_BACK_SECONDS 5
#define PROBE_BYTES (68u << 10) /* as far as btrfs's superblock */
#define MAX_BITMAP_BYTES ENCSAN_BLOCK_BYTES

/* ---- what a mount finds ---- */

enum feature_set { COMPAT, INCOMPAT, RO_COMPAT };

static const struct feature {
    enum feature_set set;
    uint32_t bit;
    const char *name;
} refused_features[] = {
    {INCOMPAT, EXT2_FEATURE_INCOMPAT_COMPRESSION, "compression"},
    {INCOMPAT, EXT3_FEATURE_INCOMPAT_JOURNAL_DEV, "journal_dev"},
    {INCOMPAT, EXT4_FEATURE_INCOMPAT_MMP, "mmp"},
    {INCOMPAT, EXT4_FEATURE_INCOMPAT_EA_INODE, "ea_inode"},
    {INCOMPAT, EXT4_FEATURE_INCOMPAT_DIRDATA, "dirdata"},
    {INCOMPAT, EXT4_FEATURE_INCOMPAT_INLINE_DATA, "inline_data"},
    {INCOMPAT, EXT4_FEATURE_INCOMPAT_ENCRYPT, "encrypt"},
    {INCOMPAT, EXT4_FEATURE_INCOMPAT_CASEFOLD, "casefold"},
    {RO_COMPAT, EXT4_FEATURE_RO_COMPAT_HAS_SNAPSHOT, "snapshot"},
    {RO_COMPAT, EXT4_FEATURE_RO_COMPAT_QUOTA, "quota"},
    {RO_COMPAT, EXT4_FEATURE_RO_COMPAT_BIGALLOC, "bigalloc"},
    {RO_COMPAT, EXT4_FEATURE_RO_COMPAT_REPLICA, "replica"},
    {RO_COMPAT, EXT4_FEATURE_RO_COMPAT_READONLY, "read-only"},
    {RO_COMPAT, EXT4_FEATURE_RO_COMPAT_PROJECT, "project"},
    {RO_COMPAT, EXT4_FEATURE_RO_COMPAT_SHARED_BLOCKS, "shared_blocks"},
    {RO_COMPAT, EXT4_FEATURE_RO_COMPAT_VERITY, "verity"},
};

#define KNOWN_INCOMPAT                                                                             \
    (EXT2_FEATURE_INCOMPAT_FILETYPE | EXT3_FEATURE_INCOMPAT_RECOVER |                              \
     EXT2_FEATURE_INCOMPAT_META_BG | EXT3_FEATURE_INCOMPAT_EXTENTS | EXT4_FEATURE_INCOMPAT_64BIT | \
     EXT4_FEATURE_INCOMPAT_FLEX_BG | EXT4_FEATURE_INCOMPAT_CSUM_SEED |                             \
     EXT4_FEATURE_INCOMPAT_LARGEDIR)
#define KNOWN_RO_COMPAT                                                                            \
    (EXT2_FEATURE_RO_COMPAT_SPARSE_SUPER | EXT2_FEATURE_RO_COMPAT_LARGE_FILE |                     \
     EXT4_FEATURE_RO_COMPAT_HUGE_FILE | EXT4_FEATURE_RO_COMPAT_GDT_CSUM |                          \
     EXT4_FEATURE_RO_COMPAT_DIR_NLINK | EXT4_FEATURE_RO_COMPAT_EXTRA_ISIZE |                       \
     EXT4_FEATURE_RO_COMPAT_METADATA_CSUM | EXT4_FEATURE_RO_COMPAT_ORPHAN_PRESENT)

static const struct other_format {
    size_t offset;
    const char *magic, *name;
} other_formats[] = {
    {0, "XFSB", "an xfs file system"},
    {0, "LUKS\xba\xbe", "a LUKS volume"},
    {4086, "SWAPSPACE2", "a swap area"},
    {(64 << 10) + 64, "_BHRfS_M", "a btrfs file system"},
};

static enum fs_state refuse(char message[ENCSAN_MESSAGE_BYTES], const char *format, ...)
    G_GNUC_PRINTF(2, 3);

static enum fs_state refuse(char message[ENCSAN_MESSAGE_BYTES], const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(message, ENCSAN_MESSAGE_BYTES, format, args);
    va_end(args);
    return FS_REFUSED;
}

static enum fs_state refuse_other_format(const uint8_t *head, size_t bytes,
                                         char message[ENCSAN_MESSAGE_BYTES])
{
    for (size_t i = 0; i < G_N_ELEMENTS(other_formats); i++) {
        const struct other_format *other = &other_formats[i];
        size_t length = strlen(other->magic);

        if (other->offset + length <= bytes && !memcmp(head + other->offset, other->magic, length))
            return refuse(message,
                          "there is %s there, which encsanfs cannot mount as files; "
                          "mount it with -o view=disk",
                          other->name);
    }
    return refuse(message, "no ext4 file system there; encsan mkfs makes one");
}

static uint32_t features(const struct ext2_super_block *super, enum feature_set set)
{
    return set == COMPAT     ? super->s_feature_compat
           : set == INCOMPAT ? super->s_feature_incompat
                             : super->s_feature_ro_compat;
}

static enum fs_state check_features(const struct ext2_super_block *super,
                                    char message[ENCSAN_MESSAGE_BYTES])
{
    uint32_t refused[] = {[COMPAT] = 0, [INCOMPAT] = 0, [RO_COMPAT] = 0};
    uint32_t incompat, ro_compat;
    enum fs_state state = FS_CLEAN;
    GString *names = g_string_new(NULL);

    for (size_t i = 0; i < G_N_ELEMENTS(refused_features); i++) {
        const struct feature *feature = &refused_features[i];

        refused[feature->set] |= feature->bit;
        if (features(super, feature->set) & feature->bit)
            g_string_append_printf(names, " %s", feature->name);
    }
    incompat = super->s_feature_incompat & ~(KNOWN_INCOMPAT | refused[INCOMPAT]);
    ro_compat = super->s_feature_ro_compat & ~(KNOWN_RO_COMPAT | refused[RO_COMPAT]);
    if (incompat)
        g_string_append_printf(names, " incompat:0x%x", incompat);
    if (ro_compat)
        g_string_append_printf(names, " ro_compat:0x%x", ro_compat);
    if (names->len)
        state = refuse(message, "the ext4 file system has features that encsanfs cannot write:%s",
                       names->str);
    else if (!(super->s_feature_compat & EXT3_FEATURE_COMPAT_HAS_JOURNAL))
        state = refuse(message, "the ext4 file system lacks the feature has_journal; "
                                "mount it with -o view=disk and run tune2fs -j");
    g_string_free(names, TRUE);
    return state;
}

static uint64_t super_blocks(const struct ext2_super_block *super)
{
    uint64_t high =
        super->s_feature_incompat & EXT4_FEATURE_INCOMPAT_64BIT ? super->s_blocks_count_hi : 0;

    return high << 32 | super->s_blocks_count;
}

/* A torn superblock is e2fsck's business: it knows the copies. */
static bool checksum_fits(const struct ext2_super_block *super)
{
    return !(super->s_feature_ro_compat & EXT4_FEATURE_RO_COMPAT_METADATA_CSUM) ||
           super->s_checksum == ext2fs_crc32c_le(~0u, (const unsigned char *)super,
                                                 offsetof(struct ext2_super_block, s_checksum));
}

static enum fs_state check_super(const struct ext2_super_block *super, uint64_t size_bytes,
                                 char message[ENCSAN_MESSAGE_BYTES])
{
    enum fs_state state;

    if (super->s_log_block_size != 2)
        return refuse(message,
                      "the ext4 file system has blocks of %llu bytes; "
                      "encsanfs needs 4096 (mkfs.ext4 -b 4096)",
                      super->s_log_block_size > 6 ? 0ull : 1024ull << super->s_log_block_size);
    state = check_features(super, message);
    if (state != FS_CLEAN)
        return state;
    if (super_blocks(super) > size_bytes / ENCSAN_BLOCK_BYTES)
        return refuse(message,
                      "the ext4 file system has %llu blocks of 4096 bytes, "
                      "but the volume only %llu; was it cut?",
                      (unsigned long long)super_blocks(super),
                      (unsigned long long)(size_bytes / ENCSAN_BLOCK_BYTES));
    if (super->s_state & EXT2_ERROR_FS)
        return refuse(message, "the ext4 file system is marked as damaged; run encsan fsck");
    if (!(super->s_state & EXT2_VALID_FS) || super->s_last_orphan ||
        super->s_feature_incompat & EXT3_FEATURE_INCOMPAT_RECOVER ||
        super->s_feature_ro_compat & EXT4_FEATURE_RO_COMPAT_ORPHAN_PRESENT)
        return FS_NEEDS_FSCK;
    return FS_CLEAN;
}

enum fs_state fs_probe(struct encsan *volume, char message[ENCSAN_MESSAGE_BYTES])
{
    struct encsan_info info;
    struct ext2_super_block super;
    enum fs_state state;
    uint8_t *head;
    size_t bytes;
    int error;

    message[0] = '\0';
    encsan_get_info(volume, &info);
    bytes = MIN(PROBE_BYTES, info.size_bytes);
    if (bytes < ENCSAN_BLOCK_BYTES)
        return refuse(message, "no ext4 file system there: the volume is empty");
    head = g_malloc(bytes);
    error = encsan_read(volume, head, bytes, 0);
    if (error) {
        state = refuse(message, "cannot read the superblock: %s", strerror(-error));
    } else {
        memcpy(&super, head + SUPERBLOCK_OFFSET, sizeof(super));
        if (super.s_magic != EXT2_SUPER_MAGIC)
            state = refuse_other_format(head, bytes, message);
        else if (!checksum_fits(&super))
            state = FS_NEEDS_FSCK;
        else
            state = check_super(&super, info.size_bytes, message);
    }
    g_free(head);
    return state;
}

/* ---- what changed goes into the cache; fs->lock held ---- */

static void group_given_or_taken(ext2_filsys ext2, blk64_t block, int inuse)
{
    struct fs *fs = ext2->priv_data;

    fs->group_changed[ext2fs_group_of_blk2(ext2, block)] = 1;
}

/* libext2fs 1.47.0 calls with the block behind the range, and with count 0. A
 * range that covers whole groups need not be known exactly: the descriptors of
 * all but the last and the one before it show it. */
static void groups_given_or_taken(ext2_filsys ext2, blk64_t block, blk_t count, int inuse)
{
    struct fs *fs = ext2->priv_data;
    dgrp_t last = ext2fs_group_of_blk2(ext2, count ? block + count - 1 : block - 1);
    dgrp_t first = count ? ext2fs_group_of_blk2(ext2, block) : last - MIN(last, 1);

    for (dgrp_t group = first; group <= last; group++)
        fs->group_changed[group] = 1;
}

static size_t inode_bitmap_bytes(const struct fs *fs)
{
    return fs->ext2->super->s_inodes_per_group / 8;
}

static errcode_t get_inode_bitmap(struct fs *fs, dgrp_t group, void *bits)
{
    size_t bytes = inode_bitmap_bytes(fs);

    return ext2fs_get_inode_bitmap_range2(fs->ext2->inode_map, (uint64_t)group * bytes * 8 + 1,
                                          bytes * 8, bits);
}

/* An inode freed and one taken in the same group leave its descriptor as it was. */
static errcode_t find_changed_inodes(struct fs *fs)
{
    ext2_filsys ext2 = fs->ext2;
    size_t bytes = inode_bitmap_bytes(fs);
    uint8_t bits[MAX_BITMAP_BYTES];

    if (!(ext2->flags & EXT2_FLAG_IB_DIRTY))
        return 0;
    for (dgrp_t group = 0; group < ext2->group_desc_count; group++) {
        errcode_t err;

        if (fs->group_changed[group] || ext2fs_bg_flags_test(ext2, group, EXT2_BG_INODE_UNINIT))
            continue;
        err = get_inode_bitmap(fs, group, bits);
        if (err)
            return err;
        if (memcmp(bits, fs->written_inodes + group * bytes, bytes))
            fs->group_changed[group] = 1;
    }
    return 0;
}

static void find_changed_descriptors(struct fs *fs)
{
    size_t size = EXT2_DESC_SIZE(fs->ext2->super);
    const uint8_t *now = (const uint8_t *)fs->ext2->group_desc;

    for (dgrp_t group = 0; group < fs->ext2->group_desc_count; group++)
        if (memcmp(now + group * size, fs->written_groups + group * size, size))
            fs->group_changed[group] = 1;
}

static errcode_t write_block_bitmap(struct fs *fs, dgrp_t group)
{
    ext2_filsys ext2 = fs->ext2;
    size_t bytes = EXT2_CLUSTERS_PER_GROUP(ext2->super) / 8;
    unsigned used = ext2fs_group_blocks_count(ext2, group);
    uint8_t bits[MAX_BITMAP_BYTES];
    errcode_t err;

    if (ext2fs_has_group_desc_csum(ext2) && ext2fs_bg_flags_test(ext2, group, EXT2_BG_BLOCK_UNINIT))
        return 0;
    memset(bits, 0xff, sizeof(bits));
    err = ext2fs_get_block_bitmap_range2(ext2->block_map, ext2fs_group_first_block2(ext2, group),
                                         used, bits);
    if (err)
        return err;
    for (unsigned i = used; i < sizeof(bits) * 8; i++) /* behind the last block: taken */
        ext2fs_set_bit(i, bits);
    err = ext2fs_block_bitmap_csum_set(ext2, group, (char *)bits, bytes);
    return err ? err
               : io_channel_write_blk64(ext2->io, ext2fs_block_bitmap_loc(ext2, group), 1, bits);
}

static errcode_t write_inode_bitmap(struct fs *fs, dgrp_t group)
{
    ext2_filsys ext2 = fs->ext2;
    size_t bytes = inode_bitmap_bytes(fs);
    uint8_t bits[MAX_BITMAP_BYTES];
    errcode_t err;

    if (ext2fs_has_group_desc_csum(ext2) && ext2fs_bg_flags_test(ext2, group, EXT2_BG_INODE_UNINIT))
        return 0;
    memset(bits, 0xff, sizeof(bits));
    err = get_inode_bitmap(fs, group, bits);
    if (!err)
        err = ext2fs_inode_bitmap_csum_set(ext2, group, (char *)bits, bytes);
    if (!err)
        err = io_channel_write_blk64(ext2->io, ext2fs_inode_bitmap_loc(ext2, group), 1, bits);
    if (!err)
        memcpy(fs->written_inodes + group * bytes, bits, bytes);
    return err;
}

/* The blocks of the descriptor table that hold a changed group. */
static errcode_t write_descriptors(struct fs *fs)
{
    ext2_filsys ext2 = fs->ext2;
    uint8_t *now = (uint8_t *)ext2->group_desc;

    for (unsigned long i = 0; i < ext2->desc_blocks; i++) {
        size_t at = i * ext2->blocksize;
        errcode_t err;

        if (!memcmp(now + at, fs->written_groups + at, ext2->blocksize))
            continue;
        err = io_channel_write_blk64(
            ext2->io, ext2fs_descriptor_block_loc2(ext2, ext2->super->s_first_data_block, i), 1,
            now + at);
        if (err)
            return err;
        memcpy(fs->written_groups + at, now + at, ext2->blocksize);
    }
    return 0;
}

static errcode_t write_super(struct fs *fs)
{
    struct ext2_super_block *super = fs->ext2->super;
    errcode_t err;

    if (!memcmp(super, &fs->written_super, sizeof(*super)))
        return 0;
    super->s_wtime = time(NULL);
    err = ext2fs_superblock_csum_set(fs->ext2, super);
    if (!err)
        err = io_channel_write_byte(fs->ext2->io, SUPERBLOCK_OFFSET, SUPERBLOCK_SIZE, super);
    if (!err)
        fs->written_super = *super;
    return err;
}

static errcode_t write_groups(struct fs *fs)
{
    ext2_filsys ext2 = fs->ext2;
    errcode_t err = find_changed_inodes(fs);

    find_changed_descriptors(fs);
    for (dgrp_t group = 0; group < ext2->group_desc_count && !err; group++) {
        if (!fs->group_changed[group])
            continue;
        err = write_block_bitmap(fs, group);
        if (!err)
            err = write_inode_bitmap(fs, group);
        if (err)
            break;
        ext2fs_group_desc_csum_set(ext2, group);
        fs->group_changed[group] = 0;
    }
    if (!err)
        err = write_descriptors(fs);
    if (!err)
        ext2->flags &= ~(EXT2_FLAG_IB_DIRTY | EXT2_FLAG_BB_DIRTY);
    return err;
}

/* What the caller could not write is lost for the file system on the volume: nothing follows it. */
static void turn_read_only(struct fs *fs, int error)
{
    if (fs->error)
        return;
    fs->error = error;
    fs->read_only = true;
    log_line(LOG_ERR,
             "cannot write to the volume: %s; the mount is now read-only, "
             "unmount it and run encsan fsck",
             strerror(-error));
}

/* All metadata to the volume, staged: 0 or -errno. */
static int write_metadata(struct fs *fs)
{
    int error;

    if (fs->error || fs->read_only)
        return fs->error;
    error = fs_errno(write_groups(fs));
    if (!error)
        error = fs_errno(write_super(fs));
    if (!error)
        error = bufcache_write_back(fs->cache);
    if (error)
        turn_read_only(fs, error);
    return fs->error;
}

/* fs->lock not held: it waits for the network. */
static int flush(struct fs *fs)
{
    int error = encsan_flush(fs->volume);

    if (error) {
        pthread_mutex_lock(&fs->lock);
        turn_read_only(fs, error);
        pthread_mutex_unlock(&fs->lock);
    }
    return error;
}

int fs_sync(struct fs *fs)
{
    bool nothing;
    int error;

    pthread_mutex_lock(&fs->lock);
    nothing = fs->read_only;
    error = write_metadata(fs);
    pthread_mutex_unlock(&fs->lock);
    return error || nothing ? error : flush(fs);
}

/* ---- the thread that writes metadata back ---- */

static void *write_now_and_then(void *opaque)
{
    struct fs *fs = opaque;
    struct timespec when;

    pthread_mutex_lock(&fs->lock);
    while (!fs->stopping) {
        clock_gettime(CLOCK_MONOTONIC, &when);
        when.tv_sec += WRITE_BACK_SECONDS;
        while (!fs->stopping && pthread_cond_timedwait(&fs->wake, &fs->lock, &when) != ETIMEDOUT)
            ;
        if (!fs->stopping)
            write_metadata(fs); /* a failure is sticky, and logged */
    }
    pthread_mutex_unlock(&fs->lock);
    return NULL;
}

static int start_writer(struct fs *fs)
{
    int error = pthread_create(&fs->writer, NULL, write_now_and_then, fs);

    fs->has_writer = !error;
    return -error;
}

static void stop_writer(struct fs *fs)
{
    if (!fs->has_writer)
        return;
    pthread_mutex_lock(&fs->lock);
    fs->stopping = true;
    pthread_cond_signal(&fs->wake);
    pthread_mutex_unlock(&fs->lock);
    pthread_join(fs->writer, NULL);
    fs->has_writer = false;
}

/* ---- opening ---- */

static int compare_blocks(const void *a, const void *b)
{
    blk64_t x = *(const blk64_t *)a, y = *(const blk64_t *)b;

    return x < y ? -1 : x > y;
}

/* ext2fs_read_bitmaps reads them one after the other, a round trip each. */
static int prefetch_bitmaps(struct fs *fs)
{
    ext2_filsys ext2 = fs->ext2;
    bool uninit = ext2fs_has_group_desc_csum(ext2);
    blk64_t *blocks = g_new(blk64_t, 2 * (size_t)ext2->group_desc_count);
    size_t count = 0;
    int error;

    for (dgrp_t group = 0; group < ext2->group_desc_count; group++) {
        if (!uninit || !ext2fs_bg_flags_test(ext2, group, EXT2_BG_BLOCK_UNINIT))
            blocks[count++] = ext2fs_block_bitmap_loc(ext2, group);
        if (!uninit || !ext2fs_bg_flags_test(ext2, group, EXT2_BG_INODE_UNINIT))
            blocks[count++] = ext2fs_inode_bitmap_loc(ext2, group);
    }
    qsort(blocks, count, sizeof(*blocks), compare_blocks);
    error = bufcache_prefetch(fs->cache, blocks, count);
    g_free(blocks);
    return error;
}

/* What is on the volume now, to compare with. */
static errcode_t remember_written(struct fs *fs)
{
    ext2_filsys ext2 = fs->ext2;
    size_t bytes = inode_bitmap_bytes(fs);
    errcode_t err = 0;

    fs->group_changed = g_new0(uint8_t, ext2->group_desc_count);
    fs->written_groups = g_memdup2(ext2->group_desc, (size_t)ext2->desc_blocks * ext2->blocksize);
    fs->written_inodes = g_malloc0(ext2->group_desc_count * bytes);
    fs->written_super = *ext2->super;
    for (dgrp_t group = 0; group < ext2->group_desc_count && !err; group++)
        if (!ext2fs_bg_flags_test(ext2, group, EXT2_BG_INODE_UNINIT))
            err = get_inode_bitmap(fs, group, fs->written_inodes + group * bytes);
    ext2->priv_data = fs;
    ext2fs_set_block_alloc_stats_callback(ext2, group_given_or_taken, NULL);
    ext2fs_set_block_alloc_stats_range_callback(ext2, groups_given_or_taken, NULL);
    return err;
}

static errcode_t open_ext2(struct fs *fs)
{
    int flags = EXT2_FLAG_64BITS | (fs->read_only ? 0 : EXT2_FLAG_RW);
    errcode_t err;

    initialize_ext2_error_table(); /* for error_message */
    err = ext2fs_open2("encsan", NULL, flags, 0, 0, bufcache_io_manager(fs->cache), &fs->ext2);

    if (!err)
        err = -prefetch_bitmaps(fs);
    if (!err)
        err = ext2fs_read_bitmaps(fs->ext2);
    return err ? err : remember_written(fs);
}

static int mark_in_use(struct fs *fs)
{
    struct ext2_super_block *super = fs->ext2->super;
    int error;

    super->s_state &= ~EXT2_VALID_FS;
    super->s_mtime = time(NULL);
    super->s_mnt_count++;
    error = fs_errno(write_super(fs));
    if (!error)
        error = bufcache_write_back(fs->cache);
    return error ? error : encsan_flush(fs->volume);
}

static void fs_free(struct fs *fs)
{
    if (fs->ext2)
        ext2fs_free(fs->ext2);
    bufcache_free(fs->cache);
    g_hash_table_destroy(fs->inodes);
    pthread_cond_destroy(&fs->wake);
    pthread_cond_destroy(&fs->no_reads);
    pthread_cond_destroy(&fs->forgotten);
    pthread_mutex_destroy(&fs->counts_lock);
    pthread_mutex_destroy(&fs->lock);
    g_free(fs->group_changed);
    g_free(fs->written_groups);
    g_free(fs->written_inodes);
    g_free(fs);
}

static struct fs *fs_new(struct encsan *volume, bool read_only)
{
    struct fs *fs = g_new0(struct fs, 1);
    pthread_condattr_t attr;

    fs->volume = volume;
    fs->read_only = read_only;
    pthread_mutex_init(&fs->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&fs->wake, &attr);
    pthread_condattr_destroy(&attr);
    pthread_cond_init(&fs->no_reads, NULL);
    pthread_cond_init(&fs->forgotten, NULL);
    pthread_mutex_init(&fs->counts_lock, NULL);
    fs->inodes = g_hash_table_new(g_direct_hash, g_direct_equal);
    fs->cache = bufcache_new(volume, CACHE_BYTES);
    return fs;
}

struct fs *fs_open(struct encsan *volume, bool read_only, char message[ENCSAN_MESSAGE_BYTES])
{
    enum fs_state state = fs_probe(volume, message);
    struct fs *fs;
    errcode_t err;
    int error = 0;

    if (state == FS_NEEDS_FSCK)
        refuse(message, "the ext4 file system was not unmounted cleanly; run encsan fsck");
    if (state != FS_CLEAN)
        return NULL;
    fs = fs_new(volume, read_only);
    err = open_ext2(fs);
    if (err) {
        error = fs_errno(err);
        refuse(message, "cannot open the ext4 file system: %s%s", error_message(err),
               error == -EUCLEAN ? "; run encsan fsck" : "");
    } else if (!read_only) {
        error = mark_in_use(fs);
        if (!error)
            error = start_writer(fs);
        if (error)
            refuse(message, "cannot mark the ext4 file system as in use: %s", strerror(-error));
    }
    if (error) {
        fs_free(fs);
        return NULL;
    }
    return fs;
}

/* ---- closing ---- */

static int mark_clean(struct fs *fs)
{
    int error;

    pthread_mutex_lock(&fs->lock);
    fs->ext2->super->s_state |= EXT2_VALID_FS;
    error = write_metadata(fs);
    pthread_mutex_unlock(&fs->lock);
    return error ? error : flush(fs);
}

int fs_close(struct fs *fs)
{
    int error, orphans;

    stop_writer(fs);
    pthread_mutex_lock(&fs->lock);
    orphans = inode_free_orphans(fs);
    pthread_mutex_unlock(&fs->lock);
    if (fs->read_only) {
        error = fs->error;
    } else {
        error = fs_sync(fs);
        if (!error && !orphans) /* else e2fsck frees them, at the next mount */
            error = mark_clean(fs);
        if (!error)
            error = orphans;
    }
    fs_free(fs);
    return error;
}

/* ---- the rest ---- */

int fs_statfs(struct fs *fs, struct statvfs *st)
{
    struct ext2_super_block *super = fs->ext2->super;
    uint64_t reserved, overhead;

    memset(st, 0, sizeof(*st));
    pthread_mutex_lock(&fs->lock);
    reserved = ext2fs_r_blocks_count(super);
    overhead = super->s_overhead_clusters;
    st->f_bsize = st->f_frsize = fs->ext2->blocksize;
    st->f_blocks = ext2fs_blocks_count(super) - MIN(overhead, ext2fs_blocks_count(super));
    st->f_bfree = ext2fs_free_blocks_count(super);
    st->f_bavail = st->f_bfree - MIN(reserved, st->f_bfree);
    st->f_files = super->s_inodes_count;
    st->f_ffree = st->f_favail = super->s_free_inodes_count;
    memcpy(&st->f_fsid, super->s_uuid, sizeof(st->f_fsid));
    st->f_namemax = EXT2_NAME_LEN;
    st->f_flag = fs->read_only ? ST_RDONLY : 0;
    pthread_mutex_unlock(&fs->lock);
    return 0;
}

int fs_errno(errcode_t err)
{
    if (err >= 0 && err < 256) /* what the io_manager returned */
        return -(int)err;
    switch (err) {
    case EXT2_ET_NO_MEMORY:
        return -ENOMEM;
    case EXT2_ET_BLOCK_ALLOC_FAIL:
    case EXT2_ET_INODE_ALLOC_FAIL:
    case EXT2_ET_DIR_NO_SPACE:
        return -ENOSPC;
    case EXT2_ET_FILE_NOT_FOUND:
        return -ENOENT;
    case EXT2_ET_FILE_EXISTS:
    case EXT2_ET_DIR_EXISTS:
        return -EEXIST;
    case EXT2_ET_NO_DIRECTORY:
        return -ENOTDIR;
    case EXT2_ET_RO_FILSYS:
        return -EROFS;
    case EXT2_ET_FILE_TOO_BIG:
        return -EFBIG;
    case EXT2_ET_SYMLINK_LOOP:
        return -ELOOP;
    case EXT2_ET_INVALID_ARGUMENT:
        return -EINVAL;
    case EXT2_ET_UNIMPLEMENTED:
    case EXT2_ET_OP_NOT_SUPPORTED:
    case EXT2_ET_UNSUPP_FEATURE:
    case EXT2_ET_RO_UNSUPP_FEATURE:
        return -EOPNOTSUPP;
    case EXT2_ET_EA_KEY_NOT_FOUND:
        return -ENODATA;
    case EXT2_ET_EA_NO_SPACE:
        return -ENOSPC;
    case EXT2_ET_SHORT_READ:
    case EXT2_ET_SHORT_WRITE:
        return -EIO;
    default: /* what ext4 calls EFSCORRUPTED */
        return -EUCLEAN;
    }
}
