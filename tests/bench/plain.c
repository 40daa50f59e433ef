// SPDX-License-Identifier: LGPL-2.1-or-later
#include "plain.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include <iscsi/iscsi.h>
#include <iscsi/scsi-lowlevel.h>

struct plain {
    struct iscsi_context *iscsi;
    int lun;
    uint32_t block_bytes;
    uint64_t blocks;
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
    else if (read_capacity(p) == 0 && p->block_bytes > 0)
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

int plain_write(struct plain *p, const void *buf, size_t count, uint64_t offset)
{
    /* libiscsi's parameter is not const; it only sends from there */
    return failed(p, iscsi_write16_sync(p->iscsi, p->lun, offset / p->block_bytes, (unsigned char *)buf,
                                        (uint32_t)count, (int)p->block_bytes, 0, 0, 0, 0, 0),
                  "WRITE");
}

int plain_read(struct plain *p, void *buf, size_t count, uint64_t offset)
{
    struct scsi_iovec iov = {.iov_base = buf, .iov_len = count};

    return failed(p, iscsi_read16_iov_sync(p->iscsi, p->lun, offset / p->block_bytes, (uint32_t)count,
                                           (int)p->block_bytes, 0, 0, 0, 0, 0, &iov, 1),
                  "READ");
}

int plain_flush(struct plain *p)
{
    return failed(p, iscsi_synchronizecache16_sync(p->iscsi, p->lun, 0, 0, 0, 0), "SYNCHRONIZE CACHE");
}
