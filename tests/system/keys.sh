#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# encsan keygen and pubkey: 0600, never overwritten, 44 characters; bad key files are refused by name.
. "$(dirname "$0")/common.sh"

public=$("$ENCSAN" keygen "$T/new")
[ "$(stat -c %a "$T/new")" = 600 ] || fail "its mode is $(stat -c %a "$T/new")"
[ "${#public}" = 44 ] || fail "not 44 characters: $public"
echo "$public" | base64 -d | wc -c | grep -qx 32 || fail "not 32 bytes in base64"
[ "$("$ENCSAN" pubkey "$T/new")" = "$public" ] || fail "pubkey says something else"
before=$(sum "$T/new")
refused 1 "$T/new" "$ENCSAN" keygen "$T/new"
[ "$(sum "$T/new")" = "$before" ] || fail "the key was overwritten"
refused 1 "$T/none" "$ENCSAN" pubkey "$T/none"
refused 1 "$T/no/folder" "$ENCSAN" keygen "$T/no/folder"
echo "no key" >"$T/bad"
chmod 600 "$T/bad"
refused 1 "$T/bad" "$ENCSAN" pubkey "$T/bad"
cp "$T/new" "$T/open"
chmod 644 "$T/open"
refused 1 "$T/open" "$ENCSAN" pubkey "$T/open"
say "the same key as openssl computes it"
private=$(base64 -d <"$T/new" | od -An -tx1 | tr -d ' \n')
printf '302e020100300506032b656e04220420%s' "$private" | sed 's/../\\x&/g' >"$T/hex"
# shellcheck disable=SC2059
env printf "$(cat "$T/hex")" | openssl pkey -inform DER -pubout -outform DER | tail -c 32 | base64 |
    grep -qxF "$public" || fail "openssl computes another public key"
