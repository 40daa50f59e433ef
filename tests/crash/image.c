// SPDX-License-Identifier: LGPL-2.1-or-later
/* e2fsck and mount for an image: image.h. Directly, since it is done thousands of times. */
#include "image.h"

#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdbool.h>
#include <string.h>
#include <linux/loop.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#define E2FSCK "/usr/sbin/e2fsck"
#define LOOP_TRIES 100 /* another process may take the same device */

static char *failure(const char *what, int error)
{
    return g_strdup_printf("%s: %s", what, strerror(error));
}

/* ---- e2fsck ---- */

/* Its exit status; what it says is in `output`. Negative: -errno. */
static int run_e2fsck(const char *image, const char *flags, int output)
{
    char *argv[] = {(char *)E2FSCK, (char *)flags, (char *)image, NULL};
    char *envp[] = {(char *)"LC_ALL=C", NULL};
    posix_spawn_file_actions_t actions;
    int status, error;
    pid_t pid;

    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&actions, output, 1);
    posix_spawn_file_actions_adddup2(&actions, output, 2);
    error = posix_spawn(&pid, E2FSCK, &actions, NULL, argv, envp);
    posix_spawn_file_actions_destroy(&actions);
    if (error)
        return -error;
    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR)
            return -errno;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -EPROTO;
}

static char *text_of(int fd)
{
    off_t size = lseek(fd, 0, SEEK_CUR);
    char *text = g_malloc0(size > 0 ? (gsize)size + 1 : 1);

    if (size > 0 && pread(fd, text, (size_t)size, 0) != size)
        text[0] = '\0';
    return text;
}

/* The lines of an e2fsck that repaired nothing; that it optimizes what is sound is its wont. */
static bool is_harmless(const char *line)
{
    static const char *const beginnings[] = {
        "e2fsck ",
        "Pass 1: ",
        "Pass 1E: Optimizing extent trees",
        "Pass 2: ",
        "Pass 3: ",
        "Pass 3A: Optimizing directories", /* linear ones get an index */
        "Pass 4: ",
        "Pass 5: ",
        "Clearing orphaned inode ",
        "Truncating orphaned inode ",
    };
    static const char *const parts[] = {
        ": recovering journal",
        " FILE SYSTEM WAS MODIFIED ",
        "  Optimize? yes", /* an extent tree */
        " files (",
        "Setting free ", /* inodes or blocks, after orphans were removed */
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(beginnings); i++)
        if (g_str_has_prefix(line, beginnings[i]))
            return true;
    for (unsigned i = 0; i < G_N_ELEMENTS(parts); i++)
        if (strstr(line, parts[i]))
            return true;
    return line[0] == '\0';
}

static bool all_harmless(const char *text)
{
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);

    for (unsigned i = 0; lines[i]; i++)
        if (!is_harmless(lines[i]))
            return false;
    return true;
}

static char *check_once(const char *image, const char *flags, int status_max)
{
    int output = memfd_create("e2fsck", MFD_CLOEXEC), status;
    g_autofree char *text = NULL;

    if (output < 0)
        return failure("e2fsck's output", errno);
    status = run_e2fsck(image, flags, output);
    text = text_of(output);
    close(output);
    if (status < 0)
        return failure(E2FSCK, -status);
    if (status <= status_max && all_harmless(text))
        return NULL;
    return g_strdup_printf("e2fsck %s: exit status %d:\n%s", flags, status, text);
}

char *image_check(const char *image)
{
    char *wrong = check_once(image, "-fy", 1);

    return wrong ? wrong : check_once(image, "-fn", 0);
}

/* ---- the kernel ---- */

/* A free loop device with the image, that ends when nobody has it open: its fd, or -errno. */
static int attach_free(int control, int image, char path[32])
{
    struct loop_config config = {
        .fd = (unsigned)image,
        .info.lo_flags = LO_FLAGS_AUTOCLEAR | LO_FLAGS_READ_ONLY,
    };
    int number = ioctl(control, LOOP_CTL_GET_FREE), loop;

    if (number < 0)
        return -errno;
    g_snprintf(path, 32, "/dev/loop%d", number);
    loop = open(path, O_RDONLY | O_CLOEXEC);
    if (loop < 0)
        return -errno;
    if (ioctl(loop, LOOP_CONFIGURE, &config) == 0)
        return loop;
    number = errno;
    close(loop);
    return -number;
}

static int attach(const char *image, char path[32])
{
    int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
    int fd = open(image, O_RDONLY | O_CLOEXEC);
    int loop = control < 0 || fd < 0 ? -errno : -EBUSY;

    for (unsigned i = 0; i < LOOP_TRIES && control >= 0 && fd >= 0 && loop == -EBUSY; i++)
        loop = attach_free(control, fd, path);
    if (fd >= 0)
        close(fd);
    if (control >= 0)
        close(control);
    return loop;
}

char *image_mount(const char *image, const char *where)
{
    char path[32];
    int loop = attach(image, path), error;

    if (loop < 0)
        return failure("a loop device", -loop);
    error = mount(path, where, "ext4", MS_RDONLY | MS_NOATIME, NULL) == 0 ? 0 : errno;
    close(loop);
    return error ? failure("the kernel does not mount it", error) : NULL;
}

char *image_umount(const char *where)
{
    return umount2(where, 0) == 0 ? NULL : failure("it cannot be unmounted", errno);
}
