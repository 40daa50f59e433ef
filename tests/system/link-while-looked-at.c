// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Takes a file's second name away and gives it back, again and again, while other
 * threads ask for its attributes. The kernel may refuse a link, for there were none
 * left: one of 60 when nothing is done about it. A caller that gets no CPU for long
 * can still meet it; so one of 300 is what may be.
 *
 *     link-while-looked-at TIMES      in the folder where it is called
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define LOOKERS 2

static atomic_bool stop;

static void *look(void *opaque)
{
    const int *fd = opaque;
    struct statx attributes;

    while (!atomic_load(&stop)) /* not from the kernel's cache */
        if (statx(*fd, "", AT_EMPTY_PATH | AT_STATX_FORCE_SYNC, STATX_ALL, &attributes) != 0)
            exit(2);
    return NULL;
}

static int again_and_again(unsigned long times)
{
    unsigned long refused = 0;

    for (unsigned long n = 0; n < times; n++) {
        if (unlink("second") != 0)
            return 2;
        if (link("first", "second") == 0)
            continue;
        refused++;
        if (errno != ENOENT || close(open("first", O_RDONLY)) != 0)
            return 2;
        while (link("first", "second") != 0) /* until the kernel has asked again */
            if (errno != ENOENT || stat("first", &(struct stat){0}) != 0)
                return 2;
    }
    printf("%lu of %lu links refused\n", refused, times);
    return refused > times / 300;
}

int main(int argc, char **argv)
{
    int fd = open("first", O_CREAT | O_RDWR, 0644), status;
    pthread_t lookers[LOOKERS];
    struct stat st;

    if (argc != 2 || fd < 0 || link("first", "second") != 0)
        return 2;
    for (int i = 0; i < LOOKERS; i++)
        if (pthread_create(&lookers[i], NULL, look, &fd) != 0)
            return 2;
    status = again_and_again(strtoul(argv[1], NULL, 10));
    atomic_store(&stop, true);
    for (int i = 0; i < LOOKERS; i++)
        pthread_join(lookers[i], NULL);
    if (!status && (fstat(fd, &st) != 0 || st.st_nlink != 2))
        status = 1;
    return status;
}
