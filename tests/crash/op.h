// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * What the workload did: a stream of operations for each of its threads, and one,
 * number 0, for what was made before they began. An operation is known by its
 * stream and its index there; names and bytes follow from these numbers, so that
 * the checker knows what has to be in a file without having kept it.
 */
#ifndef CRASH_OP_H
#define CRASH_OP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define OP_ROOT_INO 2 /* as ext4 calls it */
#define OP_XATTRS 4
#define OP_NAME_BYTES 256
#define OP_VALUE_BYTES_MAX 3000

enum op_kind {
    OP_CREATE,   /* ino, dir, name, length: the mode */
    OP_MKDIR,    /* the same */
    OP_SYMLINK,  /* ino, dir, name, length: of the target */
    OP_LINK,     /* ino, new_dir, new_name */
    OP_UNLINK,   /* ino, dir, name */
    OP_RMDIR,    /* the same */
    OP_RENAME,   /* ino, dir, name, new_dir, new_name; what was there is replaced */
    OP_XATTR,    /* ino, offset: which one, length: of the value, 0: it is removed */
    OP_WRITE,    /* ino, offset, length */
    OP_TRUNCATE, /* ino, length: the size */
    OP_PUNCH,    /* ino, offset, length */
    OP_FSYNC,    /* ino */
};

struct op {
    uint64_t begin, end; /* how long the disk's log was before and after it */
    uint32_t kind, ino;
    uint32_t dir, name;
    uint32_t new_dir, new_name;
    uint64_t offset, length;
};

uint64_t op_mix(uint64_t a, uint64_t b); /* a hash of two numbers */
uint64_t op_hash_bytes(const void *bytes, size_t count);

/* The bytes that an operation writes from `offset` of its file on. */
void op_fill(unsigned stream, unsigned index, uint64_t offset, void *buf, size_t count);
/* The text of a symlink that it makes, the value of an attribute: `length` bytes and a NUL. */
void op_text(unsigned stream, unsigned index, char *text, size_t length);

void op_name(unsigned stream, unsigned number, char name[OP_NAME_BYTES]);
bool op_parse_name(const char *name, unsigned *stream, unsigned *number);
void op_xattr_name(unsigned which, char name[OP_NAME_BYTES]);

#endif
