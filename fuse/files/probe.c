// SPDX-License-Identifier: LGPL-2.1-or-later
/* What a mount finds on the volume before it opens: a file system that we write
 * correctly, one that e2fsck has to see first, or something to refuse by name. */
#include "fs.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#define OTHERS_BYTES (68u << 10) /* as far as btrfs's superblock */

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

static enum fs_state refuse_unread(int error, char message[ENCSAN_MESSAGE_BYTES])
{
    return refuse(message, "cannot read the superblock: %s", strerror(-error));
}

static enum fs_state refuse_other_format(struct encsan *volume, uint64_t size_bytes,
                                         char message[ENCSAN_MESSAGE_BYTES])
{
    size_t bytes = MIN(OTHERS_BYTES, size_bytes);
    g_autofree uint8_t *head = g_malloc(bytes);
    int error = encsan_read(volume, head, bytes, 0);

    if (error)
        return refuse_unread(error, message);
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

enum fs_state fs_probe(struct encsan *volume, struct fs_head *head,
                       char message[ENCSAN_MESSAGE_BYTES])
{
    struct encsan_info info;
    int error;

    message[0] = '\0';
    encsan_get_info(volume, &info);
    if (info.size_bytes < sizeof(*head))
        return refuse(message, "no ext4 file system there: the volume is empty");
    error = encsan_read(volume, head, sizeof(*head), 0);
    if (error)
        return refuse_unread(error, message);
    if (head->super.s_magic != EXT2_SUPER_MAGIC)
        return refuse_other_format(volume, info.size_bytes, message);
    if (!checksum_fits(&head->super))
        return FS_NEEDS_FSCK;
    return check_super(&head->super, info.size_bytes, message);
}
