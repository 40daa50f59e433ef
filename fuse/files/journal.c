// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Transactions. jbd2.c knows how they lie in the log, bufcache.c keeps the
 * versions of each block.
 *
 * The life of a transaction:
 *   running     the one to which every change of metadata belongs. An operation
 *               changes what it changes under one hold of fs->lock, so a
 *               transaction that is frozen under fs->lock has whole operations.
 *   committing  frozen: its buffers' versions are fixed, a new one runs. It is
 *               staged: revokes, descriptors, blocks, then behind a barrier the
 *               commit block. The data that its metadata speaks of was staged
 *               before, so the barrier orders that, too. Then a flush: one round
 *               trip for everything. Several may be on their way.
 *   durable     the flush came back. What it freed is discarded, and then unpinned
 *               (discards.c).
 *   at home     its blocks, or newer durable versions, are where they belong;
 *               the log's tail has passed it.
 *
 * The life of a metadata block that a transaction frees: it is revoked, if the
 * log has a copy (recovery must not write that over what the block becomes); it
 * is pinned until the freeing is durable; until then its last logged version may
 * be brought home, and afterwards no more.
 *
 * Bringing home (checkpoint) is lazy: when much is logged, when the log is short
 * of room, and at the end. Only versions of durable transactions go home; then the
 * tail moves to the oldest transaction of which something is not there.
 *
 * Locks, in this order: commit_lock (who freezes, or writes to the log),
 * home_lock (who brings home, or says that a freeing is durable: a block must not
 * get a new owner between the look at it and its staging), fs->lock (everything in
 * memory).
 */
#include "journal.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "broken.h"
#include "discards.h"
#include "fs.h"
#include "jbd2.h"

#define BLOCK ENCSAN_BLOCK_BYTES
#define JOINED 256u          /* blocks in one write home */
/* Shares of the metadata cache, and of the log, in blocks. */
#define RUNNING_SHARE 4 /* who changes more has to wait; at half of it a commit is begun */
#define STEP_SHARE 16   /* one operation */
#define LOGGED_SHARE 2  /* not at home, before it is brought there */
#define PINNED_RUNS 32768u /* before who changes more has to wait: each takes memory here and in blocks.c */

struct transaction { /* committing */
    uint64_t tid;
    GArray *freed; /* struct block_run; NULL: let go of already */
};

struct journal {
    struct fs *fs;
    struct jbd2 *log;
    unsigned commit_s;
    pthread_mutex_t commit_lock, home_lock;

    /* under fs->lock */
    uint64_t running; /* its number; changes under commit_lock, too */
    uint64_t durable; /* the newest that is */
    GArray *freed;    /* struct block_run, by the running transaction */
    size_t pinned;    /* runs that were freed, and not let go of */
    GArray *revoked;  /* uint64_t, the same */
    GHashTable *logged; /* block -> the last transaction in the log that has it */
    GQueue committing;  /* struct transaction, the oldest first */
    unsigned holds;
    bool freezing;
    pthread_cond_t released; /* no holds, or not freezing any more */
    pthread_cond_t admitted; /* the running transaction was frozen, or one is durable, or something went home */

    pthread_t thread;
    pthread_cond_t wake; /* for the thread */
    bool kicked, stopping;
    bool aborted; /* commit_lock */

    struct discards *discards; /* NULL: nothing is given back */
    uint8_t *chunk; /* JOINED blocks; home_lock */
};

static struct transaction *transaction_new(uint64_t tid, GArray *freed)
{
    struct transaction *t = g_new(struct transaction, 1);

    t->tid = tid;
    t->freed = freed;
    return t;
}

static void transaction_free(struct transaction *t)
{
    if (t->freed)
        g_array_free(t->freed, TRUE);
    g_free(t);
}

/* ---- what belongs to the running transaction; fs->lock held ---- */

static void note_freed(struct journal *j, blk64_t block, blk64_t count)
{
    GArray *freed = j->freed;
    struct block_run *last =
        freed->len ? &g_array_index(freed, struct block_run, freed->len - 1) : NULL;
    struct block_run run = {block, count};

    if (last && last->first + last->count == block) {
        last->count += count;
    } else if (last && block + count == last->first) {
        *last = (struct block_run){block, last->count + count};
    } else {
        g_array_append_val(freed, run);
        j->pinned++;
    }
}

static void revoke_one(struct journal *j, uint64_t block)
{
    if (g_hash_table_remove(j->logged, &block) && !broken("revoke"))
        g_array_append_val(j->revoked, block);
}

/* Those of [block, block + count) that the log has. */
static void revoke_run(struct journal *j, blk64_t block, blk64_t count)
{
    if (count <= g_hash_table_size(j->logged)) {
        for (blk64_t i = 0; i < count; i++)
            revoke_one(j, block + i);
    } else {
        GHashTableIter iter;
        gpointer key;

        g_hash_table_iter_init(&iter, j->logged);
        while (g_hash_table_iter_next(&iter, &key, NULL)) {
            uint64_t logged = *(uint64_t *)key;

            if (logged < block || logged - block >= count)
                continue;
            g_hash_table_iter_remove(&iter);
            if (!broken("revoke"))
                g_array_append_val(j->revoked, logged);
        }
    }
}

void journal_freed(struct journal *j, blk64_t block, blk64_t count)
{
    note_freed(j, block, count);
    revoke_run(j, block, count);
    bufcache_forget(j->fs->cache, block, count);
}

static void kick(struct journal *j)
{
    j->kicked = true;
    pthread_cond_signal(&j->wake);
}

/* Blocks that one share of the metadata cache, and of the log, has. */
static uint64_t share(const struct journal *j, unsigned divisor)
{
    return MIN(bufcache_limit(j->fs->cache), jbd2_size(j->log)) / divisor;
}

static bool is_too_much(const struct journal *j)
{
    size_t running = bufcache_running(j->fs->cache);

    return running >= share(j, RUNNING_SHARE) ||
           running + bufcache_logged(j->fs->cache) >= share(j, 1) || j->pinned >= PINNED_RUNS;
}

size_t journal_step(const struct journal *j)
{
    return share(j, STEP_SHARE);
}

void journal_admit(struct journal *j)
{
    if (bufcache_running(j->fs->cache) >= share(j, RUNNING_SHARE) / 2)
        kick(j);
    while (is_too_much(j) && !j->fs->error) {
        kick(j);
        pthread_cond_wait(&j->admitted, &j->fs->lock);
    }
}

void journal_failed(struct journal *j)
{
    kick(j);
    pthread_cond_broadcast(&j->admitted);
}

void journal_hold(struct journal *j)
{
    while (j->freezing)
        pthread_cond_wait(&j->released, &j->fs->lock);
    j->holds++;
}

void journal_release(struct journal *j)
{
    if (--j->holds == 0)
        pthread_cond_broadcast(&j->released);
}

/* ---- what is durable ---- */

void journal_let_go(struct journal *j, const struct block_run *run)
{
    blocks_let_go(j->fs, run->first, run->count);
    if (--j->pinned == PINNED_RUNS - 1)
        pthread_cond_broadcast(&j->admitted);
}

void journal_await_free(struct journal *j)
{
    if (j->discards)
        discards_await(j->discards);
}

/* What it freed does not come back any more, and is not brought home. fs->lock and home_lock held. */
static void end_freed(struct journal *j, struct transaction *t)
{
    for (guint i = 0; i < t->freed->len; i++) {
        const struct block_run *run = &g_array_index(t->freed, struct block_run, i);

        bufcache_drop_freed(j->fs->cache, run->first, run->count);
        if (!j->discards)
            journal_let_go(j, run);
    }
    if (!j->discards || t->freed->len == 0)
        return;
    discards_add(j->discards, t->freed);
    t->freed = NULL;
}

static struct transaction *next_durable(struct journal *j, uint64_t tid)
{
    struct transaction *t;

    pthread_mutex_lock(&j->fs->lock);
    t = g_queue_peek_head(&j->committing);
    if (t && t->tid <= tid) {
        g_queue_pop_head(&j->committing);
        j->durable = t->tid;
    } else {
        t = NULL;
    }
    pthread_mutex_unlock(&j->fs->lock);
    return t;
}

/* Transactions up to this one are durable. */
static void settle(struct journal *j, uint64_t tid)
{
    struct transaction *t;

    pthread_mutex_lock(&j->home_lock);
    while ((t = next_durable(j, tid))) {
        pthread_mutex_lock(&j->fs->lock);
        end_freed(j, t);
        pthread_mutex_unlock(&j->fs->lock);
        transaction_free(t);
    }
    pthread_mutex_unlock(&j->home_lock);
}

/* A flush, after which transactions up to this one are durable. */
static int flush(struct journal *j, uint64_t tid)
{
    int error = encsan_flush_urgent(j->fs->volume);

    if (error)
        fs_failed(j->fs, error);
    else
        settle(j, tid);
    return error;
}

/* ---- home ---- */

struct home_run { /* buffers that lie side by side */
    struct buffer *buffers[JOINED];
    guint count;
    uint64_t block;
};

static bool may_go_home(const struct journal *j, const struct buffer *buffer)
{
    return bufcache_logged_by(buffer) <= j->durable;
}

/* The next run from *i on; its versions are in the chunk. */
static void copy_run(struct journal *j, const GPtrArray *buffers, guint *i, struct home_run *run)
{
    run->count = 0;
    pthread_mutex_lock(&j->fs->lock);
    for (; *i < buffers->len && run->count < JOINED; ++*i) {
        struct buffer *buffer = g_ptr_array_index(buffers, *i);

        if (!may_go_home(j, buffer))
            continue;
        if (run->count == 0)
            run->block = bufcache_block(buffer);
        else if (bufcache_block(buffer) != run->block + run->count)
            break;
        bufcache_copy_logged(buffer, j->chunk + (size_t)run->count * BLOCK);
        run->buffers[run->count++] = buffer;
    }
    pthread_mutex_unlock(&j->fs->lock);
}

/* Stages the logged versions of these buffers at home. home_lock held. */
static int write_home(struct journal *j, const GPtrArray *buffers, unsigned flags)
{
    struct home_run run;
    int error = 0;

    for (guint i = 0; i < buffers->len && !error;) {
        copy_run(j, buffers, &i, &run);
        if (run.count)
            error = encsan_write(j->fs->volume, j->chunk, (size_t)run.count * BLOCK,
                                 run.block * BLOCK, flags);
        if (error)
            break;
        pthread_mutex_lock(&j->fs->lock);
        for (guint k = 0; k < run.count; k++)
            bufcache_is_home(j->fs->cache, run.buffers[k]);
        pthread_cond_broadcast(&j->admitted);
        pthread_mutex_unlock(&j->fs->lock);
    }
    return error;
}

static int write_all_home(struct journal *j, unsigned flags)
{
    GPtrArray *buffers;
    int error;

    pthread_mutex_lock(&j->home_lock);
    pthread_mutex_lock(&j->fs->lock);
    buffers = bufcache_not_at_home(j->fs->cache);
    pthread_mutex_unlock(&j->fs->lock);
    error = write_home(j, buffers, flags);
    pthread_mutex_unlock(&j->home_lock);
    g_ptr_array_free(buffers, TRUE);
    return error;
}

static gboolean is_before_tail(gpointer block, gpointer tid, gpointer tail)
{
    return GPOINTER_TO_SIZE(tid) < *(uint64_t *)tail;
}

/* The log's part that nothing needs any more is free. flags: as encsan_write has. commit_lock held. */
static int move_tail(struct journal *j, unsigned flags)
{
    uint64_t tail;
    int error;

    pthread_mutex_lock(&j->fs->lock);
    tail = bufcache_home_lacks(j->fs->cache, j->running);
    pthread_mutex_unlock(&j->fs->lock);
    error = jbd2_write_tail(j->log, tail, flags);
    if (!error)
        error = encsan_flush_urgent(j->fs->volume);
    if (error)
        return error;
    jbd2_emptied(j->log, tail);
    pthread_mutex_lock(&j->fs->lock);
    g_hash_table_foreach_remove(j->logged, is_before_tail, &tail);
    pthread_mutex_unlock(&j->fs->lock);
    return 0;
}

/* In the background: nobody waits for it. */
static int checkpoint(struct journal *j)
{
    int error = write_all_home(j, 0);

    if (!error)
        error = encsan_flush(j->fs->volume);
    if (error)
        return error;
    pthread_mutex_lock(&j->commit_lock);
    error = move_tail(j, 0);
    pthread_mutex_unlock(&j->commit_lock);
    return error;
}

/* Everything that was frozen becomes durable and goes home, before all else; the
 * log is empty then. commit_lock held, so nothing is frozen meanwhile. */
static int checkpoint_all(struct journal *j)
{
    int error = flush(j, j->running - 1);

    if (!error)
        error = write_all_home(j, ENCSAN_URGENT);
    if (!error)
        error = encsan_flush_urgent(j->fs->volume);
    return error ? error : move_tail(j, 0);
}

/* ---- committing; commit_lock held ---- */

static gint compare_runs(gconstpointer a, gconstpointer b)
{
    const struct block_run *x = a, *y = b;

    return x->first < y->first ? -1 : x->first > y->first;
}

/* Files that lie side by side are removed in the order of their names' hashes: each by itself would be
 * a discard of its own, with a segment that waits for its receipt. fs->lock held. */
static void join_freed(struct journal *j)
{
    struct block_run *runs = (struct block_run *)(void *)j->freed->data;
    guint joined = 0;

    g_array_sort(j->freed, compare_runs);
    for (guint i = 0; i < j->freed->len; i++) {
        if (joined && runs[joined - 1].first + runs[joined - 1].count == runs[i].first)
            runs[joined - 1].count += runs[i].count;
        else
            runs[joined++] = runs[i];
    }
    j->pinned -= j->freed->len - joined;
    g_array_set_size(j->freed, joined);
}

/* Ends the running transaction, unless nothing was changed: then NULL. fs->lock held. */
static GPtrArray *freeze(struct journal *j, GArray **revoked)
{
    GPtrArray *frozen;

    if (bufcache_running(j->fs->cache) == 0)
        return NULL;
    frozen = bufcache_freeze(j->fs->cache, j->running);
    for (guint i = 0; i < frozen->len; i++) {
        uint64_t block = bufcache_block(g_ptr_array_index(frozen, i));

        g_hash_table_replace(j->logged, g_memdup2(&block, sizeof block),
                             GSIZE_TO_POINTER(j->running));
    }
    join_freed(j);
    g_queue_push_tail(&j->committing, transaction_new(j->running, j->freed));
    *revoked = j->revoked;
    j->freed = g_array_new(FALSE, FALSE, sizeof(struct block_run));
    j->revoked = g_array_new(FALSE, FALSE, sizeof(uint64_t));
    j->running++;
    pthread_cond_broadcast(&j->admitted);
    return frozen;
}

/* All that libext2fs keeps is in the cache, and no operation is half done. fs->lock held. */
static int prepare(struct journal *j)
{
    int error;

    j->freezing = true;
    while (j->holds)
        pthread_cond_wait(&j->released, &j->fs->lock);
    j->freezing = false;
    pthread_cond_broadcast(&j->released);
    error = j->fs->error ? j->fs->error : unordered_settle(j->fs);
    return error ? error : groups_write(j->fs);
}

static bool has_room(const struct journal *j)
{
    return jbd2_need(bufcache_running(j->fs->cache), j->revoked->len) <= jbd2_room(j->log);
}

/* Takes fs->lock and returns with it: the running transaction is ready to be
 * frozen and fits into the log. On an error fs->lock is not held. */
static int lock_with_room(struct journal *j)
{
    bool tried = false;
    int error;

    for (;;) {
        pthread_mutex_lock(&j->fs->lock);
        error = prepare(j);
        if (!error && has_room(j))
            return 0;
        pthread_mutex_unlock(&j->fs->lock);
        if (!error)
            error = tried ? -EFBIG : checkpoint_all(j);
        if (error)
            return error;
        tried = true;
    }
}

/* The running transaction to the log, staged. */
static int write_running(struct journal *j)
{
    uint64_t tid = j->running;
    GPtrArray *frozen;
    GArray *revoked;
    int error = lock_with_room(j);

    if (error)
        return error;
    frozen = freeze(j, &revoked);
    pthread_mutex_unlock(&j->fs->lock);
    if (!frozen)
        return 0;
    error = jbd2_write(j->log, tid, revoked, frozen, &j->fs->lock);
    g_array_free(revoked, TRUE);
    g_ptr_array_free(frozen, TRUE);
    return error;
}

int journal_commit(struct journal *j)
{
    uint64_t wanted, last;
    int error = 0;

    pthread_mutex_lock(&j->fs->lock);
    wanted = j->running;
    pthread_mutex_unlock(&j->fs->lock);

    pthread_mutex_lock(&j->commit_lock);
    if (j->running == wanted) /* else somebody has frozen it while we waited */
        error = write_running(j);
    last = j->running - 1;
    pthread_mutex_unlock(&j->commit_lock);
    if (error) {
        fs_failed(j->fs, error);
        return error;
    }
    return flush(j, last);
}

/* ---- the thread ---- */

/* fs->lock held. */
static bool is_much_logged(const struct journal *j)
{
    return bufcache_logged(j->fs->cache) > share(j, LOGGED_SHARE);
}

/* fs->lock held. */
static bool is_something_to_do(const struct journal *j)
{
    return bufcache_running(j->fs->cache) > 0 || !g_queue_is_empty(&j->fs->unordered) ||
           is_much_logged(j);
}

static void commit_and_checkpoint(struct journal *j)
{
    int error = journal_commit(j);
    bool much;

    pthread_mutex_lock(&j->fs->lock);
    much = is_much_logged(j);
    pthread_mutex_unlock(&j->fs->lock);
    if (!error && much)
        error = checkpoint(j);
    if (error)
        fs_failed(j->fs, error);
}

/* What is not in the log now never will be. That is said there, if it still can be. */
static void abort_journal(struct journal *j)
{
    pthread_mutex_lock(&j->commit_lock);
    if (!j->aborted)
        jbd2_write_abort(j->log);
    j->aborted = true;
    pthread_mutex_unlock(&j->commit_lock);
}

static void *commit_now_and_then(void *opaque)
{
    struct journal *j = opaque;
    struct timespec when;
    int error;

    pthread_mutex_lock(&j->fs->lock);
    while (!j->stopping) {
        clock_gettime(CLOCK_MONOTONIC, &when);
        when.tv_sec += j->commit_s;
        while (!j->stopping && !j->kicked &&
               pthread_cond_timedwait(&j->wake, &j->fs->lock, &when) != ETIMEDOUT)
            ;
        j->kicked = false;
        if (j->stopping || (!j->fs->error && !is_something_to_do(j)))
            continue;
        error = j->fs->error;
        pthread_mutex_unlock(&j->fs->lock);
        if (error)
            abort_journal(j);
        else
            commit_and_checkpoint(j);
        pthread_mutex_lock(&j->fs->lock);
    }
    pthread_mutex_unlock(&j->fs->lock);
    return NULL;
}

static void stop_thread(struct journal *j)
{
    pthread_mutex_lock(&j->fs->lock);
    j->stopping = true;
    pthread_cond_signal(&j->wake);
    pthread_mutex_unlock(&j->fs->lock);
    pthread_join(j->thread, NULL);
}

static void stop_discards(struct journal *j)
{
    if (j->discards)
        discards_stop(j->discards);
    j->discards = NULL;
}

/* ---- opening and closing ---- */

/* The file system's superblock, staged at home. */
static int write_super_home(struct journal *j, bool recover)
{
    struct ext2_super_block *super = j->fs->ext2->super;
    GPtrArray *frozen;
    int error;

    pthread_mutex_lock(&j->fs->lock);
    if (recover)
        super->s_feature_incompat |= EXT3_FEATURE_INCOMPAT_RECOVER;
    else
        super->s_feature_incompat &= ~EXT3_FEATURE_INCOMPAT_RECOVER;
    error = groups_write_super(j->fs);
    frozen = bufcache_freeze(j->fs->cache, j->durable); /* it goes past the log */
    pthread_mutex_unlock(&j->fs->lock);
    pthread_mutex_lock(&j->home_lock);
    if (!error)
        error = write_home(j, frozen, ENCSAN_URGENT);
    pthread_mutex_unlock(&j->home_lock);
    g_ptr_array_free(frozen, TRUE);
    return error;
}

static int start_threads(struct journal *j)
{
    int error;

    if (!j->fs->no_discard) {
        j->discards = discards_start(j->fs);
        if (!j->discards)
            return -EAGAIN;
    }
    error = -pthread_create(&j->thread, NULL, commit_now_and_then, j);
    if (error)
        stop_discards(j);
    return error;
}

static int begin(struct journal *j)
{
    int error = write_super_home(j, true);

    if (!error) /* the log begins after that, and both are durable after one round trip */
        error = move_tail(j, ENCSAN_AFTER_ALL);
    return error ? error : start_threads(j);
}

static int end(struct journal *j)
{
    int error = journal_commit(j);

    stop_discards(j);
    pthread_mutex_lock(&j->commit_lock);
    if (!error)
        error = checkpoint_all(j);
    if (!error)
        error = jbd2_write_closed(j->log, j->running);
    if (!error)
        error = encsan_flush(j->fs->volume);
    if (!error)
        error = write_super_home(j, false);
    if (!error)
        error = encsan_flush(j->fs->volume);
    pthread_mutex_unlock(&j->commit_lock);
    return error;
}

static void free_journal(struct journal *j)
{
    struct transaction *t;

    while ((t = g_queue_pop_head(&j->committing)))
        transaction_free(t);
    jbd2_free(j->log);
    g_array_free(j->freed, TRUE);
    g_array_free(j->revoked, TRUE);
    g_hash_table_destroy(j->logged);
    pthread_mutex_destroy(&j->commit_lock);
    pthread_mutex_destroy(&j->home_lock);
    pthread_cond_destroy(&j->released);
    pthread_cond_destroy(&j->admitted);
    pthread_cond_destroy(&j->wake);
    g_free(j->chunk);
    g_free(j);
}

static void init_conditions(struct journal *j)
{
    pthread_condattr_t attr;

    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&j->wake, &attr);
    pthread_condattr_destroy(&attr);
    pthread_cond_init(&j->released, NULL);
    pthread_cond_init(&j->admitted, NULL);
}

struct journal *journal_open(struct fs *fs, unsigned commit_s, char message[ENCSAN_MESSAGE_BYTES])
{
    struct jbd2 *log = jbd2_open(fs, message);
    struct journal *j;
    int error;

    if (!log)
        return NULL;
    j = g_new0(struct journal, 1);
    j->fs = fs;
    j->log = log;
    j->commit_s = commit_s;
    j->running = jbd2_first_tid(log);
    j->durable = j->running - 1;
    j->freed = g_array_new(FALSE, FALSE, sizeof(struct block_run));
    j->revoked = g_array_new(FALSE, FALSE, sizeof(uint64_t));
    j->logged = g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, NULL);
    j->chunk = g_malloc((size_t)JOINED * BLOCK);
    g_queue_init(&j->committing);
    pthread_mutex_init(&j->commit_lock, NULL);
    pthread_mutex_init(&j->home_lock, NULL);
    init_conditions(j);
    error = begin(j);
    if (error) {
        snprintf(message, ENCSAN_MESSAGE_BYTES, "cannot begin the ext4 journal: %s",
                 strerror(-error));
        free_journal(j);
        return NULL;
    }
    return j;
}

int journal_close(struct journal *j)
{
    int error;

    stop_thread(j);
    error = end(j);
    if (error) {
        fs_failed(j->fs, error);
        abort_journal(j);
    }
    free_journal(j);
    return error;
}
