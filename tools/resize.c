// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * encsan resize URL [-o options]: the file system grows to the size that the
 * LUN has now. resize2fs wants a file system that was just checked, so it is.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>
#include <sys/stat.h>
#include <ext2fs/ext2_fs.h>
#include <glib.h>

#include "program.h"
#include "tools.h"

#define SUPER_OFFSET 1024
#define MIB (1024.0 * 1024)

struct sizes { /* in bytes */
    uint64_t block, files, disk;
};

/* 0, or an exit status after saying what is wrong. */
static int read_sizes(const char *source, const char *disk, struct sizes *sizes)
{
    struct ext2_super_block super;
    struct stat st;
    uint64_t high;
    ssize_t got = -1;
    int fd = open(disk, O_RDONLY | O_CLOEXEC);

    if (fd >= 0) {
        if (!fstat(fd, &st))
            got = pread(fd, &super, sizeof(super), SUPER_OFFSET);
        close(fd);
    }
    if (got < 0)
        return fail("%s: the superblock can't be read: %s", source, g_strerror(errno));
    if ((size_t)got < sizeof(super) || GUINT16_FROM_LE(super.s_magic) != EXT2_SUPER_MAGIC ||
        GUINT32_FROM_LE(super.s_log_block_size) > EXT2_MAX_BLOCK_LOG_SIZE - EXT2_MIN_BLOCK_LOG_SIZE)
        return fail("%s holds no ext4 file system; encsan mkfs makes one", source);
    high = GUINT32_FROM_LE(super.s_feature_incompat) & EXT4_FEATURE_INCOMPAT_64BIT
               ? GUINT32_FROM_LE(super.s_blocks_count_hi)
               : 0;
    sizes->block = UINT64_C(1024) << GUINT32_FROM_LE(super.s_log_block_size);
    sizes->files = (high << 32 | GUINT32_FROM_LE(super.s_blocks_count)) * sizes->block;
    sizes->disk = (uint64_t)st.st_size;
    return 0;
}

static int resize2fs(const char *source, const char *disk)
{
    g_autofree char *program = program_find("resize2fs");
    char *argv[] = {program, (char *)disk, NULL};
    char *with_progress[] = {program, (char *)"-p", (char *)disk, NULL};
    int status = run_patiently(isatty(STDOUT_FILENO) ? with_progress : argv);

    if (status < 0)
        return fail("%s: %s", program, g_strerror(-status));
    if (status)
        return fail("%s: resize2fs has not finished (its exit status is %d): run encsan fsck %s",
                    source, status, source);
    return 0;
}

static int grow(const struct diskview *view, const char *disk)
{
    char *check[] = {(char *)"-f", (char *)"-p", NULL};
    struct sizes sizes;
    int status = read_sizes(view->source, disk, &sizes);

    if (status)
        return status;
    if (sizes.disk < sizes.files)
        return fail("%s: the disk has %.1f MiB and its file system %.1f, and file systems are not "
                    "shrunk: give the disk its size back",
                    view->source, (double)sizes.disk / MIB, (double)sizes.files / MIB);
    if (sizes.disk - sizes.files < sizes.block) {
        printf("%s: nothing to do, the file system has all of the disk (%.1f MiB)\n", view->source,
               (double)sizes.files / MIB);
        return 0;
    }
    status = fsck_disk(view->source, check, disk);
    return status ? status : resize2fs(view->source, disk);
}

int resize(int argc, char *argv[])
{
    static const char usage[] = "usage: encsan resize URL [-o option,...]\n";
    struct diskview view;
    int status = diskview_read(&view, argc, argv, usage);

    if (!status && *view.program_options)
        status = misused(usage);
    return status ? status : diskview_run(&view, grow);
}
