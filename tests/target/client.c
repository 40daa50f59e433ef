// SPDX-License-Identifier: LGPL-2.1-or-later
/* The target and the initiator of the tests: client.h. */
#include "client.h"

#include <fcntl.h>
#include <glib/gstdio.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "key.h"
#include "noise.h"

#define IQN "iqn.2026-11.org.encsan:test-target"
#define LUN 1

static uint8_t target_key[KEY_BYTES], keys[3][KEY_BYTES];

/* ---- the target ---- */

static char *public_text(const uint8_t *key)
{
    uint8_t public[KEY_BYTES];
    char text[KEY_TEXT_BYTES];

    g_assert_cmpint(key_public(key, public), ==, 0);
    key_to_text(public, text);
    return g_strdup(text);
}

static char *read_line(int fd)
{
    char line[512];
    size_t n = 0;

    while (n < sizeof line - 1 && read(fd, line + n, 1) == 1 && line[n] != '\n')
        n++;
    line[n] = 0;
    return g_strdup(line);
}

/* An assertion that fails must not leave a target behind. */
static void die_with_us(gpointer unused)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
}

static void spawn(struct target *t, const char *const *argv)
{
    GError *error = NULL;

    g_assert_nonnull(argv[0]);
    g_spawn_async_with_pipes(NULL, (char **)argv, NULL, G_SPAWN_DO_NOT_REAP_CHILD, die_with_us,
                             NULL, &t->pid, NULL, &t->out, NULL, &error);
    g_assert_no_error(error);
}

void target_run(struct target *t, const char *const *arguments)
{
    g_autofree char *alice = public_text(keys[ALICE]), *bob = public_text(keys[BOB]);
    g_autofree char *sealed = g_strdup_printf("%s,size=%u", t->disk, DISK_BYTES);
    g_autofree char *plain = g_strdup_printf("%s,access=plain,size=4M", t->plain);
    g_autofree char *line = NULL, *second = NULL;
    const char *argv[32] = {g_getenv("ENCSAN_TARGET"), "--listen", "127.0.0.1:0", "--name", IQN,
                            "--key", t->key_file, "--allow", alice, "--allow", bob, "--lun", sealed,
                            "--lun", plain};
    unsigned argc = 15;

    for (; arguments && *arguments && argc < G_N_ELEMENTS(argv) - 1; arguments++)
        argv[argc++] = *arguments;
    spawn(t, argv);
    line = read_line(t->out);
    second = read_line(t->out);
    g_assert_true(g_str_has_prefix(line, "iscsi://127.0.0.1:"));
    g_assert_true(g_str_has_suffix(second, "/" IQN "/2 plain"));
    g_free(t->url);
    g_free(t->portal);
    t->url = g_strndup(line, strcspn(line, " "));
    t->portal = g_strndup(line + strlen("iscsi://"), strcspn(line + strlen("iscsi://"), "/"));
}

void target_end(struct target *t, int signal)
{
    int status;

    g_assert_cmpint(kill(t->pid, signal), ==, 0);
    g_assert_cmpint(waitpid(t->pid, &status, 0), ==, t->pid);
    g_assert_cmpint(status, ==, signal == SIGTERM ? 0 : signal); /* as wait(2) encodes it */
    close(t->out);
}

void target_start(struct target *t)
{
    char message[512] = "";
    GError *error = NULL;

    memset(t, 0, sizeof *t);
    signal(SIGPIPE, SIG_IGN); /* libiscsi writes to a target that is gone */
    g_assert_cmpint(key_generate(target_key), ==, 0);
    for (unsigned i = 0; i < G_N_ELEMENTS(keys); i++)
        g_assert_cmpint(key_generate(keys[i]), ==, 0);
    t->folder = g_dir_make_tmp("encsan-target-XXXXXX", &error);
    g_assert_no_error(error);
    t->key_file = g_build_filename(t->folder, "key", NULL);
    t->disk = g_build_filename(t->folder, "disk", NULL);
    t->state = g_strconcat(t->disk, ".encsan-state", NULL);
    t->plain = g_build_filename(t->folder, "plain", NULL);
    g_assert_cmpint(key_save(t->key_file, target_key, message, sizeof message), ==, 0);
    target_run(t, NULL);
}

void target_stop(struct target *t)
{
    target_end(t, SIGTERM);
    g_unlink(t->disk);
    g_unlink(t->state);
    g_unlink(t->plain);
    g_unlink(t->key_file);
    g_assert_cmpint(g_rmdir(t->folder), ==, 0); /* nothing else is in it */
    g_free(t->folder);
    g_free(t->disk);
    g_free(t->state);
    g_free(t->plain);
    g_free(t->key_file);
    g_clear_pointer(&t->url, g_free);
    g_clear_pointer(&t->portal, g_free);
}

void target_peek(const struct target *t, uint64_t block, uint8_t out[BLOCK])
{
    int fd = open(t->disk, O_RDONLY | O_CLOEXEC);

    g_assert_cmpint(fd, >=, 0);
    g_assert_cmpint(pread(fd, out, BLOCK, (off_t)(block * BLOCK)), ==, BLOCK);
    close(fd);
}

/* ---- sessions ---- */

/* libiscsi's synchronous calls leave a pointer into their stack behind when the session is lost. */
static void finished(struct iscsi_context *iscsi, int status, void *data, void *private_data)
{
    struct client *c = private_data;

    c->status = status;
    c->finished = true;
}

static int wait_finished(struct client *c)
{
    while (!c->finished) {
        struct pollfd fd = {.fd = iscsi_get_fd(c->iscsi)};
        int n;

        fd.events = (short)iscsi_which_events(c->iscsi);
        n = poll(&fd, 1, 1000);
        if (iscsi_service(c->iscsi, n > 0 ? fd.revents : 0) < 0)
            return SCSI_STATUS_ERROR;
    }
    return c->status;
}

static bool log_in(struct client *c, const char *portal)
{
    if (iscsi_connect_async(c->iscsi, portal, finished, c) != 0 ||
        wait_finished(c) != SCSI_STATUS_GOOD)
        return false;
    c->finished = false;
    return iscsi_login_async(c->iscsi, finished, c) == 0 && wait_finished(c) == SCSI_STATUS_GOOD;
}

struct client *client_try_open(const struct target *t)
{
    g_autofree char *name = g_strdup_printf("iqn.2026-11.org.encsan:%08x", g_random_int());
    struct client *c = g_new0(struct client, 1);

    for (size_t i = 0; i < sizeof c->mount_id; i++)
        c->mount_id[i] = (uint8_t)g_random_int();
    c->iscsi = iscsi_create_context(name);
    iscsi_set_targetname(c->iscsi, IQN);
    iscsi_set_session_type(c->iscsi, ISCSI_SESSION_NORMAL);
    iscsi_set_noautoreconnect(c->iscsi, 1);
    if (log_in(c, t->portal))
        return c;
    client_cut(c);
    return NULL;
}

struct client *client_open(const struct target *t)
{
    struct client *c = client_try_open(t);

    g_assert_nonnull(c);
    return c;
}

struct client *client_again(const struct target *t, const struct client *c)
{
    struct client *again = client_open(t);

    memcpy(again->mount_id, c->mount_id, WIRE_ID_BYTES);
    return again;
}

void client_cut(struct client *c)
{
    iscsi_destroy_context(c->iscsi);
    if (c->task)
        scsi_free_scsi_task(c->task);
    if (c->sa)
        sa_free(c->sa);
    g_free(c);
}

void client_leave(struct client *c)
{
    c->finished = false;
    if (iscsi_logout_async(c->iscsi, finished, c) == 0)
        wait_finished(c);
    client_cut(c);
}

void client_close(struct client *c)
{
    const struct write release = {.operation = RELEASE};

    if (c->state == WIRE_LEASE_HELD)
        client_write(c, &release); /* it may have lost it to another */
    client_leave(c);
}

static struct status command(struct client *c, const uint8_t *cdb, int cdb_bytes, int direction,
                             void *data, size_t bytes)
{
    struct status status = {SCSI_STATUS_ERROR, 0};

    if (c->task)
        return status; /* an earlier one was lost, and the session with it */
    c->task = scsi_create_task(cdb_bytes, (unsigned char *)cdb, direction, (int)bytes);
    g_assert_nonnull(c->task);
    c->iov = (struct scsi_iovec){data, bytes};
    c->finished = false;
    if (direction == SCSI_XFER_WRITE)
        scsi_task_set_iov_out(c->task, &c->iov, 1);
    else
        scsi_task_set_iov_in(c->task, &c->iov, 1);
    if (iscsi_scsi_command_async(c->iscsi, LUN, c->task, finished, NULL, c) != 0)
        return status;
    status.code = wait_finished(c);
    if (status.code != SCSI_STATUS_GOOD && status.code != SCSI_STATUS_CHECK_CONDITION &&
        status.code != SCSI_STATUS_BUSY && status.code != SCSI_STATUS_TASK_SET_FULL) {
        status.code = SCSI_STATUS_ERROR;
        return status;
    }
    if (status.code == SCSI_STATUS_CHECK_CONDITION)
        status.sense = c->task->sense.key << 16 | c->task->sense.ascq;
    scsi_free_scsi_task(c->task);
    c->task = NULL;
    return status;
}

struct status client_out(struct client *c, const uint8_t *cdb, int cdb_bytes, const void *data,
                         size_t bytes)
{
    return command(c, cdb, cdb_bytes, SCSI_XFER_WRITE, (void *)data, bytes);
}

struct status client_in(struct client *c, const uint8_t *cdb, int cdb_bytes, void *data,
                        size_t bytes)
{
    memset(data, 0, bytes);
    return command(c, cdb, cdb_bytes, SCSI_XFER_READ, data, bytes);
}

/* ---- the handshake ---- */

static struct noise *make_noise(const struct hello *hello)
{
    uint8_t prologue[128] = "encsan 1";
    struct noise_config config = {.cipher = NOISE_AESGCM, .initiator = true, .prologue = prologue};
    struct noise *noise;

    memcpy(prologue + 9, IQN, sizeof IQN);
    wire_put64(prologue + 9 + sizeof IQN, LUN);
    config.prologue_len = 9 + sizeof IQN + 8;
    memcpy(config.static_private, keys[hello->who], KEY_BYTES);
    g_assert_cmpint(
        key_public(hello->wrong_target ? keys[MALLORY] : target_key, config.remote_static), ==, 0);
    noise = noise_new(&config);
    g_assert_nonnull(noise);
    return noise;
}

static void security_protocol(uint8_t cdb[12], uint8_t opcode, uint16_t message, uint32_t bytes)
{
    memset(cdb, 0, 12);
    cdb[0] = opcode;
    cdb[1] = WIRE_SECURITY_PROTOCOL;
    wire_put16(cdb + 2, message);
    wire_put32(cdb + 6, bytes);
}

bool client_handshake(struct client *c, const struct hello *hello)
{
    struct wire_hello payload = {.version = hello->version ? hello->version : WIRE_VERSION,
                                 .intent = (uint8_t)hello->intent};
    uint8_t out[sizeof payload + WIRE_NOISE_1_OVERHEAD];
    uint8_t in[sizeof c->welcome + WIRE_NOISE_2_OVERHEAD], cdb[12];
    struct noise *noise = make_noise(hello);
    struct status status;

    wire_put16(payload.suites,
               (uint16_t)(hello->suites ? hello->suites : WIRE_SUITE_BIT(WIRE_SUITE_AES_256_GCM)));
    memcpy(payload.mount_id, c->mount_id, WIRE_ID_BYTES);
    if (hello->previous)
        memcpy(payload.previous_mount_id, hello->previous, WIRE_ID_BYTES);
    wire_put64(payload.generation, hello->generation);
    wire_put64(payload.base, hello->base);
    g_assert_cmpint(noise_write(noise, (uint8_t *)&payload, sizeof payload, out), ==, sizeof out);
    security_protocol(cdb, WIRE_SECURITY_PROTOCOL_OUT, WIRE_SPS_MESSAGE_1, sizeof out);
    status = client_out(c, cdb, sizeof cdb, out, sizeof out);
    if (status.code == SCSI_STATUS_GOOD) {
        security_protocol(cdb, WIRE_SECURITY_PROTOCOL_IN, WIRE_SPS_MESSAGE_2, sizeof in);
        status = client_in(c, cdb, sizeof cdb, in, sizeof in);
    } else if (status.code == SCSI_STATUS_CHECK_CONDITION) {
        g_assert_cmphex(status.sense, ==, ACCESS_DENIED);
    }
    if (status.code != SCSI_STATUS_GOOD) {
        noise_free(noise);
        return false;
    }
    g_assert_cmpint(noise_read(noise, in, sizeof in, (uint8_t *)&c->welcome), ==,
                    sizeof c->welcome);
    if (c->welcome.refusal == WIRE_ACCEPTED) {
        c->sa = sa_new(noise, true, c->welcome.suite, c->welcome.sa_index);
        g_assert_nonnull(c->sa);
    }
    noise_free(noise);
    return true;
}

enum wire_refusal client_take(struct client *c, const struct hello *hello)
{
    const struct write none = {.operation = WIRE_OP_NONE};
    struct wire_receipt receipt;
    struct status status;

    if (!client_handshake(c, hello))
        return LOST;
    if (c->welcome.refusal != WIRE_ACCEPTED)
        return c->welcome.refusal;
    status = client_write(c, &none);
    if (status.code == SCSI_STATUS_ERROR || !client_sync(c, 0, &receipt))
        return LOST;
    c->state = receipt.lease_state;
    c->generation = wire_get64(receipt.generation);
    g_assert_cmpint(status.code == SCSI_STATUS_GOOD, ==, c->state != WIRE_LEASE_FENCED);
    return c->state == WIRE_LEASE_FENCED ? WIRE_REFUSED_HELD : WIRE_ACCEPTED;
}

void client_attach(struct client *c, enum wire_intent intent, uint64_t generation)
{
    const struct hello hello = {.intent = intent, .generation = generation};

    g_assert_cmpint(client_take(c, &hello), ==, WIRE_ACCEPTED);
    g_assert_cmpint(c->state, ==, intent == WIRE_INTENT_RO ? WIRE_LEASE_SHARED : WIRE_LEASE_HELD);
}

/* ---- sealed commands ---- */

size_t client_seal(struct client *c, const struct write *w, uint8_t cdb[WIRE_CDB_BYTES],
                   uint8_t *out)
{
    size_t bytes = w->operation == WIRE_OP_WRITE ? w->blocks * BLOCK : 0;
    g_autofree uint8_t *data = g_malloc(bytes + 1);
    struct wire_write header = {.operation = (uint8_t)w->operation,
                                .flags = (uint8_t)(w->operation >> 8)};
    const struct iovec in[2] = {{&header, sizeof header}, {data, bytes}};

    memset(data, w->fill, bytes);
    wire_put32(header.blocks, (uint32_t)w->blocks);
    wire_put64(header.lba, w->lba);
    wire_put64(header.ordinal, w->ordinal);
    wire_put64(header.after, w->after);
    g_assert_cmpint(sa_cdb_make(c->sa, WIRE_SEALED_WRITE, 0, cdb), ==, 0);
    g_assert_cmpint(sa_seal_write(c->sa, cdb, in, 2, out), ==, 0);
    return sizeof header + bytes + WIRE_TAG_BYTES;
}

struct status client_write(struct client *c, const struct write *w)
{
    g_autofree uint8_t *out = g_malloc(WIRE_PDU_DATA_MAX);
    uint8_t cdb[WIRE_CDB_BYTES];
    size_t bytes = client_seal(c, w, cdb, out);

    return client_out(c, cdb, sizeof cdb, out, bytes);
}

int client_read(struct client *c, uint64_t lba, uint32_t blocks, uint8_t *out)
{
    size_t bytes = WIRE_READ_BYTES(blocks);
    g_autofree uint8_t *in = g_malloc(bytes);
    uint8_t cdb[WIRE_CDB_BYTES];
    struct wire_read header;
    const struct iovec pieces[2] = {{&header, sizeof header}, {out, (size_t)blocks * BLOCK}};

    g_assert_cmpint(sa_cdb_make(c->sa, WIRE_SEALED_READ, wire_read_field(lba, blocks), cdb), ==, 0);
    if (client_in(c, cdb, sizeof cdb, in, bytes).code != SCSI_STATUS_GOOD ||
        sa_open_answer(c->sa, cdb, in, bytes, pieces, 2) != 0)
        return -1;
    return header.status;
}

bool client_sync(struct client *c, uint64_t ordinal, struct wire_receipt *receipt)
{
    uint8_t in[WIRE_SYNC_BYTES], cdb[WIRE_CDB_BYTES];
    const struct iovec piece = {receipt, sizeof *receipt};

    g_assert_cmpint(sa_cdb_make(c->sa, WIRE_SEALED_SYNC, ordinal, cdb), ==, 0);
    return client_in(c, cdb, sizeof cdb, in, sizeof in).code == SCSI_STATUS_GOOD &&
           sa_open_answer(c->sa, cdb, in, sizeof in, &piece, 1) == 0;
}
