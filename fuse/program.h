// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Other programs, started with posix_spawn (fork is no good with threads): with
 * no signal blocked or ignored, and no file but the three that are given.
 */
#ifndef ENCSAN_PROGRAM_H
#define ENCSAN_PROGRAM_H

#include <stdbool.h>
#include <sys/types.h>

/* The path of a program of the system: in PATH, else in /usr/sbin or /sbin,
 * where the tools of file systems are and a user's PATH is not. Without one the
 * name itself, so that starting it says what is missing. g_free. */
char *program_find(const char *name);

/* The path of a program of EncSAN: in the build tree (../SUBDIR/NAME as seen
 * from this executable), beside this executable, in ../sbin or ../bin, or
 * where program_find finds it. g_free. */
char *program_find_own(const char *subdir, const char *name);

/* Starts argv[0]. `in`, `out`, `err`: what becomes its standard files, -1: ours.
 * `session`: in a session of its own, so that neither the terminal's signals
 * nor its end reach it. 0 and the pid, or -errno. */
int program_start(char *const argv[], int in, int out, int err, bool session, pid_t *pid);

/* Waits for it. Its exit status; 128 + N where signal N ended it. */
int program_wait(pid_t pid);

/* Both. -errno where it could not be started. */
int program_run(char *const argv[], int in, int out, int err);

#endif
