// SPDX-License-Identifier: LGPL-2.1-or-later
/* Brings what will be asked for soon, on threads of its own, while nobody waits for it. */
#ifndef ENCSAN_SCOUT_H
#define ENCSAN_SCOUT_H

#include "fs.h"

struct scout;

struct scout *scout_new(struct fs *fs);
void scout_free(struct scout *scout); /* NULL is allowed; ends what is begun. fs->lock not held */
/* Somebody lists this directory from the beginning, and will look into those in it.
 * fs->lock held. */
void scout_listed(struct scout *scout, struct inode *dir);
/* Somebody reads this file from its beginning. If others in its directory were, too, the data
 * of all small ones there is brought, and of those in the directories that follow. */
void scout_read(struct scout *scout, struct inode *inode);
/* Whether that has been done for its directory. fs->lock held. */
bool scout_has_read(struct fs *fs, const struct inode *inode);

#endif
