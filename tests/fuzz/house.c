// SPDX-License-Identifier: LGPL-2.1-or-later
/* The target and its peers: house.h. */
#include "house.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <glib.h>

#include "conn.h"
#include "portal.h"

#define LISTEN "127.0.0.1:0" /* bound and never listened on */

static const uint8_t target_key[KEY_BYTES] = {1, 2, 3};
const uint8_t house_initiator_key[KEY_BYTES] = {4, 5, 6};

static struct {
    struct target target;
    struct portal *portal;
} house = {.target = {.lock = PTHREAD_MUTEX_INITIALIZER, .idle = PTHREAD_COND_INITIALIZER}};

static void need(bool ok, const char *what)
{
    if (ok)
        return;
    fprintf(stderr, "fuzz: %s\n", what);
    abort();
}

/* ---- the target ---- */

static void put_lun(GString *out, const char *folder, unsigned number, const struct house_lun *lun)
{
    const char *access = lun->read_only ? "read-only" : lun->plain ? "plain" : "sealed";

    g_string_append_printf(out, "[lun %u]\npath=%s/disk%u\nsize=%u\naccess=%s\n", number, folder,
                           number, HOUSE_DISK_BYTES, access);
}

static void configure(const char *folder, const struct house_lun *luns, unsigned count)
{
    g_autofree char *path = g_build_filename(folder, "conf", NULL);
    g_autoptr(GString) out = g_string_new("[target]\nlisten=" LISTEN "\nname=" HOUSE_NAME "\n"
                                          "key=/unused\n"
                                          "memory=64M\n"
                                          "[user alice]\npassword=alice's password\n"
                                          "target-password=the target's one\n");
    uint8_t public[KEY_BYTES];
    char key[KEY_TEXT_BYTES], message[512] = "no configuration";

    need(key_public(house_initiator_key, public) == 0, "no key");
    key_to_text(public, key);
    g_string_append_printf(out, "[initiator fuzzer]\nkey=%s\n", key);
    for (unsigned i = 0; i < count; i++)
        put_lun(out, folder, i + 1, &luns[i]);
    house.target.config = config_new();
    need(g_file_set_contents(path, out->str, -1, NULL) &&
             config_read(house.target.config, path, message, sizeof message),
         message);
}

void house_build(const struct house_lun *luns, unsigned count)
{
    g_autofree char *folder = g_dir_make_tmp("encsan-fuzz-XXXXXX", NULL);
    char message[512] = "no folder";

    need(folder, message);
    configure(folder, luns, count);
    house.target.workers = workers_new("worker", 1); /* so that an input does the same each time */
    house.target.memory = memory_new(house.target.config->memory_bytes, TASK_BUFFER_BYTES);
    need(house.target.workers && house.target.memory, "out of memory");
    house.portal = portal_open(&house.target, message, sizeof message);
    need(house.portal, message);
}

struct target *house_open(void)
{
    char message[512];

    for (unsigned i = 0; i < house.target.config->luns->len; i++) {
        const struct lun_settings *settings = house.target.config->luns->pdata[i];

        need(unlink(settings->path) == 0 || errno == ENOENT, "a disk that stays");
    }
    house.target.luns = NULL;
    house.target.lun_count = 0;
    house.target.accounts = accounts_new();
    memcpy(house.target.key, target_key, KEY_BYTES);
    need(key_public(target_key, house.target.public_key) == 0, "no key");
    need(target_open_luns(&house.target, message, sizeof message) == 0, message);
    return &house.target;
}

void house_close(void)
{
    char message[512];

    accounts_free(house.target.accounts);
    need(target_close(&house.target, message, sizeof message) == 0, message);
}

/* ---- a connection and its peer ---- */

static void *serve(void *conn)
{
    conn_run(conn);
    conn_free(conn);
    return NULL;
}

void peer_open(struct peer *peer)
{
    int fds[2];
    struct conn *conn;

    *peer = (struct peer){.cmd_sn = 1};
    need(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0, "no socketpair");
    peer->fd = fds[0];
    conn = conn_new(&house.target, house.portal, fds[1], "fuzzer", "127.0.0.1:3260");
    need(conn && pthread_create(&peer->thread, NULL, serve, conn) == 0, "no connection");
}

/* libFuzzer's clock interrupts every call. */
static short wait_for(int fd, short events)
{
    struct pollfd p = {.fd = fd, .events = events};

    while (poll(&p, 1, -1) < 0)
        need(errno == EINTR, "poll");
    return p.revents;
}

/* False: it is the end. */
static bool drop_input(int fd)
{
    uint8_t bytes[65536];
    ssize_t n = recv(fd, bytes, sizeof bytes, MSG_DONTWAIT);

    return n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR));
}

void peer_talk(struct peer *peer, const uint8_t *bytes, size_t count)
{
    while (count) {
        short events = wait_for(peer->fd, POLLIN | POLLOUT);
        ssize_t n;

        if (events & POLLIN && !drop_input(peer->fd))
            return;
        if (!(events & (POLLOUT | POLLERR | POLLHUP)))
            continue;
        n = send(peer->fd, bytes, count, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n < 0 && errno != EAGAIN && errno != EINTR)
            return;
        if (n > 0) {
            bytes += n;
            count -= (size_t)n;
        }
    }
}

void peer_close(struct peer *peer)
{
    shutdown(peer->fd, SHUT_WR);
    do
        wait_for(peer->fd, POLLIN);
    while (drop_input(peer->fd));
    pthread_join(peer->thread, NULL);
    close(peer->fd);
}

/* ---- iSCSI ---- */

size_t peer_login_pdu(const char *initiator, const char *keys, uint8_t *out, size_t size)
{
    enum { TO_FULL_FEATURE = 0x80 | 1 << 2 | 3 };
    g_autofree char *text = g_strdup_printf("InitiatorName=%s;TargetName=" HOUSE_NAME
                                            ";SessionType=Normal;%s",
                                            initiator, keys ? keys : "");
    size_t bytes = strlen(text), whole = PDU_BHS_BYTES + bytes + pdu_padding((uint32_t)bytes);

    need(whole <= size, "a long login");
    g_strdelimit(text, ";", 0);
    memset(out, 0, whole);
    out[BHS_OPCODE] = PDU_LOGIN | PDU_IMMEDIATE;
    out[BHS_FLAGS] = TO_FULL_FEATURE;
    wire_put24(out + BHS_DATA_LENGTH, (uint32_t)bytes);
    wire_put32(out + BHS_CMD_SN, 1);
    memcpy(out + PDU_BHS_BYTES, text, bytes);
    return whole;
}

static bool receive(struct peer *peer, void *out, size_t bytes)
{
    while (bytes) {
        ssize_t n = recv(peer->fd, out, bytes, MSG_WAITALL);

        if (n == 0 || (n < 0 && errno != EINTR))
            return false;
        if (n > 0) {
            out = (uint8_t *)out + n;
            bytes -= (size_t)n;
        }
    }
    return true;
}

static bool send_all(struct peer *peer, const uint8_t *bytes, size_t count)
{
    while (count) {
        ssize_t n = send(peer->fd, bytes, count, MSG_NOSIGNAL);

        if (n < 0 && errno != EINTR)
            return false;
        if (n > 0) {
            bytes += n;
            count -= (size_t)n;
        }
    }
    return true;
}

/* The data segment, with its padding and digest, into `data`, of PDU_DATA_MAX bytes and 8 more. */
static bool receive_pdu(struct peer *peer, uint8_t bhs[PDU_BHS_BYTES], uint8_t *data)
{
    uint8_t digest[PDU_DIGEST_BYTES];
    uint32_t bytes;

    if (!receive(peer, bhs, PDU_BHS_BYTES) ||
        (peer->header_digest && !receive(peer, digest, sizeof digest)))
        return false;
    bytes = wire_get24(bhs + BHS_DATA_LENGTH);
    need(bytes <= PDU_DATA_MAX, "more data than a PDU may have");
    return receive(peer, data,
                   bytes + pdu_padding(bytes) +
                       (bytes && peer->data_digest ? PDU_DIGEST_BYTES : 0));
}

static bool contains(const uint8_t *text, size_t bytes, const char *what)
{
    return memmem(text, bytes, what, strlen(what)) != NULL;
}

bool peer_login(struct peer *peer, const char *initiator, const char *keys)
{
    static uint8_t data[PDU_DATA_MAX + 8];
    uint8_t pdu[1024], bhs[PDU_BHS_BYTES];
    size_t bytes = peer_login_pdu(initiator, keys, pdu, sizeof pdu);

    peer_talk(peer, pdu, bytes);
    if (!receive_pdu(peer, bhs, data) || bhs[36] != 0)
        return false;
    bytes = wire_get24(bhs + BHS_DATA_LENGTH);
    peer->header_digest = contains(data, bytes, "HeaderDigest=CRC32C");
    peer->data_digest = contains(data, bytes, "DataDigest=CRC32C");
    return true;
}

static void put(uint8_t *out, size_t *at, const void *bytes, size_t count)
{
    if (count)
        memcpy(out + *at, bytes, count);
    *at += count;
}

bool peer_send(struct peer *peer, uint8_t bhs[PDU_BHS_BYTES], const void *data, uint32_t bytes)
{
    static const uint8_t zeros[4];
    static uint8_t pdu[PDU_BHS_BYTES + HOUSE_DATA_MAX + 16];
    uint8_t digest[PDU_DIGEST_BYTES];
    size_t at = 0;

    need(bytes <= HOUSE_DATA_MAX, "too much data");
    wire_put24(bhs + BHS_DATA_LENGTH, bytes);
    wire_put32(bhs + BHS_CMD_SN, peer->cmd_sn);
    if (!(bhs[BHS_OPCODE] & PDU_IMMEDIATE))
        peer->cmd_sn++;
    put(pdu, &at, bhs, PDU_BHS_BYTES);
    if (peer->header_digest) {
        pdu_put_digest(digest, pdu_crc(PDU_CRC_BEGIN, bhs, PDU_BHS_BYTES));
        put(pdu, &at, digest, sizeof digest);
    }
    put(pdu, &at, data, bytes);
    put(pdu, &at, zeros, pdu_padding(bytes));
    if (peer->data_digest && bytes) {
        pdu_put_digest(digest, pdu_crc(PDU_CRC_BEGIN, pdu + at - bytes - pdu_padding(bytes),
                                       bytes + pdu_padding(bytes)));
        put(pdu, &at, digest, sizeof digest);
    }
    return send_all(peer, pdu, at);
}

int peer_finish(struct peer *peer, uint32_t itt, uint8_t *out, uint32_t size)
{
    static uint8_t data[PDU_DATA_MAX + 8];
    uint8_t bhs[PDU_BHS_BYTES];

    while (receive_pdu(peer, bhs, data)) {
        uint32_t bytes = wire_get24(bhs + BHS_DATA_LENGTH), at = wire_get32(bhs + BHS_BUFFER_OFFSET);
        bool data_in = bhs[BHS_OPCODE] == PDU_DATA_IN;

        if (wire_get32(bhs + BHS_ITT) != itt || (!data_in && bhs[BHS_OPCODE] != PDU_SCSI_RESPONSE))
            continue;
        if (data_in && out && at <= size && bytes <= size - at)
            memcpy(out + at, data, bytes);
        if (!data_in || bhs[BHS_FLAGS] & PDU_HAS_STATUS)
            return bhs[BHS_STATUS];
    }
    return -1;
}

uint32_t peer_command(struct peer *peer, const struct peer_command *command)
{
    uint8_t bhs[PDU_BHS_BYTES] = {PDU_SCSI_COMMAND, PDU_FINAL};

    if (command->bytes)
        bhs[BHS_FLAGS] |= command->out ? PDU_WRITE : PDU_READ;
    bhs[BHS_LUN + 1] = command->lun;
    wire_put32(bhs + BHS_ITT, ++peer->itt);
    wire_put32(bhs + BHS_EXPECTED_LENGTH, command->bytes);
    memcpy(bhs + BHS_CDB, command->cdb, WIRE_CDB_BYTES);
    return peer_send(peer, bhs, command->out, command->out ? command->bytes : 0) ? peer->itt : 0;
}
