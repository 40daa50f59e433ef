// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * fsx PATH SEED OPS: random operations on the file PATH, each compared with a
 * model in memory; the name comes from a program of Apple's that had the idea.
 * A difference prints the operation and ends with 1. The same SEED does the
 * same operations.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <linux/falloc.h>

#define FILE_MAX_BYTES (6u << 20)
#define PIECE_MAX_BYTES (1200u << 10)
#define PAGE 4096u

static const char *path;
static int fd, direct_fd;
static uint8_t *model; /* what the file must hold; zero behind its size */
static uint8_t *buf;   /* aligned, FILE_MAX_BYTES */
static size_t size;
static uint64_t state;
static char what[200]; /* the operation, for the report */

static uint32_t random32(void)
{
    state = state * 6364136223846793005u + 1442695040888963407u;
    return state >> 33;
}

static void fail(const char *format, unsigned long a, unsigned long b)
{
    printf("%s: ", what);
    printf(format, a, b);
    printf(" (size %zu, errno %s)\n", size, strerror(errno));
    exit(1);
}

static void expect(bool good, const char *call)
{
    if (!good) {
        printf("%s: ", call);
        fail("failed", 0, 0);
    }
}

static void open_both(void)
{
    fd = open(path, O_RDWR | O_CREAT, 0644);
    direct_fd = open(path, O_RDWR | O_DIRECT);
    expect(fd >= 0 && direct_fd >= 0, "open");
}

/* A range of the file: often small, often aligned, often at its end. */
static void pick(size_t *offset, size_t *count)
{
    static const size_t most[] = {300, PAGE, 16 * PAGE, PIECE_MAX_BYTES};

    *offset = random32() % 4 ? random32() % FILE_MAX_BYTES : size;
    *count = 1 + random32() % most[random32() % 4];
    if (random32() % 3 == 0) {
        *offset -= *offset % PAGE;
        *count = (*count + PAGE - 1) / PAGE * PAGE;
    }
    if (*offset >= FILE_MAX_BYTES)
        *offset = FILE_MAX_BYTES - PAGE;
    if (*count > FILE_MAX_BYTES - *offset)
        *count = FILE_MAX_BYTES - *offset;
}

static void compare(const uint8_t *data, size_t offset, size_t count)
{
    size_t i;

    if (memcmp(data, model + offset, count) == 0)
        return;
    for (i = 0; data[i] == model[offset + i]; i++)
        ;
    fail("byte %lu is %02lx and not as written", offset + i, data[i]);
}

static size_t within(size_t offset, size_t count)
{
    return offset >= size ? 0 : count < size - offset ? count : size - offset;
}

static void grow(size_t end)
{
    if (end > size)
        size = end;
}

static void random_bytes(uint8_t *to, size_t count)
{
    uint32_t word = random32() | 1;
    size_t i;

    for (i = 0; i < count; i++, word = word * 1664525 + 1013904223)
        to[i] = word >> 24;
}

static void read_back(int from, size_t offset, size_t count)
{
    ssize_t got = pread(from, buf, count, offset);

    if (got != (ssize_t)within(offset, count))
        fail("read %ld bytes instead of %lu", got, within(offset, count));
    compare(buf, offset, got);
}

static void write_out(int to, size_t offset, size_t count)
{
    ssize_t done;

    random_bytes(buf, count);
    done = pwrite(to, buf, count, offset);
    if (done != (ssize_t)count)
        fail("wrote %ld bytes instead of %lu", done, count);
    memcpy(model + offset, buf, count);
    grow(offset + count);
}

static void map(size_t offset, size_t count, bool write)
{
    size_t start = offset - offset % PAGE;
    uint8_t *at;

    count = within(offset, count);
    if (count == 0)
        return;
    at = mmap(NULL, offset + count - start, PROT_READ | PROT_WRITE, MAP_SHARED, fd, start);
    expect(at != MAP_FAILED, "mmap");
    compare(at + (offset - start), offset, count);
    if (write) {
        random_bytes(model + offset, count);
        memcpy(at + (offset - start), model + offset, count);
        if (random32() % 2)
            expect(msync(at, offset + count - start, MS_SYNC) == 0, "msync");
    }
    expect(munmap(at, offset + count - start) == 0, "munmap");
}

static void truncate_to(size_t to)
{
    expect(ftruncate(fd, to) == 0, "ftruncate");
    if (to < size)
        memset(model + to, 0, size - to);
    size = to;
}

static void allocate(int mode, size_t offset, size_t count)
{
    expect(fallocate(fd, mode, offset, count) == 0, "fallocate");
    if (mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE))
        memset(model + offset, 0, within(offset, count));
    if (!(mode & FALLOC_FL_KEEP_SIZE))
        grow(offset + count);
}

/* Between `offset` and the data found there must be zeros only. */
static void seek(size_t offset)
{
    off_t data, hole;
    size_t end;

    if (offset >= size)
        return;
    expect(fsync(fd) == 0, "fsync"); /* mapped pages come late */
    data = lseek(fd, offset, SEEK_DATA);
    expect(data >= (off_t)offset || errno == ENXIO, "SEEK_DATA");
    end = data < 0 ? size : (size_t)data;
    for (; offset < end; offset++)
        if (model[offset])
            fail("SEEK_DATA passed over byte %lu to %lu", offset, end);
    hole = data < 0 ? (off_t)size : lseek(fd, data, SEEK_HOLE);
    if (hole < data || hole > (off_t)size)
        fail("SEEK_HOLE says %lu after data at %lu", hole, data);
}

static void reopen(void)
{
    if (random32() % 2)
        expect(fsync(fd) == 0, "fsync");
    expect(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED) == 0, "fadvise");
    expect(close(fd) == 0 && close(direct_fd) == 0, "close");
    open_both();
}

static void check_all(void)
{
    struct stat st;

    expect(fstat(fd, &st) == 0, "fstat");
    if (st.st_size != (off_t)size)
        fail("its size is %lu instead of %lu", st.st_size, size);
    read_back(fd, 0, FILE_MAX_BYTES);
}

static void operation(unsigned long number)
{
    static const char *const names[] = {
        "write",
        "write",
        "read",
        "read",
        "direct write",
        "direct read",
        "mapped write",
        "mapped read",
        "truncate",
        "allocate",
        "allocate, size kept",
        "punch",
        "zero",
        "zero, size kept",
        "seek",
        "reopen",
        "check all",
    };
    size_t kind = random32() % (sizeof names / sizeof *names), offset, count;
    size_t start, whole;

    pick(&offset, &count);
    snprintf(what, sizeof what, "operation %lu: %s, %zu bytes at %zu", number, names[kind], count,
             offset);
    start = offset - offset % PAGE; /* for O_DIRECT */
    whole = (offset + count - start + PAGE - 1) / PAGE * PAGE;
    switch (kind) {
    case 0:
    case 1:
        write_out(fd, offset, count);
        break;
    case 2:
    case 3:
        read_back(fd, offset, count);
        break;
    case 4:
        write_out(direct_fd, start, whole);
        break;
    case 5:
        read_back(direct_fd, start, whole);
        break;
    case 6:
    case 7:
        map(offset, count, kind == 6);
        break;
    case 8:
        truncate_to(random32() % 2 ? offset : size - within(0, random32() % PAGE));
        break;
    case 9:
        allocate(0, offset, count);
        break;
    case 10:
        allocate(FALLOC_FL_KEEP_SIZE, offset, count);
        break;
    case 11:
        allocate(FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, count);
        break;
    case 12:
        allocate(FALLOC_FL_ZERO_RANGE, offset, count);
        break;
    case 13:
        allocate(FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, offset, count);
        break;
    case 14:
        seek(offset);
        break;
    case 15:
        reopen();
        break;
    default:
        check_all();
    }
}

int main(int argc, char **argv)
{
    unsigned long i, operations;

    if (argc != 4) {
        fprintf(stderr, "usage: fsx PATH SEED OPS\n");
        return 2;
    }
    path = argv[1];
    state = strtoul(argv[2], NULL, 10);
    operations = strtoul(argv[3], NULL, 10);
    model = calloc(1, FILE_MAX_BYTES);
    buf = aligned_alloc(PAGE, FILE_MAX_BYTES);
    snprintf(what, sizeof what, "at the beginning");
    expect(model && buf, "memory");
    open_both();
    truncate_to(0);
    for (i = 0; i < operations; i++)
        operation(i);
    snprintf(what, sizeof what, "at the end");
    reopen();
    check_all();
    free(model);
    free(buf);
    return 0;
}
