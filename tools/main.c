// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * encsan: keys, file systems and mounts. Called as umount.fuse.encsanfs, which
 * umount(8) and systemd do, it is `encsan umount`.
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <glib.h>

#include "tools.h"

static const char usage[] =
    "usage: encsan keygen FILE                              a new private key; prints the public "
    "one\n"
    "       encsan pubkey FILE                              the public key of a private one\n"
    "       encsan mkfs URL [-o option,...] [-- mke2fs options]\n"
    "       encsan fsck URL [-o option,...] [-- e2fsck options]\n"
    "       encsan resize URL [-o option,...]               grows the files to the size of the disk\n"
    "       encsan umount MOUNTPOINT                        waits until all is on the far disk\n"
    "       encsan status MOUNTPOINT [--json]               what a mount is doing\n"
    "       encsan model [--delay MS] [--rate MBIT] ...     throughput of a line by depth\n"
    "A URL is iscsi://HOST[:PORT]/IQN/LUN; the path of a disk image here will do too.\n"
    "The options of -o are encsanfs's. More in encsan(1).\n";

static const struct {
    const char *name;
    int (*run)(int argc, char *argv[]);
} commands[] = {
    {"keygen", keygen},       {"pubkey", pubkey}, {"mkfs", mkfs},
    {"fsck", fsck},           {"resize", resize}, {"umount", umount_command},
    {"model", model_command}, {"status", status_command},
};

int fail(const char *format, ...)
{
    va_list args;

    fputs("encsan: ", stderr);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    return 1;
}

int misused(const char *text)
{
    fputs(text, stderr);
    return EXIT_USAGE;
}

int main(int argc, char *argv[])
{
    g_autofree char *called = g_path_get_basename(argc ? argv[0] : "encsan");

    if (!strcmp(called, "umount.fuse.encsanfs"))
        return umount_command(argc, argv);
    if (argc < 2)
        return misused(usage);
    if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h"))
        return fputs(usage, stdout) < 0;
    if (!strcmp(argv[1], "--version") || !strcmp(argv[1], "-V"))
        return puts("encsan " ENCSAN_VERSION) < 0;
    for (size_t i = 0; i < G_N_ELEMENTS(commands); i++)
        if (!strcmp(argv[1], commands[i].name))
            return commands[i].run(argc - 1, argv + 1);
    fail("unknown command '%s' (see encsan --help)", argv[1]);
    return EXIT_USAGE;
}
