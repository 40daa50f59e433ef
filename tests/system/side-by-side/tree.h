// SPDX-License-Identifier: LGPL-2.1-or-later
/* Two whole trees, compared: names, links, stat(2), attributes, bytes. */
#ifndef SIDE_TREE_H
#define SIDE_TREE_H

/* NULL: the same; else what is different, to be freed. */
char *tree_compare(const char *a, const char *b);

#endif
