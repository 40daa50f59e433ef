// SPDX-License-Identifier: LGPL-2.1-or-later
#include "plain.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>

#include <iscsi/iscsi.h>
#include <iscsi/scsi-lowlevel.h>

struct plain {
    struct iscsi_context *iscsi;
    int lun;
    uint32_t block_bytes;
    uint64_t blocks;
    size_t command_bytes; /* the most that one command transfers */
    unsigned running;
    bool failed;
};

static int failed(struct plain *p, struct scsi_task *task, const char *what)
{
    if (task && task->status == SCSI_STATUS_GOOD) {
        scsi_free_scsi_task(task);
        return 0;
    }
    fprintf(stderr, "encsan-bench: %s: %s\n", what, iscsi_get_error(p->iscsi));
    if (task)
        scsi_free_scsi_task(task);
    return -EIO;
}

static int read_capacity(struct plain *p)
{
    struct scsi_task *task = iscsi_readcapacity16_sync(p->iscsi, p->lun);
    struct scsi_readcapacity16 *capacity = NULL;

    if (task && task->status == SCSI_STATUS_GOOD)
        capacity = scsi_datain_unmarshall(task);
    if (capacity) {
        p->block_bytes = capacity->block_length;
        p->blocks = capacity->returned_lba + 1;
    }
    return failed(p, task, "READ CAPACITY");
}

static int read_limits(struct plain *p)
{
    struct scsi_task *task = iscsi_inquiry_sync(p->iscsi, p->lun, 1, SCSI_INQUIRY_PAGECODE_BLOCK_LIMITS, 255);
    struct scsi_inquiry_block_limits *limits = NULL;

    p->command_bytes = UINT32_MAX / p->block_bytes * p->block_bytes;
    if (task && task->status == SCSI_STATUS_GOOD)
        limits = scsi_datain_unmarshall(task);
    if (limits && limits->max_xfer_len)
        p->command_bytes = (size_t)limits->max_xfer_len * p->block_bytes;
    return failed(p, task, "INQUIRY, block limits");
}

struct plain *plain_open(const char *url)
{
    struct plain *p = calloc(1, sizeof *p);
    struct iscsi_url *parsed;
    int result = -1;

    p->iscsi = iscsi_create_context("iqn.2026-11.org.encsan:bench");
    parsed = iscsi_parse_full_url(p->iscsi, url);
    if (parsed) {
        p->lun = parsed->lun;
        iscsi_set_noautoreconnect(p->iscsi, 1);
        iscsi_set_session_type(p->iscsi, ISCSI_SESSION_NORMAL);
        iscsi_set_header_digest(p->iscsi, ISCSI_HEADER_DIGEST_NONE);
        iscsi_set_targetname(p->iscsi, parsed->target);
        result = iscsi_full_connect_sync(p->iscsi, parsed->portal, parsed->lun);
        iscsi_destroy_url(parsed);
    }
    if (result != 0)
        fprintf(stderr, "encsan-bench: %s\n", iscsi_get_error(p->iscsi));
    else if (read_capacity(p) == 0 && p->block_bytes > 0 && read_limits(p) == 0)
        return p;
    iscsi_destroy_context(p->iscsi);
    free(p);
    return NULL;
}

void plain_close(struct plain *p)
{
    iscsi_logout_sync(p->iscsi);
    iscsi_destroy_context(p->iscsi);
    free(p);
}

uint64_t plain_size_bytes(const struct plain *p)
{
    return p->blocks * p->block_bytes;
}

static void command_done(struct iscsi_context *iscsi, int status, void *data, void *private_data)
{
    struct plain *p = private_data;

    p->running--;
    if (status != SCSI_STATUS_GOOD && !p->failed) {
        fprintf(stderr, "encsan-bench: %s\n", iscsi_get_error(iscsi));
        p->failed = true;
    }
    scsi_free_scsi_task(data);
}

/* Until no more than `most` are on their way. */
static void wait_for(struct plain *p, unsigned most)
{
    while (p->running > most && !p->failed) {
        struct pollfd fd = {.fd = iscsi_get_fd(p->iscsi), .events = (short)iscsi_which_events(p->iscsi)};

        if (poll(&fd, 1, -1) < 0 || iscsi_service(p->iscsi, fd.revents) < 0) {
            fprintf(stderr, "encsan-bench: %s\n", iscsi_get_error(p->iscsi));
            p->failed = true;
        }
    }
}

static struct scsi_task *start_command(struct plain *p, bool write, unsigned char *buf, size_t count,
                                       uint64_t offset)
{
    uint64_t lba = offset / p->block_bytes;
    int block = (int)p->block_bytes;
    struct scsi_task *task;

    if (write)
        return iscsi_write16_task(p->iscsi, p->lun, lba, buf, (uint32_t)count, block, 0, 0, 0, 0, 0,
                                  command_done, p);
    task = iscsi_read16_task(p->iscsi, p->lun, lba, (uint32_t)count, block, 0, 0, 0, 0, 0, command_done, p);
    if (task)
        scsi_task_add_data_in_buffer(task, (int)count, buf);
    return task;
}

static void start_request(struct plain *p, bool write, unsigned char *buf, size_t count, uint64_t offset)
{
    for (size_t done = 0, n; done < count && !p->failed; done += n) {
        n = count - done < p->command_bytes ? count - done : p->command_bytes;
        if (start_command(p, write, buf + done, n, offset + done)) {
            p->running++;
        } else {
            fprintf(stderr, "encsan-bench: %s\n", iscsi_get_error(p->iscsi));
            p->failed = true;
        }
    }
}

int plain_run(struct plain *p, const struct plain_requests *r)
{
    unsigned commands = (unsigned)((r->bytes + p->command_bytes - 1) / p->command_bytes);

    for (uint64_t i = 0; i < r->count && !p->failed; i++) {
        wait_for(p, (r->depth - 1) * commands);
        start_request(p, r->write, r->buffers + i % r->depth * r->bytes, r->bytes, r->offset + i * r->bytes);
    }
    wait_for(p, 0);
    return p->failed ? -EIO : 0;
}

int plain_flush(struct plain *p)
{
    return failed(p, iscsi_synchronizecache16_sync(p->iscsi, p->lun, 0, 0, 0, 0), "SYNCHRONIZE CACHE");
}
