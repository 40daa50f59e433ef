// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * encsan's subcommands. Each gets its own words (argv[0] is its name) and
 * returns the exit status: 0, 1 failed, 2 usage.
 */
#ifndef ENCSAN_TOOLS_H
#define ENCSAN_TOOLS_H

#include <stdbool.h>
#include <stdio.h>
#include <sys/types.h>

#define EXIT_USAGE 2

int keygen(int argc, char *argv[]);
int pubkey(int argc, char *argv[]);
int mkfs(int argc, char *argv[]);
int fsck(int argc, char *argv[]);
int resize(int argc, char *argv[]);
int umount_command(int argc, char *argv[]);
int model_command(int argc, char *argv[]);
int status_command(int argc, char *argv[]);

/* One line about what went wrong, after "encsan: ". Returns 1. */
int fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* How a command is used, on standard error. Returns EXIT_USAGE. */
int misused(const char *usage);

/* ---- daemon.c ---- */
/* The control socket of the encsanfs that `user` mounted there, to be closed
 * with fclose; NULL where there is none. */
FILE *daemon_connect(const char *mountpoint, uid_t user);

/* ---- umount.c ---- */
struct unmounting {
    bool lazy, force, verbose;
};
/* Unmounts and waits until everything is on the far disk. An exit status. */
int unmount(const char *path, const struct unmounting *how);

/* ---- diskview.c: a program that works on the disk view of a volume ---- */
struct diskview {
    const char *source;     /* URL or image */
    const char *options;    /* of encsanfs, or NULL */
    char **program_options; /* NULL-terminated: what stood behind -- */
};
/* SOURCE [-o options] [-- program options]. 0, or EXIT_USAGE after saying `usage`. */
int diskview_read(struct diskview *view, int argc, char *argv[], const char *usage);

/* Mounts it on a folder of its own, calls `work` with the path of the disk, and
 * unmounts. An exit status: the first that is not 0 of mounting, work, unmounting. */
int diskview_run(const struct diskview *view,
                 int (*work)(const struct diskview *view, const char *disk));

/* Runs a program that the user may interrupt, and we survive that. Its exit
 * status; -errno where it could not be started. */
int run_patiently(char *argv[]);

/* ---- fsck.c ---- */
/* e2fsck with these options on the disk view of `source`. An exit status, after saying
 * what is wrong. */
int fsck_disk(const char *source, char *const options[], const char *disk);

#endif
