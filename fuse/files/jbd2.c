// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The log on the volume: jbd2.h. All numbers in it are big-endian. The format
 * is that of the kernel's include/linux/jbd2.h; e2fsck and the kernel read it.
 *
 * A transaction is
 *   revoke blocks      blocks whose older copies in the log must not be replayed
 *   descriptor, up to 254 blocks, again and again
 *   commit block       makes it valid; the barrier says that it is on stable
 *                      storage only when everything before it is
 *
 * `used` blocks before the head may be needed by a recovery.
 */
#include "jbd2.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "broken.h"
#include "fs.h"

#define BLOCK ENCSAN_BLOCK_BYTES

#define MAGIC 0xc03b3998u
#define DESCRIPTOR_BLOCK 1
#define COMMIT_BLOCK 2
#define SUPERBLOCK_V2 4
#define REVOKE_BLOCK 5

#define INCOMPAT_REVOKE 0x01u
#define INCOMPAT_64BIT 0x02u
#define INCOMPAT_CSUM_V3 0x10u
#define OUR_INCOMPAT (INCOMPAT_REVOKE | INCOMPAT_64BIT | INCOMPAT_CSUM_V3)
#define KNOWN_INCOMPAT 0x3fu /* all that the kernel 6.x knows: none is in use while the log is empty */
#define CHECKSUM_CRC32C 4

#define FLAG_ESCAPE 1u
#define FLAG_SAME_UUID 2u
#define FLAG_LAST_TAG 8u

struct header {
    guint32 magic, type, sequence;
};

struct superblock {
    struct header header;
    guint32 block_size, max_len, first;
    guint32 sequence, start;
    guint32 error;
    guint32 compat, incompat, ro_compat;
    uint8_t uuid[16];
    guint32 users, dynamic_super;
    guint32 max_transaction, max_trans_data;
    uint8_t checksum_type, padding[3];
    guint32 fast_commit_blocks, head;
    guint32 more_padding[40];
    guint32 checksum;
    uint8_t user_ids[16 * 48];
};
G_STATIC_ASSERT(sizeof(struct superblock) == 1024);

struct tag {
    guint32 block, flags, block_high, checksum;
};
#define TAGS 254u
G_STATIC_ASSERT(sizeof(struct header) + TAGS * sizeof(struct tag) + 16 + 4 <= BLOCK);

#define REVOKES ((BLOCK - sizeof(struct header) - 4 - 4) / 8) /* in a block */

struct commit_block {
    struct header header;
    uint8_t checksum_type, checksum_size, padding[2];
    guint32 checksum[8];
    guint64 seconds; /* at 48 */
    guint32 nanoseconds;
};
G_STATIC_ASSERT(offsetof(struct commit_block, seconds) == 48);

struct piece { /* of the journal's inode, contiguous on the volume */
    uint64_t logical, physical, count;
};

struct extent { /* a transaction in the ring */
    uint64_t tid, start, blocks;
};

struct jbd2 {
    struct encsan *volume;
    struct superblock super;
    GArray *map; /* struct piece, by logical */
    uint32_t seed; /* of all checksums */
    uint64_t first, end; /* of the ring */
    uint64_t head, used;
    GArray *transactions; /* struct extent, the oldest first */
    struct timespec committed; /* of the last commit block: recovery wants it not to fall */
    uint8_t chunk[(1 + TAGS) * BLOCK];
};

static uint32_t crc(uint32_t seed, const void *data, size_t bytes)
{
    return ext2fs_crc32c_le(seed, data, bytes);
}

/* ---- opening ---- */

static int map_block(ext2_filsys ext2, blk64_t *physical, e2_blkcnt_t logical, blk64_t ref_block,
                     int ref_offset, void *opaque)
{
    GArray *map = opaque;
    struct piece *last = map->len ? &g_array_index(map, struct piece, map->len - 1) : NULL;
    struct piece piece = {(uint64_t)logical, *physical, 1};

    if (last && last->logical + last->count == piece.logical &&
        last->physical + last->count == piece.physical)
        last->count++;
    else
        g_array_append_val(map, piece);
    return 0;
}

/* Where a block of the journal lies, and how many follow it there. */
static uint64_t locate(const struct jbd2 *log, uint64_t logical, uint64_t *run)
{
    for (guint i = 0; i < log->map->len; i++) {
        const struct piece *piece = &g_array_index(log->map, struct piece, i);

        if (logical >= piece->logical && logical - piece->logical < piece->count) {
            *run = piece->count - (logical - piece->logical);
            return piece->physical + (logical - piece->logical);
        }
    }
    g_assert_not_reached(); /* check_map has seen them all */
}

static int check_map(const struct jbd2 *log)
{
    uint64_t next = 0;

    for (guint i = 0; i < log->map->len; i++) {
        const struct piece *piece = &g_array_index(log->map, struct piece, i);

        if (piece->logical != next)
            return -EUCLEAN;
        next += piece->count;
    }
    return next >= log->end ? 0 : -EUCLEAN;
}

static int read_super(struct jbd2 *log)
{
    struct superblock *super = &log->super;
    uint64_t run;
    int error = encsan_read(log->volume, log->chunk, BLOCK, locate(log, 0, &run) * BLOCK);

    if (error)
        return error;
    memcpy(super, log->chunk, sizeof *super);
    if (super->header.magic != GUINT32_TO_BE(MAGIC) ||
        super->header.type != GUINT32_TO_BE(SUPERBLOCK_V2) ||
        super->block_size != GUINT32_TO_BE(BLOCK))
        return -EUCLEAN;
    log->first = GUINT32_FROM_BE(super->first);
    log->end = GUINT32_FROM_BE(super->max_len);
    if (log->first < 1 || log->first >= log->end || check_map(log))
        return -EUCLEAN;
    if (super->start || GUINT32_FROM_BE(super->incompat) & ~KNOWN_INCOMPAT)
        return -EOPNOTSUPP;
    return 0;
}

static int map_journal(struct fs *fs, struct jbd2 *log)
{
    errcode_t err = ext2fs_block_iterate3(fs->ext2, fs->ext2->super->s_journal_inum,
                                          BLOCK_FLAG_READ_ONLY | BLOCK_FLAG_DATA_ONLY, NULL,
                                          map_block, log->map);

    if (!err && log->map->len == 0)
        return -EUCLEAN;
    return fs_errno(err);
}

static void set_features(struct superblock *super)
{
    super->compat = 0;
    super->incompat = GUINT32_TO_BE(OUR_INCOMPAT);
    super->checksum_type = CHECKSUM_CRC32C;
    super->fast_commit_blocks = 0;
    super->head = 0;
}

struct jbd2 *jbd2_open(struct fs *fs, char message[ENCSAN_MESSAGE_BYTES])
{
    struct jbd2 *log = g_new0(struct jbd2, 1);
    int error;

    log->volume = fs->volume;
    log->map = g_array_new(FALSE, FALSE, sizeof(struct piece));
    log->transactions = g_array_new(FALSE, FALSE, sizeof(struct extent));
    error = map_journal(fs, log);
    if (!error)
        error = read_super(log);
    if (error) {
        snprintf(message, ENCSAN_MESSAGE_BYTES, "%s; run encsan fsck",
                 error == -EUCLEAN      ? "the ext4 journal is damaged"
                 : error == -EOPNOTSUPP ? "the ext4 journal is not empty, or of an unknown kind"
                                        : "the ext4 journal cannot be read");
        jbd2_free(log);
        return NULL;
    }
    set_features(&log->super);
    log->seed = crc(~0u, log->super.uuid, sizeof log->super.uuid);
    log->head = log->first;
    return log;
}

void jbd2_free(struct jbd2 *log)
{
    if (!log)
        return;
    g_array_free(log->map, TRUE);
    g_array_free(log->transactions, TRUE);
    g_free(log);
}

uint64_t jbd2_first_tid(const struct jbd2 *log)
{
    return MAX(GUINT32_FROM_BE(log->super.sequence), 2);
}

/* ---- room ---- */

uint64_t jbd2_size(const struct jbd2 *log)
{
    return log->end - log->first;
}

uint64_t jbd2_room(const struct jbd2 *log)
{
    return jbd2_size(log) - log->used - 1; /* a full ring would look like an empty one */
}

uint64_t jbd2_need(size_t blocks, size_t revoked)
{
    return (revoked + REVOKES - 1) / REVOKES + (blocks + TAGS - 1) / TAGS + blocks + 1;
}

/* ---- writing ---- */

static int append(struct jbd2 *log, const uint8_t *data, uint64_t count, unsigned flags)
{
    while (count) {
        uint64_t run, physical = locate(log, log->head, &run);
        uint64_t now = MIN(count, MIN(run, log->end - log->head));
        int error = encsan_write(log->volume, data, now * BLOCK, physical * BLOCK,
                                 ENCSAN_URGENT | flags);

        if (error)
            return error;
        data += now * BLOCK;
        count -= now;
        log->used += now;
        log->head += now;
        if (log->head == log->end)
            log->head = log->first;
    }
    return 0;
}

static struct header header(unsigned type, uint64_t tid)
{
    return (struct header){GUINT32_TO_BE(MAGIC), GUINT32_TO_BE(type), GUINT32_TO_BE((uint32_t)tid)};
}

/* The checksum in a block's last four bytes. */
static void set_tail(const struct jbd2 *log, uint8_t *block)
{
    guint32 *tail = (guint32 *)(block + BLOCK - 4);

    *tail = 0;
    *tail = GUINT32_TO_BE(crc(log->seed, block, BLOCK));
}

static int write_revokes(struct jbd2 *log, uint64_t tid, const GArray *revoked)
{
    int error = 0;

    for (guint i = 0; i < revoked->len && !error;) {
        struct header *head = (struct header *)log->chunk;
        guint32 *bytes = (guint32 *)(head + 1);
        guint n = MIN(revoked->len - i, (guint)REVOKES);
        uint8_t *at = (uint8_t *)(bytes + 1);

        memset(log->chunk, 0, BLOCK);
        *head = header(REVOKE_BLOCK, tid);
        *bytes = GUINT32_TO_BE((uint32_t)(sizeof *head + sizeof *bytes + n * 8));
        for (guint end = i + n; i < end; i++, at += 8) {
            guint64 block = GUINT64_TO_BE(g_array_index(revoked, uint64_t, i));

            memcpy(at, &block, 8);
        }
        set_tail(log, log->chunk);
        error = append(log, log->chunk, 1, 0);
    }
    return error;
}

/* The block as the log has it, and what its tag says of it. */
static struct tag make_tag(const struct jbd2 *log, uint64_t tid, uint64_t home, uint8_t *block)
{
    const guint32 sequence = GUINT32_TO_BE((uint32_t)tid), magic = GUINT32_TO_BE(MAGIC);
    uint32_t flags = 0;

    if (!memcmp(block, &magic, sizeof magic)) {
        memset(block, 0, sizeof magic);
        flags |= FLAG_ESCAPE;
    }
    return (struct tag){
        .block = GUINT32_TO_BE((uint32_t)home),
        .block_high = GUINT32_TO_BE((uint32_t)(home >> 32)),
        .flags = flags,
        .checksum = GUINT32_TO_BE(
            crc(crc(log->seed, &sequence, sizeof sequence), block, BLOCK)),
    };
}

/* A descriptor and its blocks; the blocks are in the chunk already. */
static int write_described(struct jbd2 *log, uint64_t tid, const uint64_t *home, guint count)
{
    uint8_t *at = log->chunk;

    memset(at, 0, BLOCK);
    *(struct header *)at = header(DESCRIPTOR_BLOCK, tid);
    at += sizeof(struct header);
    for (guint i = 0; i < count; i++) {
        struct tag tag = make_tag(log, tid, home[i], log->chunk + (1 + i) * BLOCK);

        tag.flags |= i ? FLAG_SAME_UUID : 0;
        tag.flags |= i == count - 1 ? FLAG_LAST_TAG : 0;
        tag.flags = GUINT32_TO_BE(tag.flags);
        memcpy(at, &tag, sizeof tag);
        at += sizeof tag;
        if (i == 0) {
            memcpy(at, log->super.uuid, sizeof log->super.uuid);
            at += sizeof log->super.uuid;
        }
    }
    set_tail(log, log->chunk);
    return append(log, log->chunk, 1 + count, 0);
}

static int write_blocks(struct jbd2 *log, uint64_t tid, const GPtrArray *frozen,
                        pthread_mutex_t *lock)
{
    uint64_t home[TAGS];
    int error = 0;

    for (guint i = 0; i < frozen->len && !error;) {
        guint n = MIN(frozen->len - i, TAGS);

        pthread_mutex_lock(lock);
        for (guint k = 0; k < n; k++) {
            struct buffer *buffer = g_ptr_array_index(frozen, i + k);

            home[k] = bufcache_block(buffer);
            bufcache_copy_logged(buffer, log->chunk + (1 + k) * BLOCK);
        }
        pthread_mutex_unlock(lock);
        error = write_described(log, tid, home, n);
        i += n;
    }
    return error;
}

static bool is_earlier(struct timespec a, struct timespec b)
{
    return a.tv_sec < b.tv_sec || (a.tv_sec == b.tv_sec && a.tv_nsec < b.tv_nsec);
}

static int write_commit(struct jbd2 *log, uint64_t tid)
{
    struct commit_block *commit = (struct commit_block *)log->chunk;
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    if (is_earlier(now, log->committed))
        now = log->committed;
    log->committed = now;
    memset(log->chunk, 0, BLOCK);
    commit->header = header(COMMIT_BLOCK, tid);
    commit->seconds = GUINT64_TO_BE((uint64_t)now.tv_sec);
    commit->nanoseconds = GUINT32_TO_BE((uint32_t)now.tv_nsec);
    commit->checksum[0] = GUINT32_TO_BE(crc(log->seed, log->chunk, BLOCK));
    return append(log, log->chunk, 1, broken("barrier") ? 0 : ENCSAN_AFTER_ALL);
}

int jbd2_write(struct jbd2 *log, uint64_t tid, const GArray *revoked, const GPtrArray *frozen,
               pthread_mutex_t *lock)
{
    struct extent written = {.tid = tid, .start = log->head};
    uint64_t used = log->used;
    int error = write_revokes(log, tid, revoked);

    if (!error)
        error = write_blocks(log, tid, frozen, lock);
    if (!error)
        error = write_commit(log, tid);
    written.blocks = log->used - used;
    g_array_append_val(log->transactions, written);
    return error;
}

/* ---- the journal's superblock ---- */

static int write_super(struct jbd2 *log, unsigned flags)
{
    struct superblock *super = &log->super;
    uint64_t run;

    super->checksum = 0;
    super->checksum = GUINT32_TO_BE(crc(~0u, super, sizeof *super));
    memset(log->chunk, 0, BLOCK);
    memcpy(log->chunk, super, sizeof *super);
    return encsan_write(log->volume, log->chunk, BLOCK, locate(log, 0, &run) * BLOCK,
                        ENCSAN_URGENT | flags);
}

static int write_start(struct jbd2 *log, uint64_t tid, uint64_t start, unsigned flags)
{
    log->super.sequence = GUINT32_TO_BE((uint32_t)tid);
    log->super.start = GUINT32_TO_BE((uint32_t)start);
    return write_super(log, flags);
}

/* How many transactions are older. */
static guint count_older(const struct jbd2 *log, uint64_t tid)
{
    guint n = 0;

    while (n < log->transactions->len &&
           g_array_index(log->transactions, struct extent, n).tid < tid)
        n++;
    return n;
}

int jbd2_write_tail(struct jbd2 *log, uint64_t tid, unsigned flags)
{
    guint n = count_older(log, tid);
    uint64_t start = log->head;

    if (n < log->transactions->len)
        start = g_array_index(log->transactions, struct extent, n).start;
    return write_start(log, tid, start, flags);
}

void jbd2_emptied(struct jbd2 *log, uint64_t tid)
{
    guint n = count_older(log, tid);

    for (guint i = 0; i < n; i++)
        log->used -= g_array_index(log->transactions, struct extent, i).blocks;
    if (n)
        g_array_remove_range(log->transactions, 0, n);
}

int jbd2_write_closed(struct jbd2 *log, uint64_t tid)
{
    return write_start(log, tid, 0, 0);
}

int jbd2_write_abort(struct jbd2 *log)
{
    uint64_t run, at = locate(log, 0, &run) * BLOCK;
    int error;

    log->super.error = (guint32)GINT32_TO_BE(-EIO);
    error = write_super(log, 0);
    return error ? error : encsan_leave(log->volume, BLOCK, at);
}
