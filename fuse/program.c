// SPDX-License-Identifier: LGPL-2.1-or-later
/* Other programs: program.h. No state. */
#include "program.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <unistd.h>
#include <sys/wait.h>
#include <glib.h>

extern char **environ;

char *program_find(const char *name)
{
    static const char *const places[] = {"/usr/sbin", "/sbin"};
    char *path = g_find_program_in_path(name);

    for (size_t i = 0; !path && i < G_N_ELEMENTS(places); i++) {
        g_autofree char *candidate = g_build_filename(places[i], name, NULL);

        if (g_file_test(candidate, G_FILE_TEST_IS_EXECUTABLE))
            path = g_steal_pointer(&candidate);
    }
    return path ? path : g_strdup(name);
}

char *program_find_own(const char *subdir, const char *name)
{
    const char *const places[] = {subdir, NULL, "sbin", "bin"};
    g_autofree char *self = g_file_read_link("/proc/self/exe", NULL);

    if (!self)
        return program_find(name);

    g_autofree char *folder = g_path_get_dirname(self);

    for (size_t i = 0; i < G_N_ELEMENTS(places); i++) {
        g_autofree char *candidate = places[i]
                                         ? g_build_filename(folder, "..", places[i], name, NULL)
                                         : g_build_filename(folder, name, NULL);

        if (g_file_test(candidate, G_FILE_TEST_IS_REGULAR) &&
            g_file_test(candidate, G_FILE_TEST_IS_EXECUTABLE))
            return g_steal_pointer(&candidate);
    }
    return program_find(name);
}

static int place(posix_spawn_file_actions_t *actions, int fd, int as)
{
    return fd < 0 ? 0 : posix_spawn_file_actions_adddup2(actions, fd, as);
}

int program_start(char *const argv[], int in, int out, int err, bool session, pid_t *pid)
{
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t none, all;
    short flags = POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF;
    int error;

    if (session)
        flags |= POSIX_SPAWN_SETSID;
    sigemptyset(&none);
    sigfillset(&all);

    error = posix_spawn_file_actions_init(&actions);
    if (error)
        return -error;
    error = posix_spawnattr_init(&attributes);
    if (error) {
        posix_spawn_file_actions_destroy(&actions);
        return -error;
    }

    error = posix_spawnattr_setflags(&attributes, flags);
    if (!error)
        error = posix_spawnattr_setsigmask(&attributes, &none);
    if (!error)
        error = posix_spawnattr_setsigdefault(&attributes, &all);
    if (!error)
        error = place(&actions, in, STDIN_FILENO);
    if (!error)
        error = place(&actions, out, STDOUT_FILENO);
    if (!error)
        error = place(&actions, err, STDERR_FILENO);
    if (!error)
        error = posix_spawnp(pid, argv[0], &actions, &attributes, argv, environ);

    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&actions);
    return -error;
}

int program_wait(pid_t pid)
{
    int status;

    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR)
            return -errno;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

int program_run(char *const argv[], int in, int out, int err)
{
    pid_t pid;
    int error = program_start(argv, in, out, err, false, &pid);

    return error ? error : program_wait(pid);
}
