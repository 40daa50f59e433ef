// SPDX-License-Identifier: LGPL-2.1-or-later
/* Random numbers that follow from a seed, and what is made of them. */
#ifndef SIDE_DRAW_H
#define SIDE_DRAW_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

void draw_seed(uint64_t seed);
unsigned draw(unsigned below); /* 0 … below-1 */

#define DRAW_OFFSET_LIMIT (INT64_C(0xffffffff) * 4096) /* of an ext4 file with extents */
#define DRAW_ONE_OF(array) (array)[draw(sizeof(array) / sizeof *(array))]

/* From few names, so that there is often something there. It leads no further out than to
 * the parent of the working directory. */
void draw_path(char *path, size_t bytes);
void draw_link_target(char *target, size_t bytes);
mode_t draw_mode(void);
uid_t draw_id(void);
off_t draw_offset(void); /* some are negative, or beyond what ext4 can hold */
size_t draw_length(size_t most);
struct timespec draw_time(void);
void draw_attribute_name(char *name, size_t bytes);
size_t draw_acl(uint8_t *value); /* not always a valid one; its bytes, less than 200 */
void draw_bytes(uint8_t *bytes, size_t count);

#endif
