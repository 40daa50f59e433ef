// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * What encsan.h promises: opening and closing, requests and their ends, the
 * ticker. A request's `done` is never called with the lock held: it is moved
 * to `finished`, and volume_unlock calls it.
 */
#include "pipeline.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <openssl/crypto.h>

#include "clock.h"
#include "portals.h"

#define SEGMENT_BLOCKS_DEFAULT 32
#define CACHE_BYTES_DEFAULT (64u << 20)
#define ENDINGS 32 /* that are told at a time */
#define CACHE_BYTES_MIN (4u << 20)
#define TICK_US 100000
#define STAGED_MAX_US 500000 /* a partial segment leaves after this */

void volume_log(struct encsan *v, const char *format, ...)
{
    char line[256];
    va_list args;

    if (!v->log)
        return;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    v->log(v->log_opaque, line);
}

void volume_lock(struct encsan *v)
{
    pthread_mutex_lock(&v->lock);
}

struct ending { /* of a request */
    encsan_done *done;
    void *opaque;
    int error;
};

/* ENDINGS at most. Their requests are free again. */
static unsigned take_endings(struct encsan *v, struct ending *endings)
{
    unsigned count = 0;
    struct request *r;

    while (count < ENDINGS && (r = TAILQ_FIRST(&v->finished))) {
        TAILQ_REMOVE(&v->finished, r, queue);
        TAILQ_INSERT_HEAD(&v->requests_free, r, queue);
        endings[count++] = (struct ending){r->done, r->opaque, r->error};
    }
    return count;
}

void volume_unlock(struct encsan *v)
{
    struct ending endings[ENDINGS];
    unsigned count;
    bool more;

    do {
        count = take_endings(v, endings);
        more = !TAILQ_EMPTY(&v->finished);
        pthread_mutex_unlock(&v->lock);
        for (unsigned i = 0; i < count; i++)
            endings[i].done(endings[i].opaque, endings[i].error);
        if (more) /* else the volume may be closed by now */
            pthread_mutex_lock(&v->lock);
    } while (more);
}

struct request *request_take(struct encsan *v)
{
    struct request *r = TAILQ_FIRST(&v->requests_free);

    if (!r)
        return malloc(sizeof *r);
    TAILQ_REMOVE(&v->requests_free, r, queue);
    return r;
}

void volume_finish(struct encsan *v, struct request *r, int error)
{
    r->error = error;
    TAILQ_INSERT_TAIL(&v->finished, r, queue);
}

/* ---- the ticker: old partial segments leave, refused ones are sent again ---- */

static bool is_quiet(const struct encsan *v)
{
    return TAILQ_EMPTY(&v->filling) && TAILQ_EMPTY(&v->retry) && !v->sync_paused &&
           !outage_has_limit(v);
}

void volume_wake_ticker(struct encsan *v)
{
    if (v->ticker_sleeps)
        pthread_cond_signal(&v->tick);
    v->ticker_sleeps = false;
}

static void wait_tick(struct encsan *v)
{
    uint64_t until_us;

    v->ticker_sleeps = is_quiet(v);
    while (v->ticker_sleeps && !v->closing)
        pthread_cond_wait(&v->tick, &v->lock);
    until_us = now_us() + TICK_US;
    while (!v->closing && now_us() < until_us)
        cond_wait_until(&v->tick, &v->lock, until_us);
}

static void *ticker(void *arg)
{
    struct encsan *v = arg;
    struct segment *s;

    volume_lock(v);
    while (!v->closing) {
        wait_tick(v);
        v->sync_paused = false;
        outage_tick(v);
        while ((s = TAILQ_FIRST(&v->retry))) {
            TAILQ_REMOVE(&v->retry, s, queue);
            pipeline_resend(v, s);
        }
        stage_old_ready(v, now_us() - STAGED_MAX_US);
        pipeline_pump(v);
        volume_unlock(v);
        volume_lock(v);
    }
    volume_unlock(v);
    return NULL;
}

/* ---- open and close ---- */

static void init_lists(struct encsan *v)
{
    RB_INIT(&v->staged);
    RB_INIT(&v->retained);
    TAILQ_INIT(&v->free_segments);
    TAILQ_INIT(&v->by_age);
    TAILQ_INIT(&v->filling);
    TAILQ_INIT(&v->ready);
    TAILQ_INIT(&v->ranges);
    TAILQ_INIT(&v->urgent);
    TAILQ_INIT(&v->held);
    TAILQ_INIT(&v->outstanding);
    TAILQ_INIT(&v->sealing);
    TAILQ_INIT(&v->resend);
    TAILQ_INIT(&v->retry);
    TAILQ_INIT(&v->durable_segments);
    TAILQ_INIT(&v->reads_free);
    TAILQ_INIT(&v->reads_sent);
    TAILQ_INIT(&v->reads_lost);
    TAILQ_INIT(&v->parked);
    TAILQ_INIT(&v->parked_urgent);
    TAILQ_INIT(&v->leaving);
    TAILQ_INIT(&v->reads_queued);
    TAILQ_INIT(&v->flushes);
    TAILQ_INIT(&v->finished);
    TAILQ_INIT(&v->requests_free);
}

static struct encsan *volume_new(void)
{
    struct encsan *v = calloc(1, sizeof *v);

    if (!v)
        return NULL;
    v->pages = MAP_FAILED;
    pthread_mutex_init(&v->lock, NULL);
    pthread_cond_init(&v->idle, NULL);
    cond_init(&v->tick);
    cond_init(&v->sessions_changed);
    init_lists(v);
    return v;
}

static void free_requests(struct encsan *v)
{
    struct request *r;

    while ((r = TAILQ_FIRST(&v->requests_free))) {
        TAILQ_REMOVE(&v->requests_free, r, queue);
        free(r);
    }
}

static void volume_free(struct encsan *v)
{
    nexus_close_all(v, true); /* of one that could not be opened: there is nothing that it lost */
    if (v->workers)
        workers_free(v->workers);
    if (v->slots)
        slots_free(v->slots);
    if (v->pages != MAP_FAILED)
        munmap(v->pages, (size_t)v->page_count * ENCSAN_BLOCK_BYTES);
    portals_free(v->portals);
    readahead_free(v);
    free_requests(v);
    free(v->free_pages);
    free(v->segments);
    free(v->reads);
    free((char *)v->options.url);
    free((char *)v->options.suite);
    OPENSSL_cleanse(&v->options, sizeof v->options);
    pthread_cond_destroy(&v->tick);
    pthread_cond_destroy(&v->sessions_changed);
    pthread_cond_destroy(&v->idle);
    pthread_mutex_destroy(&v->lock);
    free(v);
}

static int refuse(char *message, const char *text)
{
    snprintf(message, ENCSAN_MESSAGE_BYTES, "%s", text);
    return -1;
}

static int take_options(struct encsan *v, const struct encsan_options *o, char *message)
{
    size_t cache = o->cache_bytes ? o->cache_bytes : CACHE_BYTES_DEFAULT;
    size_t segment = o->segment_bytes ? o->segment_bytes
                                      : SEGMENT_BLOCKS_DEFAULT * ENCSAN_BLOCK_BYTES;

    v->log = o->log;
    v->log_opaque = o->opaque;
    v->segment_blocks = segment / ENCSAN_BLOCK_BYTES;
    /* what each page may need of segments is a part of the cache */
    v->page_count = (uint32_t)(cache / (ENCSAN_BLOCK_BYTES + sizeof(struct segment)));
    v->info.read_only = o->read_only;
    if (!o->url)
        return refuse(message, "no URL given");
    v->options = *o;
    v->options.url = strdup(o->url);
    v->options.suite = o->suite ? strdup(o->suite) : NULL;
    if (!v->options.url || (o->suite && !v->options.suite))
        return refuse(message, "out of memory");
    if (o->sessions > ENCSAN_SESSIONS_MAX)
        return refuse(message, "sessions= is at most 16");
    if (segment % ENCSAN_BLOCK_BYTES || v->segment_blocks > WIRE_DATA_BLOCKS_MAX)
        return refuse(message, "segment= is a multiple of 4 KiB, at most 252 KiB");
    if (cache < CACHE_BYTES_MIN || cache / ENCSAN_BLOCK_BYTES > UINT32_MAX / 2)
        return refuse(message, "cache= is at least 4 MiB and less than 8 TiB");
    return 0;
}

static unsigned most_in_flight(const struct encsan *v)
{
    return v->slot_count - SLOTS_FOR_READS - SLOTS_FOR_URGENT;
}

/* Touched here and not in the data path: the first touch of memory is slow. */
static int make_memory(struct encsan *v, char *message)
{
    size_t segments = v->page_count + RANGE_SEGMENTS;

    v->segments = calloc(segments, sizeof *v->segments);
    v->free_pages = calloc(v->page_count, sizeof *v->free_pages);
    v->pages = mmap(NULL, (size_t)v->page_count * ENCSAN_BLOCK_BYTES, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (!v->segments || !v->free_pages || v->pages == MAP_FAILED)
        return refuse(message, "out of memory: a smaller cache= may help");
    for (size_t i = 0; i < segments; i++) {
        v->segments[i].volume = v;
        TAILQ_INSERT_TAIL(&v->free_segments, &v->segments[i], queue);
    }
    /* taken from the end: the lowest first, so that a segment's pages lie side by side */
    for (uint32_t i = 0; i < v->page_count; i++)
        v->free_pages[i] = v->page_count - 1 - i;
    v->free_page_count = v->page_count;
    pace_init(&v->write_pace, v->options.depth, START_SEGMENTS * v->sessions, most_in_flight(v),
              v->segment_blocks);
    return readahead_init(v, v->options.readahead) == 0 ? 0 : refuse(message, "out of memory: a smaller cache= may help");
}

/* Slots are touched when they are used: fewer of them where segments are large. */
static int make_slots(struct encsan *v, char *message)
{
    size_t most = SLOTS_BYTES_MAX / WIRE_WRITE_BYTES(v->segment_blocks);

    v->slot_count = most < SLOTS_MAX ? (unsigned)most : SLOTS_MAX;
    if (v->options.depth > most_in_flight(v)) {
        snprintf(message, ENCSAN_MESSAGE_BYTES, "prefetch=%u: at most %u segments of this size",
                 v->options.depth, most_in_flight(v));
        return -1;
    }
    v->slots = slots_new(v->slot_count + SYNC_SLOTS);
    if (!v->slots || read_init(v) != 0)
        return refuse(message, "out of memory");
    for (unsigned i = v->slot_count; i > 0; i--)
        v->free_slots[v->free_slot_count++] = slots_get(v->slots, i - 1);
    receipt_init(v);
    return 0;
}

static int start_threads(struct encsan *v, unsigned workers, char *message)
{
    v->workers = workers_new("encsan-seal", workers);
    if (!v->workers || nexus_open_others(v) != 0 ||
        pthread_create(&v->ticker, NULL, ticker, v) != 0)
        return refuse(message, "cannot start a thread");
    return 0;
}

struct encsan *encsan_open(const struct encsan_options *options, char message[ENCSAN_MESSAGE_BYTES])
{
    struct encsan *v = volume_new();

    if (!v) {
        refuse(message, "out of memory");
        return NULL;
    }
    if (take_options(v, options, message) == 0 && make_slots(v, message) == 0 &&
        nexus_open_first(v, message) == 0 && make_memory(v, message) == 0 &&
        start_threads(v, options->workers, message) == 0)
        return v;
    volume_free(v);
    return NULL;
}

static bool slots_in_use(const struct encsan *v)
{
    for (unsigned i = 0; i < SYNC_SLOTS; i++)
        if (v->syncs[i].busy)
            return true;
    return v->in_flight > 0 || !TAILQ_EMPTY(&v->reads_sent);
}

int encsan_close(struct encsan *v)
{
    int error = v->info.read_only ? 0 : encsan_flush(v);

    volume_lock(v);
    v->ending = true;
    read_fail_lost(v, -EIO); /* of reading ahead: nobody waits for it */
    while (slots_in_use(v))
        pthread_cond_wait(&v->idle, &v->lock);
    volume_unlock(v);
    nexus_close_all(v, error == 0);
    pthread_join(v->ticker, NULL);
    volume_free(v);
    return error;
}

void encsan_get_info(struct encsan *v, struct encsan_info *info)
{
    *info = v->info;
}

void encsan_get_stats(struct encsan *v, struct encsan_stats *stats)
{
    volume_lock(v);
    *stats = v->stats;
    stats->ordinal = v->ordinal;
    stats->durable = v->durable;
    stats->staged_bytes = v->staged_blocks * ENCSAN_BLOCK_BYTES;
    stats->retained_bytes = v->retained_blocks * ENCSAN_BLOCK_BYTES;
    stats->depth = v->write_pace.depth;
    stats->best_depth = v->write_pace.best;
    stats->write_rate = (uint64_t)v->write_pace.rate;
    stats->read_rate = (uint64_t)v->read_pace.rate;
    stats->best_readahead = v->read_pace.best;
    stats->rtt_us = nexus_rtt_min_us(v);
    stats->outage_us = v->outage_us ? now_us() - v->outage_us : 0;
    stats->fenced = v->fenced;
    stats->sessions_wanted = v->sessions;
    stats->sessions = v->live_sessions;
    stats->in_flight = v->in_flight;
    stats->readahead = v->read_pace.depth;
    volume_unlock(v);
}

int encsan_error(struct encsan *v)
{
    int error = v->error;

    return error ? error : v->write_error;
}

/* ---- requests ---- */

/* Once the target could not write, only a journal's last words are sent. */
static int check_writing(const struct encsan *v, const struct request *r)
{
    bool last_words = r->kind == REQUEST_WRITE && r->flags == ENCSAN_URGENT;

    return last_words || r->kind == REQUEST_LEAVE ? 0 : v->write_error;
}

static int check_request(const struct encsan *v, const struct request *r, uint64_t count,
                         uint64_t offset)
{
    int error = v->error;

    if (!error && r->kind != REQUEST_READ)
        error = check_writing(v, r);
    if (r->kind == REQUEST_FLUSH)
        return error;
    if (count % ENCSAN_BLOCK_BYTES || offset % ENCSAN_BLOCK_BYTES || r->lba > v->blocks ||
        r->blocks > v->blocks - r->lba)
        return -EINVAL;
    if (r->kind != REQUEST_READ && (v->info.read_only || v->fenced))
        return -EROFS;
    if (r->flags & ENCSAN_AFTER_ALL && r->blocks > v->segment_blocks)
        return -EINVAL;
    return error;
}

/* Behind those that wait already, so that none starves; but small writes have memory of their own. */
static void enqueue_write(struct encsan *v, struct request *r)
{
    struct request_list *list = r->flags & ENCSAN_URGENT ? &v->parked_urgent : &v->parked;
    bool small = r->kind == REQUEST_WRITE && r->blocks <= SMALL_BLOCKS;

    if (r->kind == REQUEST_WRITE)
        v->stats.bytes_written += r->blocks * ENCSAN_BLOCK_BYTES;
    if ((small || TAILQ_EMPTY(list)) && stage_request(v, r))
        stage_finish(v, r);
    else
        TAILQ_INSERT_TAIL(list, r, queue);
}

static void enqueue(struct encsan *v, struct request *r)
{
    switch (r->kind) {
    case REQUEST_READ:
        v->stats.bytes_read += r->blocks * ENCSAN_BLOCK_BYTES;
        readahead_note(v, r);
        TAILQ_INSERT_TAIL(&v->reads_queued, r, queue);
        break;
    case REQUEST_FLUSH:
        r->age = v->age;
        if (r->flags & ENCSAN_URGENT)
            stage_urgent_ready(v);
        else
            stage_all_ready(v);
        TAILQ_INSERT_TAIL(&v->flushes, r, queue);
        break;
    case REQUEST_LEAVE:
        stage_urgent(v, r->lba, r->blocks);
        TAILQ_INSERT_TAIL(&v->leaving, r, queue);
        break;
    default:
        enqueue_write(v, r);
    }
}

static void submit(struct encsan *v, struct request template, uint64_t count, uint64_t offset)
{
    struct request *r;
    int error;

    volume_lock(v);
    r = request_take(v);
    if (!r) {
        volume_unlock(v);
        template.done(template.opaque, -ENOMEM);
        return;
    }
    *r = template;
    r->lba = offset / ENCSAN_BLOCK_BYTES;
    r->blocks = count / ENCSAN_BLOCK_BYTES;
    error = check_request(v, r, count, offset);
    if (error) {
        volume_finish(v, r, error);
    } else {
        enqueue(v, r);
        pipeline_pump(v);
    }
    volume_unlock(v);
}

void encsan_read_async(struct encsan *v, void *buf, size_t count, uint64_t offset,
                       encsan_done *done, void *opaque)
{
    submit(v, (struct request){.kind = REQUEST_READ, .out = buf, .done = done, .opaque = opaque},
           count, offset);
}

void encsan_read_stream_async(struct encsan *v, void *buf, size_t count, uint64_t offset,
                              struct encsan_stream stream, encsan_done *done, void *opaque)
{
    struct encsan_stream blocks = {stream.end / ENCSAN_BLOCK_BYTES, stream.then / ENCSAN_BLOCK_BYTES,
                                   stream.then_end / ENCSAN_BLOCK_BYTES, stream.begins};

    submit(v, (struct request){.kind = REQUEST_READ, .out = buf, .done = done, .opaque = opaque,
                               .stream = blocks},
           count, offset);
}

void encsan_prefetch(struct encsan *v, uint64_t count, uint64_t offset)
{
    struct request range = {.kind = REQUEST_READ,
                            .lba = offset / ENCSAN_BLOCK_BYTES,
                            .blocks = count / ENCSAN_BLOCK_BYTES};

    volume_lock(v);
    if (check_request(v, &range, count, offset) == 0 && range.blocks > 0) {
        readahead_want(v, range.lba, range.blocks);
        pipeline_pump(v);
    }
    volume_unlock(v);
}

void encsan_write_async(struct encsan *v, const void *buf, size_t count, uint64_t offset,
                        unsigned flags, encsan_done *done, void *opaque)
{
    submit(v, (struct request){.kind = REQUEST_WRITE, .in = buf, .flags = flags, .done = done,
                               .opaque = opaque},
           count, offset);
}

void encsan_zero_async(struct encsan *v, uint64_t count, uint64_t offset, encsan_done *done,
                       void *opaque)
{
    submit(v, (struct request){.kind = REQUEST_ZERO, .done = done, .opaque = opaque}, count, offset);
}

void encsan_discard_async(struct encsan *v, uint64_t count, uint64_t offset, encsan_done *done,
                          void *opaque)
{
    submit(v, (struct request){.kind = REQUEST_DISCARD, .done = done, .opaque = opaque}, count,
           offset);
}

void encsan_flush_async(struct encsan *v, unsigned flags, encsan_done *done, void *opaque)
{
    submit(v, (struct request){.kind = REQUEST_FLUSH, .flags = flags, .done = done,
                               .opaque = opaque},
           0, 0);
}

/* ---- the synchronous forms ---- */

struct waiter {
    pthread_mutex_t lock;
    pthread_cond_t cond;
    bool ended;
    int error;
};

#define WAITER_INIT {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, false, 0}

static void wake(void *opaque, int error)
{
    struct waiter *w = opaque;

    pthread_mutex_lock(&w->lock);
    w->ended = true;
    w->error = error;
    pthread_cond_signal(&w->cond);
    pthread_mutex_unlock(&w->lock);
}

static int wait_for(struct waiter *w)
{
    pthread_mutex_lock(&w->lock);
    while (!w->ended)
        pthread_cond_wait(&w->cond, &w->lock);
    pthread_mutex_unlock(&w->lock);
    return w->error;
}

int encsan_read(struct encsan *v, void *buf, size_t count, uint64_t offset)
{
    struct waiter w = WAITER_INIT;

    encsan_read_async(v, buf, count, offset, wake, &w);
    return wait_for(&w);
}

int encsan_write(struct encsan *v, const void *buf, size_t count, uint64_t offset, unsigned flags)
{
    struct waiter w = WAITER_INIT;

    encsan_write_async(v, buf, count, offset, flags, wake, &w);
    return wait_for(&w);
}

int encsan_zero(struct encsan *v, uint64_t count, uint64_t offset)
{
    struct waiter w = WAITER_INIT;

    encsan_zero_async(v, count, offset, wake, &w);
    return wait_for(&w);
}

int encsan_discard(struct encsan *v, uint64_t count, uint64_t offset)
{
    struct waiter w = WAITER_INIT;

    encsan_discard_async(v, count, offset, wake, &w);
    return wait_for(&w);
}

static int flush(struct encsan *v, unsigned flags)
{
    struct waiter w = WAITER_INIT;

    encsan_flush_async(v, flags, wake, &w);
    return wait_for(&w);
}

int encsan_flush(struct encsan *v)
{
    return flush(v, 0);
}

int encsan_flush_urgent(struct encsan *v)
{
    return flush(v, ENCSAN_URGENT);
}

/* ---- what has left ---- */

int encsan_leave(struct encsan *v, uint64_t count, uint64_t offset)
{
    struct waiter w = WAITER_INIT;

    submit(v, (struct request){.kind = REQUEST_LEAVE, .done = wake, .opaque = &w}, count, offset);
    return wait_for(&w);
}

uint64_t encsan_stamp_staged(struct encsan *v)
{
    uint64_t stamp;

    volume_lock(v);
    stamp = v->age;
    volume_unlock(v);
    return stamp;
}

uint64_t encsan_stamp_left(struct encsan *v)
{
    const struct segment *oldest;
    uint64_t stamp;

    volume_lock(v);
    oldest = TAILQ_FIRST(&v->by_age);
    stamp = oldest ? oldest->age - 1 : v->age;
    volume_unlock(v);
    return stamp;
}

uint64_t encsan_count_left(struct encsan *v, uint64_t count, uint64_t offset)
{
    uint64_t lba = offset / ENCSAN_BLOCK_BYTES;
    const struct segment *s;

    volume_lock(v);
    s = segment_overlap(&v->staged, lba, count / ENCSAN_BLOCK_BYTES);
    if (s)
        count = s->lba > lba ? (s->lba - lba) * ENCSAN_BLOCK_BYTES : 0;
    volume_unlock(v);
    return count;
}
