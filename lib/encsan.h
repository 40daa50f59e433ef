// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * libencsan: a private, pipelined volume on a disk far away.
 *
 * A volume is the LUN of an encsan-target. Data is sealed in a worker pool
 * ahead of the network and retained until the target's sealed receipt says
 * that it is on stable storage. libencsan(3) has an example.
 *
 * Units: bytes. Offsets and counts are multiples of ENCSAN_BLOCK_BYTES; a
 * request that is not, or that ends behind the volume, fails with -EINVAL.
 * Errors: 0 or -errno. All functions may be called by any thread.
 *
 * Order: a read that starts after a write was reported done sees its bytes,
 * whether or not they have left. Overlapping requests that run at the same
 * time have no order among themselves. A write that is done is on the far disk
 * only after a flush that began later has returned 0.
 *
 * When the connection is lost, or the target is restarted, requests wait until
 * it is back. What was written and not confirmed is kept, and sent again.
 */
#ifndef ENCSAN_H
#define ENCSAN_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ENCSAN_BLOCK_BYTES 4096
#define ENCSAN_KEY_BYTES 32
#define ENCSAN_ID_BYTES 16
#define ENCSAN_MESSAGE_BYTES 512

#define ENCSAN_NO_READAHEAD UINT_MAX
#define ENCSAN_SESSIONS_MAX 16

struct encsan; /* an open volume */

struct encsan_options {
    const char *url; /* iscsi://HOST[:PORT][,HOST[:PORT]...]/IQN/LUN: one target, at several portals */
    uint8_t key[ENCSAN_KEY_BYTES];        /* the initiator's private key */
    uint8_t target_key[ENCSAN_KEY_BYTES]; /* the target's public key */
    uint8_t previous_mount_id[ENCSAN_ID_BYTES]; /* of the last open here, zero: none */
    const char *suite;      /* NULL: aes-256-gcm or chacha20-poly1305, as the target prefers */
    bool read_only;
    bool steal;             /* where another mount has the disk: take it over */
    unsigned timeout_s;     /* requests wait so long for a connection that is lost, then they fail; 0: for ever */
    unsigned depth;         /* segments sealed ahead or in flight (OP-n); 0: as the model says */
    unsigned sessions;      /* iSCSI sessions; 0: as many as the distance wants */
    unsigned workers;       /* threads that seal and open; 0: one for each processor */
    size_t segment_bytes;   /* at most 252 KiB; 0: default (128 KiB) */
    size_t cache_bytes;     /* data staged, not yet receipted or read ahead; 0: default (64 MiB) */
    unsigned readahead;     /* segments ahead of a sequential reader; 0: as many as help */
    /* Hears of what an administrator wants to know (a retry, a forged answer,
     * the loss of the target), one line without a newline. May be NULL. Any thread. */
    void (*log)(void *opaque, const char *line);
    void *opaque;
};

/* Connects, logs in, does the handshake and takes the lease. NULL on failure,
 * with one line for the user in `message`. `options` is not kept. */
struct encsan *encsan_open(const struct encsan_options *options,
                           char message[ENCSAN_MESSAGE_BYTES]);

/* Flushes, gives the lease back, logs out, frees. Returns what the flush
 * returned: anything but 0 means that data may be missing on the far disk, and
 * the lease is kept. No request may be running. */
int encsan_close(struct encsan *volume);

struct encsan_info {
    uint64_t size_bytes;
    uint8_t mount_id[ENCSAN_ID_BYTES];
    uint8_t volume_id[ENCSAN_ID_BYTES];
    uint64_t generation; /* of the lease */
    const char *suite;
    bool read_only;
};
void encsan_get_info(struct encsan *volume, struct encsan_info *info);

struct encsan_stats { /* since open; all counters grow only, but those from staged_bytes on */
    uint64_t bytes_written, bytes_read;  /* by requests */
    uint64_t segments_sent, reads_sent, syncs_sent;
    uint64_t retries;         /* transmissions repeated */
    uint64_t rekeyings;       /* new keys in a session that went on */
    uint64_t security_errors; /* answers that did not authenticate */
    uint64_t seal_ns, open_ns;
    uint64_t ordinal, durable; /* last given; highest receipted */
    uint64_t staged_bytes, retained_bytes; /* not yet sealed; not yet receipted */
    unsigned in_flight, depth, best_depth;  /* segments; n* of the model, 0: not measured yet */
    unsigned readahead, best_readahead;     /* the same for reading ahead: the window */
    unsigned sessions, sessions_wanted;     /* that are there now */
    uint64_t outage_us;                     /* so long there has been no session; 0: there is one */
    bool fenced;                            /* another mount has taken the disk over */
    uint32_t rtt_us;                        /* the shortest round trip that TCP has seen */
    uint64_t write_rate, read_rate;         /* bytes a second, the line's, as measured last */
};
void encsan_get_stats(struct encsan *volume, struct encsan_stats *stats);

/* 0, or the -errno that every flush and write now returns, because data could
 * not be written, or because another mount or another disk is there. In the first
 * case reads go on, and a write that is ENCSAN_URGENT alone is sent, though nobody
 * will know what becomes of it. Never waits. */
int encsan_error(struct encsan *volume);

/* ---- asynchronous ----
 * `done` is called exactly once, by any thread, possibly before the call
 * returns; it must not wait, and may start new requests. Buffers belong to the volume until then. */
typedef void encsan_done(void *opaque, int error);

/* for encsan_write_async: execute only when all that was written before this
 * call is on stable storage (for a journal's commit block). Costs no round trip. */
#define ENCSAN_AFTER_ALL 1u
/* Leaves before what is staged without it. With ENCSAN_AFTER_ALL, `all` is then
 * what has left (see below), and what is staged with this flag. */
#define ENCSAN_URGENT 2u

void encsan_read_async(struct encsan *volume, void *buf, size_t count, uint64_t offset,
                       encsan_done *done, void *opaque);
/* The same, of a stream, which is read ahead of: a reader that goes on where an
 * earlier such read ended goes on up to `end` at most, and then from `then` to
 * then_end (0: nowhere). begins: one that will probably go on, as from the
 * beginning of a file. */
struct encsan_stream {
    uint64_t end, then, then_end; /* bytes */
    bool begins;
};
void encsan_read_stream_async(struct encsan *volume, void *buf, size_t count, uint64_t offset,
                              struct encsan_stream stream, encsan_done *done, void *opaque);
/* These bytes will probably be read soon, each once. They are read ahead where there is room. */
void encsan_prefetch(struct encsan *volume, uint64_t count, uint64_t offset);
/* Done when the bytes are staged: copied into the cache, which makes the writer wait while it is full. */
void encsan_write_async(struct encsan *volume, const void *buf, size_t count, uint64_t offset,
                        unsigned flags, encsan_done *done, void *opaque);
/* Reads as zeros afterwards. zero: done as a write is. discard: the target also gives the space
 * back where it can; done when it has left (see encsan_leave). */
void encsan_zero_async(struct encsan *volume, uint64_t count, uint64_t offset, encsan_done *done,
                       void *opaque);
void encsan_discard_async(struct encsan *volume, uint64_t count, uint64_t offset,
                          encsan_done *done, void *opaque);
/* Done with 0 when a receipt says that all that was written before this call is on stable
 * storage; with ENCSAN_URGENT, all that has left, and what is staged with this flag. */
void encsan_flush_async(struct encsan *volume, unsigned flags, encsan_done *done, void *opaque);

/* ---- synchronous: the same, and waits ---- */
int encsan_read(struct encsan *volume, void *buf, size_t count, uint64_t offset);
int encsan_write(struct encsan *volume, const void *buf, size_t count, uint64_t offset,
                 unsigned flags);
int encsan_zero(struct encsan *volume, uint64_t count, uint64_t offset);
int encsan_discard(struct encsan *volume, uint64_t count, uint64_t offset);
int encsan_flush(struct encsan *volume);
int encsan_flush_urgent(struct encsan *volume);

/* ---- what has left ----
 * A write that is staged may be replaced, merged and held back. Once it has left its
 * place among all writes is fixed: an ENCSAN_AFTER_ALL | ENCSAN_URGENT that is written
 * later is executed after it. So a journal commits metadata that speaks of data when
 * that has left, and not when the network had time for it. */

/* Returns when the bytes there have left, before other staged data. 0 or -errno. */
int encsan_leave(struct encsan *volume, uint64_t count, uint64_t offset);
/* A stamp for what is staged now, and that of what has left: all with a stamp up to it. */
uint64_t encsan_stamp_staged(struct encsan *volume);
uint64_t encsan_stamp_left(struct encsan *volume);
/* How many bytes from `offset` on, of `count`, have left. */
uint64_t encsan_count_left(struct encsan *volume, uint64_t count, uint64_t offset);

#endif
