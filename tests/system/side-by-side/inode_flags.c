// SPDX-License-Identifier: LGPL-2.1-or-later
/* Flags of chattr(1): inode_flags.h. */
#include "inode_flags.h"

#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include "draw.h"

#define FORM (FS_EXTENT_FL | FS_INDEX_FL)
#define KEPT (FS_IMMUTABLE_FL | FS_APPEND_FL)

/* What converts files (+j, -e) is not among them. */
uint32_t inode_flags_draw(void)
{
    static const uint32_t all[] = {
        FS_SYNC_FL,  FS_NODUMP_FL, FS_NOATIME_FL, FS_DIRSYNC_FL, FS_TOPDIR_FL,      FS_SECRM_FL,
        FS_UNRM_FL,  FS_COMPR_FL,  FS_NOTAIL_FL,  FS_DAX_FL,     FS_PROJINHERIT_FL, FS_CASEFOLD_FL,
        FS_NOCOW_FL, FS_NOCOMP_FL};
    uint32_t flags = draw(3) ? 0 : draw(2) ? FS_IMMUTABLE_FL : FS_APPEND_FL;

    for (unsigned count = draw(3); count > 0; count--)
        flags |= DRAW_ONE_OF(all);
    return flags;
}

static uint32_t all_flags(int fd)
{
    int saved = errno;
    uint32_t flags = 0;

    if (ioctl(fd, FS_IOC_GETFLAGS, &flags) != 0)
        errno = saved;
    return flags;
}

uint32_t inode_flags_of(int fd)
{
    return all_flags(fd) & ~(uint32_t)FS_INDEX_FL;
}

static bool may_change(const struct side *side, int fd)
{
    struct stat st, top, parent;

    return fstat(fd, &st) == 0 && (S_ISREG(st.st_mode) || S_ISDIR(st.st_mode)) &&
           fstat(side->top_fd, &top) == 0 && fstatat(side->top_fd, "..", &parent, 0) == 0 &&
           st.st_ino != top.st_ino && st.st_ino != parent.st_ino;
}

static int set_by_fsxattr(int fd, uint32_t flags)
{
    struct fsxattr x;

    if (ioctl(fd, FS_IOC_FSGETXATTR, &x) != 0)
        return -1;
    x.fsx_xflags = 0;
    if (flags & FS_IMMUTABLE_FL)
        x.fsx_xflags |= FS_XFLAG_IMMUTABLE;
    if (flags & FS_APPEND_FL)
        x.fsx_xflags |= FS_XFLAG_APPEND;
    if (flags & FS_NODUMP_FL)
        x.fsx_xflags |= FS_XFLAG_NODUMP;
    if (flags & FS_NOATIME_FL)
        x.fsx_xflags |= FS_XFLAG_NOATIME;
    if (flags & FS_CASEFOLD_FL) /* as good as any */
        x.fsx_projid = 1;
    return ioctl(fd, FS_IOC_FSSETXATTR, &x);
}

int inode_flags_set(const struct side *side, int fd, uint32_t flags, bool by_fsxattr)
{
    if (!may_change(side, fd))
        return 0;
    if (by_fsxattr)
        return set_by_fsxattr(fd, flags);
    flags |= all_flags(fd) & FORM;
    return ioctl(fd, FS_IOC_SETFLAGS, &flags);
}

bool inode_flags_forbid_open(int fd, int open_flags)
{
    uint32_t flags = (open_flags & O_ACCMODE) == O_RDONLY ? 0 : all_flags(fd);

    return flags & FS_IMMUTABLE_FL || (flags & FS_APPEND_FL && !(open_flags & O_APPEND));
}

bool inode_flags_forbid_write(int fd, size_t length)
{
    bool appends = fcntl(fd, F_GETFL) & O_APPEND;
    uint32_t flags = all_flags(fd);

    return (flags & FS_APPEND_FL && !appends) || (flags & FS_IMMUTABLE_FL && length == 0);
}

bool inode_flags_keep(int fd)
{
    return all_flags(fd) & KEPT;
}
