// SPDX-License-Identifier: LGPL-2.1-or-later
#include "status.h"

#include <inttypes.h>
#include <glib.h>

#include "files/fs.h"

static void add(GString *text, const char *name, uint64_t value)
{
    g_string_append_printf(text, "%s %" PRIu64 "\n", name, value);
}

static const char *state_of(const struct encsan_stats *stats, int error)
{
    if (stats->fenced)
        return "taken over by another mount";
    if (error)
        return "failed";
    return stats->outage_us ? "waiting for the target" : "connected";
}

char *status_describe(struct encsan *volume, const struct fs *fs)
{
    GString *text = g_string_new(NULL);
    struct encsan_info info;
    struct encsan_stats stats;

    encsan_get_info(volume, &info);
    encsan_get_stats(volume, &stats);
    g_string_append_printf(text, "state %s\n", state_of(&stats, encsan_error(volume)));
    if (stats.outage_us)
        add(text, "waiting_us", stats.outage_us);
    g_string_append_printf(text, "suite %s\n", info.suite);
    add(text, "size_bytes", info.size_bytes);
    add(text, "lease_generation", info.generation);
    add(text, "written_bytes", stats.bytes_written);
    add(text, "read_bytes", stats.bytes_read);
    add(text, "staged_bytes", stats.staged_bytes);
    add(text, "retained_bytes", stats.retained_bytes);
    add(text, "sessions", stats.sessions);
    add(text, "sessions_wanted", stats.sessions_wanted);
    add(text, "round_trip_us", stats.rtt_us);
    add(text, "write_rate_bytes", stats.write_rate);
    add(text, "read_rate_bytes", stats.read_rate);
    add(text, "depth_segments", stats.depth);
    add(text, "best_depth_segments", stats.best_depth);
    add(text, "in_flight_segments", stats.in_flight);
    add(text, "readahead_segments", stats.readahead);
    add(text, "best_readahead_segments", stats.best_readahead);
    add(text, "segments_sent", stats.segments_sent);
    add(text, "reads_sent", stats.reads_sent);
    add(text, "syncs_sent", stats.syncs_sent);
    add(text, "retries", stats.retries);
    add(text, "rekeyings", stats.rekeyings);
    add(text, "security_errors", stats.security_errors);
    add(text, "sealing_ns", stats.seal_ns);
    add(text, "opening_ns", stats.open_ns);
    add(text, "last_ordinal", stats.ordinal);
    add(text, "durable_ordinal", stats.durable);
    if (fs)
        add(text, "known_files", fs->known_count);
    return g_string_free(text, FALSE);
}
