// SPDX-License-Identifier: LGPL-2.1-or-later
/* The image of a crash: disk.h. */
#include "disk.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "op.h"

#define SECTOR 512u
#define BLOCK 4096u
#define SUPERBLOCK 1024u /* where it begins, and its size */

struct disk {
    const struct disk_log *log;
    uint8_t *durable; /* the disk with all that is durable for sure */
    uint8_t *image;   /* the file, mapped */
    size_t size;
    int fd;         /* of the file */
    guint next;     /* the first write that the log has not reached */
    GArray *unsure; /* guint: indices of the writes before it that are not durable */
    uint64_t random;
};

/* A disk that cannot be made is no crash that can be judged. */
static void must(bool well, const char *what)
{
    if (well)
        return;
    fprintf(stderr, "check: %s: %s\n", what, strerror(errno));
    exit(2);
}

static void load(struct disk *disk, const char *base)
{
    int fd = open(base, O_RDONLY | O_CLOEXEC);
    off_t data = 0, hole;
    struct stat st;

    must(fd >= 0 && fstat(fd, &st) == 0, base);
    disk->size = (size_t)st.st_size;
    disk->durable =
        mmap(NULL, disk->size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    must(disk->durable != MAP_FAILED, "memory for a disk");
    while ((data = lseek(fd, data, SEEK_DATA)) >= 0) {
        hole = lseek(fd, data, SEEK_HOLE);
        must(hole > data &&
                 pread(fd, disk->durable + data, (size_t)(hole - data), data) == hole - data,
             base);
        data = hole;
    }
    close(fd);
}

struct disk *disk_new(const struct disk_log *log, const char *base, const char *image)
{
    struct disk *disk = g_new0(struct disk, 1);

    disk->log = log;
    disk->unsure = g_array_new(FALSE, FALSE, sizeof(guint));
    load(disk, base);
    disk->fd = open(image, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    must(disk->fd >= 0 && ftruncate(disk->fd, (off_t)disk->size) == 0, image);
    disk->image = mmap(NULL, disk->size, PROT_READ | PROT_WRITE, MAP_SHARED, disk->fd, 0);
    must(disk->image != MAP_FAILED, image);
    for (size_t at = 0; at < disk->size; at += BLOCK) { /* pages that are zeros stay holes */
        static const uint8_t zeros[BLOCK];

        if (memcmp(disk->durable + at, zeros, BLOCK) != 0)
            memcpy(disk->image + at, disk->durable + at, BLOCK);
    }
    return disk;
}

void disk_free(struct disk *disk)
{
    munmap(disk->durable, disk->size);
    munmap(disk->image, disk->size);
    close(disk->fd);
    g_array_free(disk->unsure, TRUE);
    g_free(disk);
}

static unsigned draw(struct disk *disk, unsigned below)
{
    disk->random = op_mix(disk->random, 2);
    return (unsigned)((disk->random >> 32) % below);
}

static void put(uint8_t *to, const struct disk_write *write, uint64_t from, uint64_t count)
{
    if (write->data)
        memcpy(to + write->offset + from, write->data + from, count);
    else
        memset(to + write->offset + from, 0, count);
}

/* ---- what is durable ---- */

static const struct disk_write *write_of(const struct disk *disk, guint index)
{
    return &g_array_index(disk->log->writes, struct disk_write, index);
}

/* In the image too, whatever is there: disk_crash compares only what the file says is data. */
static void make_durable(struct disk *disk, const struct disk_write *write)
{
    put(disk->durable, write, 0, write->count);
    put(disk->image, write, 0, write->count);
}

static void advance(struct disk *disk, uint64_t position)
{
    guint kept = 0;

    while (disk->next < disk->log->writes->len && write_of(disk, disk->next)->end <= position) {
        g_array_append_val(disk->unsure, disk->next);
        disk->next++;
    }
    for (guint i = 0; i < disk->unsure->len; i++) {
        guint index = g_array_index(disk->unsure, guint, i);

        if (write_of(disk, index)->durable <= position)
            make_durable(disk, write_of(disk, index));
        else
            g_array_index(disk->unsure, guint, kept++) = index;
    }
    g_array_set_size(disk->unsure, kept);
}

/* The image as `durable` is: where the file has data, and they differ. */
static void restore(struct disk *disk)
{
    off_t data = 0, hole;

    while ((data = lseek(disk->fd, data, SEEK_DATA)) >= 0) {
        hole = lseek(disk->fd, data, SEEK_HOLE);
        for (; data < hole; data += BLOCK)
            if (memcmp(disk->image + data, disk->durable + data, BLOCK) != 0)
                memcpy(disk->image + data, disk->durable + data, BLOCK);
    }
}

/* ---- what else is on it ---- */

/* How a cache may have been written back before the crash. */
struct fate {
    unsigned kept_percent; /* of the writes */
    unsigned torn_percent; /* of these: each sector is there or not */
};

/* Two things are never torn, since ext4 relies on that, the kernel as we: the
 * superblock (its checksum lies in its second sector), and a commit block (its
 * checksum is over all eight). `from` is the beginning of a sector. */
static bool is_superblock(const struct disk_write *write, uint64_t from)
{
    uint64_t at = write->offset + from;

    return at >= SUPERBLOCK && at < 2 * SUPERBLOCK;
}

static bool is_commit_block(const struct disk_write *write, uint64_t from)
{
    static const uint8_t head[] = {0xC0, 0x3B, 0x39, 0x98, 0, 0, 0, 2};
    uint64_t before = (write->offset + from) % BLOCK;

    return write->data && from >= before && write->count - from >= sizeof head &&
           memcmp(write->data + from - before, head, sizeof head) == 0;
}

static void put_torn(struct disk *disk, const struct disk_write *write)
{
    bool whole = draw(disk, 2);

    for (uint64_t from = 0; from < write->count; from += SECTOR) {
        bool atomic = is_superblock(write, from) || is_commit_block(write, from);

        if (atomic ? whole : draw(disk, 2))
            put(disk->image, write, from, SECTOR);
    }
}

static void shuffle(struct disk *disk, guint *indices, guint count)
{
    for (guint i = count; i > 1; i--) {
        guint other = draw(disk, i), index = indices[i - 1];

        indices[i - 1] = indices[other];
        indices[other] = index;
    }
}

static void scatter(struct disk *disk, struct fate fate)
{
    guint count = disk->unsure->len;
    g_autofree guint *indices = g_memdup2(disk->unsure->data, count * sizeof(guint));

    shuffle(disk, indices, count);
    for (guint i = 0; i < count; i++) {
        const struct disk_write *write = write_of(disk, indices[i]);

        if (draw(disk, 100) >= fate.kept_percent)
            continue;
        if (draw(disk, 100) < fate.torn_percent)
            put_torn(disk, write);
        else
            put(disk->image, write, 0, write->count);
    }
}

void disk_crash(struct disk *disk, uint64_t position, uint64_t random)
{
    static const struct fate fates[] = {{50, 0}, {50, 30}, {10, 20}, {90, 10}, {95, 0}, {100, 100}};

    disk->random = random;
    advance(disk, position);
    restore(disk);
    scatter(disk, fates[draw(disk, G_N_ELEMENTS(fates))]);
}
