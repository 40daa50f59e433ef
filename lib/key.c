// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Keys: making them, their text, their files. No state.
 */
#include "key.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/crypto.h>
#include <openssl/evp.h>

#define LINE_BYTES KEY_TEXT_BYTES /* 44 characters and a newline */

static int fail(int error, char *message, size_t size, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
static int fail(int error, char *message, size_t size, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(message, size, format, args);
    va_end(args);
    return -error;
}

/* ---- making ---- */

int key_generate(uint8_t private_key[KEY_BYTES])
{
    EVP_PKEY *key = EVP_PKEY_Q_keygen(NULL, NULL, "X25519");
    size_t len = KEY_BYTES;
    bool ok = key && EVP_PKEY_get_raw_private_key(key, private_key, &len) == 1;

    EVP_PKEY_free(key);
    return ok ? 0 : -EIO;
}

int key_public(const uint8_t private_key[KEY_BYTES], uint8_t public_key[KEY_BYTES])
{
    EVP_PKEY *key = EVP_PKEY_new_raw_private_key(EVP_PKEY_X25519, NULL, private_key, KEY_BYTES);
    size_t len = KEY_BYTES;
    bool ok = key && EVP_PKEY_get_raw_public_key(key, public_key, &len) == 1;

    EVP_PKEY_free(key);
    return ok ? 0 : -EIO;
}

/* ---- text ---- */

void key_to_text(const uint8_t key[KEY_BYTES], char text[KEY_TEXT_BYTES])
{
    EVP_EncodeBlock((unsigned char *)text, key, KEY_BYTES);
}

int key_from_text(const char *text, uint8_t key[KEY_BYTES])
{
    uint8_t decoded[KEY_BYTES + 1]; /* the padding decodes to a byte */
    char again[KEY_TEXT_BYTES];
    int error = -EINVAL;

    if (strlen(text) != KEY_TEXT_BYTES - 1)
        return -EINVAL;
    if (EVP_DecodeBlock(decoded, (const unsigned char *)text, KEY_TEXT_BYTES - 1) ==
        (int)sizeof decoded) {
        key_to_text(decoded, again); /* other texts for the same key are not canonical */
        if (CRYPTO_memcmp(again, text, KEY_TEXT_BYTES) == 0)
            error = 0;
    }
    if (error == 0)
        memcpy(key, decoded, KEY_BYTES);
    OPENSSL_cleanse(decoded, sizeof decoded);
    OPENSSL_cleanse(again, sizeof again);
    return error;
}

/* ---- files ---- */

static int write_line(int fd, const uint8_t private_key[KEY_BYTES])
{
    char line[LINE_BYTES];
    ssize_t n;
    int error = 0;

    key_to_text(private_key, line);
    line[LINE_BYTES - 1] = '\n';
    n = write(fd, line, LINE_BYTES);
    if (n != LINE_BYTES)
        error = n < 0 ? -errno : -ENOSPC;
    OPENSSL_cleanse(line, sizeof line);
    if (error == 0 && fsync(fd) != 0)
        error = -errno;
    return error;
}

static int sync_folder_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    char *folder = slash ? strndup(path, (size_t)(slash - path) + 1) : strdup(".");
    int error = 0, fd;

    if (!folder)
        return -ENOMEM;
    fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || fsync(fd) != 0)
        error = -errno;
    if (fd >= 0)
        close(fd);
    free(folder);
    return error;
}

/* A link, not a rename: it fails where `path` exists. */
static int write_and_link(char *temporary, const char *path, const uint8_t private_key[KEY_BYTES])
{
    int fd = mkostemp(temporary, O_CLOEXEC); /* 0600 */
    int error;

    if (fd < 0)
        return -errno;
    error = write_line(fd, private_key);
    if (close(fd) != 0 && error == 0)
        error = -errno;
    if (error == 0 && link(temporary, path) != 0)
        error = -errno;
    if (unlink(temporary) != 0 && error == 0)
        error = -errno;
    return error ? error : sync_folder_of(path);
}

int key_save(const char *path, const uint8_t private_key[KEY_BYTES], char *message, size_t size)
{
    char *temporary;
    int error;

    if (asprintf(&temporary, "%s.XXXXXX", path) < 0)
        return fail(ENOMEM, message, size, "%s: out of memory", path);
    error = write_and_link(temporary, path, private_key);
    free(temporary);
    if (error == -EEXIST)
        return fail(EEXIST, message, size,
                    "%s: exists, and a key is never overwritten; name another file", path);
    if (error)
        return fail(-error, message, size, "%s: cannot write the key: %s", path, strerror(-error));
    return 0;
}

/* Up to the end of the file. The bytes read, -EMSGSIZE: more than `size`, or -errno. */
static ssize_t read_all(int fd, char *out, size_t size)
{
    size_t used = 0;
    char more;

    for (;;) {
        ssize_t n = used < size ? read(fd, out + used, size - used) : read(fd, &more, 1);

        if (n < 0)
            return -errno;
        if (n == 0)
            return (ssize_t)used;
        if (used == size)
            return -EMSGSIZE;
        used += (size_t)n;
    }
}

static int parse_file(int fd, uint8_t private_key[KEY_BYTES])
{
    char line[LINE_BYTES + 1];
    ssize_t n = read_all(fd, line, LINE_BYTES);
    int error = n < 0 ? (int)n : -EINVAL;

    if (n == LINE_BYTES && line[LINE_BYTES - 1] == '\n')
        n--; /* editors and secret stores may leave the newline out */
    if (n == LINE_BYTES - 1) {
        line[n] = 0;
        error = key_from_text(line, private_key);
    }
    OPENSSL_cleanse(line, sizeof line);
    return error == -EMSGSIZE ? -EINVAL : error;
}

int key_load(const char *path, uint8_t private_key[KEY_BYTES], char *message, size_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat st;
    int error;

    if (fd < 0 && errno == ENOENT)
        return fail(ENOENT, message, size, "%s: no such key file; make one with encsan keygen",
                    path);
    if (fd < 0)
        return fail(errno, message, size, "%s: cannot open the key: %s", path, strerror(errno));
    if (fstat(fd, &st) != 0)
        error = -errno;
    else if (st.st_mode & 077)
        error = -EPERM;
    else
        error = parse_file(fd, private_key);
    close(fd);
    if (error == -EPERM)
        return fail(EPERM, message, size,
                    "%s: others may read this private key; chmod 600 it, or make a new one", path);
    if (error == -EINVAL)
        return fail(EINVAL, message, size,
                    "%s: not a private key (44 characters of base64); make one with encsan keygen",
                    path);
    if (error)
        return fail(-error, message, size, "%s: cannot read the key: %s", path, strerror(-error));
    return 0;
}
