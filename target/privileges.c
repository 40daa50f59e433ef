// SPDX-License-Identifier: LGPL-2.1-or-later
/* Becoming another: privileges.h. First the groups, since only root can change them. */
#include "privileges.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

static bool become(const struct passwd *user)
{
    return initgroups(user->pw_name, user->pw_gid) == 0 &&
           setresgid(user->pw_gid, user->pw_gid, user->pw_gid) == 0 &&
           setresuid(user->pw_uid, user->pw_uid, user->pw_uid) == 0;
}

static bool is_already(const struct passwd *user)
{
    uid_t real, effective, saved;

    return getresuid(&real, &effective, &saved) == 0 && real == user->pw_uid &&
           effective == user->pw_uid && saved == user->pw_uid;
}

bool privileges_drop(const char *name, char *message, size_t size)
{
    const struct passwd *user = NULL;

    errno = 0;
    if (name && !(user = getpwnam(name))) {
        snprintf(message, size, "user %s: %s", name, errno ? strerror(errno) : "there is no such");
        return false;
    }
    if (user && !is_already(user) && !become(user)) {
        snprintf(message, size, "cannot become the user %s: %s", name, strerror(errno));
        return false;
    }
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) {
        snprintf(message, size, "PR_SET_NO_NEW_PRIVS: %s", strerror(errno));
        return false;
    }
    return true;
}
