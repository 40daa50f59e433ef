// SPDX-License-Identifier: LGPL-2.1-or-later
/* The scout's part that goes ahead of walks through trees. fs->lock held. */
#ifndef ENCSAN_SCOUT_TREE_H
#define ENCSAN_SCOUT_TREE_H

#include "scout_data.h"

struct scout_tree;

struct scout_tree *scout_tree_new(struct fs *fs);
void scout_tree_free(struct scout_tree *tree);
void scout_tree_stop(struct scout_tree *tree); /* scout_tree_go returns soon */
/* Somebody lists this directory from the beginning. True: scout_tree_go is to be called, by
 * a thread that may wait, before this is called with success again. */
bool scout_tree_listed(struct scout_tree *tree, struct inode *dir);
/* Brings what may be brought now. Lets go of fs->lock meanwhile. */
void scout_tree_go(struct finds *f, void *tree);

#endif
