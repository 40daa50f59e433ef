// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * A FUSE session on a folder: the files view or the disk view for the user, and
 * the disk view that recovery has for itself.
 */
#ifndef ENCSAN_VIEW_H
#define ENCSAN_VIEW_H

struct fuse_args;
struct fuse_lowlevel_ops;
struct view;

/* Mounts. NULL on failure, which libfuse or fusermount3 has explained. */
struct view *view_mount(const struct fuse_lowlevel_ops *ops, void *userdata, struct fuse_args *args,
                        const char *mountpoint);

/* What the kernel's requests are read from, and answers and notifications are written to. */
int view_fd(struct view *view);

/* Serves until it is unmounted (0), view_stop is called (0), or the kernel's
 * device fails (-errno). */
int view_loop(struct view *view);

/* Ends view_loop in another thread, though files may be in use. Returns when it has ended. */
void view_stop(struct view *view);

/* After view_loop, or instead of it; unmounts where that has not happened. */
void view_free(struct view *view);

#endif
