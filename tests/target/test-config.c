// SPDX-License-Identifier: LGPL-2.1-or-later
/* Configuration files: what is right is taken as it says; what is wrong is named with its line. */
#include <string.h>

#include <glib.h>
#include <glib/gstdio.h>

#include "config.h"
#include "wire.h"

#define KEY_A "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
#define TARGET "[target]\nlisten=[::]:3260\nname=iqn.2026-11.org.example:disk\nkey=/key\n"
#define LAPTOP "[initiator laptop]\nkey=" KEY_A "\n"
#define LUN "[lun 1]\npath=/disk\n"

static bool read_text(struct config *config, const char *text, gssize bytes, char *message,
                      size_t size)
{
    g_autofree char *folder = g_dir_make_tmp("encsan-config-XXXXXX", NULL);
    g_autofree char *path = g_build_filename(folder, "conf", NULL);
    g_autofree char *prefix = g_strconcat(path, ":", NULL);
    bool ok;

    g_assert_true(g_file_set_contents(path, text, bytes, NULL));
    config_init(config);
    ok = config_read(config, path, message, size);
    if (!ok) { /* without the folder, for comparing */
        g_assert_true(g_str_has_prefix(message, prefix));
        memmove(message, message + strlen(folder) + 1, strlen(message) - strlen(folder));
    }
    g_assert_cmpint(g_unlink(path), ==, 0);
    g_assert_cmpint(g_rmdir(folder), ==, 0);
    return ok;
}

static void test_all(void)
{
    static const char text[] = "# a comment\n"
                               "[target]\n"
                               "listen = 0.0.0.0:3260 ; [::1]:3261\n"
                               "name=iqn.2026-11.org.example:disk\n"
                               "key=/etc/key\n"
                               "suites=aes-256-gcm;null\n"
                               "state-dir=/var/lib/states\n"
                               "user=somebody\n"
                               "log=syslog\n"
                               "lease-timeout=7\n"
                               "sessions=12\n"
                               "window=300\n"
                               "metrics=9100\n"
                               "memory=64M\n"
                               "\n"
                               "[target far]\n"
                               "name=iqn.2026-11.org.example:far\n"
                               "[lun far/7]\n"
                               "path=/srv/far\n"
                               "[lun 7]\n"
                               "path=/srv/a disk\n"
                               "size=3G\n"
                               "initiators=desk;\n"
                               "[lun 2]\n"
                               "path=/srv/plain\n"
                               "access=read-only\n"
                               "users=alice\n"
                               "[user alice]\n"
                               "password=wonder land\\s1\n"
                               "target-password=looking-glass\n"
                               "[initiator laptop]\n"
                               "key=" KEY_A "\n"
                               "[initiator desk]\n"
                               "key=" KEY_A "\n";
    char message[1024] = "";
    const struct lun_settings *lun;
    struct config config;

    g_assert_true(read_text(&config, text, -1, message, sizeof message));
    g_assert_cmpuint(g_strv_length(config.listen), ==, 2);
    g_assert_cmpstr(config.listen[0], ==, "0.0.0.0:3260");
    g_assert_cmpstr(config.listen[1], ==, "[::1]:3261");
    g_assert_cmpstr(config_target(&config, NULL)->name, ==, "iqn.2026-11.org.example:disk");
    g_assert_cmpstr(config.key_file, ==, "/etc/key");
    g_assert_cmpuint(config.suites, ==,
                     WIRE_SUITE_BIT(WIRE_SUITE_AES_256_GCM) | WIRE_SUITE_BIT(WIRE_SUITE_NULL));
    g_assert_cmpstr(config.state_folder, ==, "/var/lib/states");
    g_assert_cmpuint(config.lease_timeout_s, ==, 7);
    g_assert_cmpstr(config.user, ==, "somebody");
    g_assert_true(config.syslog);
    g_assert_cmpuint(config.sessions_max, ==, 12);
    g_assert_cmpuint(config.memory_bytes, ==, 64 << 20);
    g_assert_cmpuint(config.window, ==, 300);
    g_assert_cmpstr(config.metrics, ==, "127.0.0.1:9100");
    g_assert_cmpuint(config.luns->len, ==, 3);
    g_assert_true(config.luns->pdata[0] == config_lun(&config, NULL, 2));
    g_assert_true(config.luns->pdata[2] == config_lun(&config, "far", 7));
    g_assert_cmpstr(config_lun(&config, "far", 7)->path, ==, "/srv/far");
    g_assert_cmpstr(config_target(&config, "far")->name, ==, "iqn.2026-11.org.example:far");
    g_assert_null(config_target(&config, "near"));
    g_assert_nonnull(config_named(&config, "iqn.2026-11.org.example:far"));
    g_assert_null(config_named(&config, "far"));
    lun = config_lun(&config, NULL, 7);
    g_assert_cmpstr(lun->path, ==, "/srv/a disk");
    g_assert_cmpuint(lun->bytes, ==, UINT64_C(3) << 30);
    g_assert_false(lun->plain);
    g_assert_cmpstr(lun->initiators[0], ==, "desk");
    g_assert_null(lun->initiators[1]);
    lun = config_lun(&config, NULL, 2);
    g_assert_true(lun->plain && lun->read_only);
    g_assert_cmpstr(lun->users[0], ==, "alice");
    g_assert_cmpstr(config_user(&config, "alice")->password, ==, "wonder land 1");
    g_assert_cmpstr(config_user(&config, "alice")->target_password, ==, "looking-glass");
    g_assert_null(config_user(&config, "bob"));
    g_assert_null(config_lun(&config, NULL, 1));
    g_assert_nonnull(config_initiator(&config, "laptop"));
    g_assert_null(config_initiator(&config, "lap"));
    config_free(&config);
}

static void test_wrong(void)
{
    static const struct {
        const char *text, *message; /* its beginning */
    } files[] = {
        {"", "conf: a group [target] is needed"},
        {TARGET, "conf: a group [lun 1] is needed"},
        {LUN LAPTOP, "conf: a group [target] is needed"},
        {"\n\nlisten=1\n", "conf:3: listen= stands before the first group"},
        {"[target\n", "conf:1: a group is a name in brackets"},
        {TARGET "what\n", "conf:5: no KEY=VALUE"},
        {TARGET "name[de]=x\n", "conf:5: no KEY=VALUE"},
        {TARGET "# \nname=iqn.x\n", "conf:6: name= is in line 3 already"},
        {TARGET LUN TARGET, "conf:7: [target] is in line 1 already"},
        {TARGET LUN LUN, "conf:7: [lun 1] is in line 5 already"},
        {TARGET LUN "[lun 01]\npath=/b\n", "conf:7: [lun 01] LUN 1 is there already"},
        {TARGET "[Lun 1]\n", "conf:5: [Lun 1] is no group; there are"},
        {TARGET "[lun]\n", "conf:5: [lun] is no group"},
        {TARGET "[initiator ]\n", "conf:5: [initiator ] is no group"},
        {TARGET "[target ]\n", "conf:5: [target ] is no group"},
        {TARGET "[target 2]\n", "conf:5: [target 2] name= is missing"},
        {TARGET "[target 2]\nkey=/k\n", "conf:6: [target 2] key= is unknown here; there are name"},
        {TARGET "[target 2]\nname=iqn.2026-11.org.example:disk\n",
         "conf:6: [target 2] name=iqn.2026-11.org.example:disk: another target has"},
        {TARGET "[target a/2]\nname=iqn.y\n", "conf:5: [target a/2] a label without /"},
        {"[target 2]\nname=iqn.y\n" TARGET, "conf:1: [target 2] comes after [target]"},
        {TARGET LAPTOP "[lun 2/1]\npath=/disk\n", "conf:7: [lun 2/1] there is no [target 2]"},
        {TARGET "[lun 2/0]\n", "conf:5: [lun 2/0] 0: a number from 1 to 255"},
        {TARGET "metrics=99999\n",
         "conf:5: [target] metrics=99999: a port, which is then 127.0.0.1's"},
        {TARGET "metrics=::1:5\n", "conf:5: [target] metrics=::1:5: a port"},
        {TARGET "window=0\n", "conf:5: [target] window=0: a number from 1 to 1024"},
        {TARGET "colour=red\n", "conf:5: [target] colour= is unknown here; there are listen, name"},
        {TARGET "sessions=0\n", "conf:5: [target] sessions=0: a number from 1 to 10000"},
        {TARGET "sessions=99999999999999999999\n", "conf:5: [target] sessions=9999"},
        {TARGET "sessions=12x\n", "conf:5: [target] sessions=12x: a number"},
        {TARGET "log=file\n", "conf:5: [target] log=file: stderr or syslog"},
        {TARGET "user=\n", "conf:5: [target] user=the name of a user"},
        {TARGET "sessions=\n", "conf:5: [target] sessions=: a number"},
        {TARGET "lease-timeout=-1\n", "conf:5: [target] lease-timeout=-1: a number from 0"},
        {TARGET "memory=4K\n", "conf:5: [target] memory=4K: at least 16M"},
        {TARGET "memory=64\n", "conf:5: [target] memory=64: a number with K, M"},
        {TARGET "suites=rot13\n", "conf:5: [target] suites=rot13: aes-256-gcm"},
        {TARGET "suites=;\n", "conf:5: [target] suites=a list of"},
        {TARGET "state-dir=here\n", "conf:5: [target] state-dir=here: a path that begins with /"},
        {"[target]\nname=disk\n", "conf:2: [target] name=disk: an iSCSI name"},
        {"[target]\nlisten=::1:3260\n", "conf:2: [target] listen=::1:3260: an address and a port"},
        {"[target]\nlisten=a:1;\\q\n", "conf:2: [target] listen="},
        {"[target]\nlisten=a:1\nkey=/k\n" LUN, "conf:1: [target] name= is missing"},
        {TARGET LAPTOP "[lun 1]\nsize=1G\n", "conf:7: [lun 1] path= is missing"},
        {TARGET "[lun 0]\n", "conf:5: [lun 0] 0: a number from 1 to 255"},
        {TARGET LUN "access=open\n", "conf:7: [lun 1] access=open: sealed, plain, or read-only"},
        {TARGET LUN "size=1000\n", "conf:7: [lun 1] size=1000: a number with"},
        {TARGET LUN, "conf:5: [lun 1] a sealed LUN, and nobody who may use it"},
        {TARGET LAPTOP LUN "initiators=laptop;desk\n",
         "conf:9: [lun 1] initiators=desk: nobody; a group [initiator desk]"},
        {TARGET LUN "access=plain\ninitiators=laptop\n",
         "conf:8: [lun 1] initiators=keys protect sealed LUNs only"},
        {TARGET LAPTOP LUN "[lun 2]\npath=/disk\n", "conf:10: [lun 2] path=LUN 1 has it already"},
        {TARGET "[user a]\npassword=short\n", "conf:6: [user a] password=of 5 bytes: 12 to 255"},
        {TARGET "[user a]\npassword=wonderland-1\ntarget-password=wonderland-1\n",
         "conf:7: [user a] target-password=the same as the other one"},
        {TARGET "[user a]\ntarget-password=wonderland-1\n",
         "conf:5: [user a] password= is missing"},
        {TARGET LUN "access=plain\nusers=a\n", "conf:8: [lun 1] users=a: nobody; a group [user a]"},
        {TARGET LAPTOP LUN "users=a\n", "conf:9: [lun 1] users=users are of plain LUNs only"},
        {TARGET "[initiator a]\nkey=short\n", "conf:6: [initiator a] key=short: a public key"},
        {TARGET "[initiator a]\n", "conf:5: [initiator a] key= is missing"},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(files); i++) {
        char message[1024] = "";
        struct config config;

        g_assert_false(read_text(&config, files[i].text, -1, message, sizeof message));
        if (!g_str_has_prefix(message, files[i].message))
            g_error("'%s' instead of '%s'", message, files[i].message);
        g_assert_null(strchr(message, '\n'));
        config_free(&config);
    }
}

/* Whatever is cut off or changed in a file that is right: an error or none, in one line. */
static void test_damaged(void)
{
    static const char text[] = TARGET LAPTOP LUN "size=1G\ninitiators=laptop\n";
    const size_t bytes = sizeof text - 1;

    for (size_t i = 0; i < 2 * bytes; i++) {
        g_autofree char *damaged = g_strdup(text);
        char message[1024] = "";
        struct config config;
        gssize left = i < bytes ? (gssize)i : (gssize)bytes;

        if (i >= bytes)
            damaged[i - bytes] ^= (char)(1 << i % 8);
        if (!read_text(&config, damaged, left, message, sizeof message))
            g_assert_null(strchr(message, '\n'));
        config_free(&config);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/config/all", test_all);
    g_test_add_func("/config/wrong", test_wrong);
    g_test_add_func("/config/damaged", test_damaged);
    return g_test_run();
}
