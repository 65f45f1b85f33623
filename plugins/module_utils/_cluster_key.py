"""Decides what stands in the file with the cluster's keys, and how it changes in a rotation.

It must not know where the file lies, nor who has read it.

The first line is the key that a daemon sends with; all of them open what comes in. In a rotation the
new key has the largest number, so that the file itself tells how far it has come.

This is a private part of qhb.qluster and may change in any release.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import base64
import secrets

KEY_SIZE = 32
NUMBER_MAX = 65535
STEPS = ("show", "add", "send", "drop")


class KeyFileFault(Exception):
    """The file cannot be used; the text says which line, and what to do. It shows no key."""


def parse(path, content):
    """Number and key (in base64) of each line ``NUMBER:BASE64``, in their order; as the daemon reads them."""
    keys = []
    for number, line in enumerate(content.decode("ascii", "replace").splitlines(), 1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        identifier, colon, text = (part.strip() for part in line.partition(":"))
        try:
            good = colon and identifier.isdigit() and 1 <= int(identifier) <= NUMBER_MAX
            good = good and len(base64.b64decode(text, validate=True)) == KEY_SIZE
        except ValueError:
            good = False
        if not good or int(identifier) in [known for known, _text in keys]:
            wanted = f"NUMBER:BASE64 with {KEY_SIZE} bytes and a number of its own"
            raise KeyFileFault(f"{path}, line {number}, is not {wanted}.")
        keys.append((int(identifier), text))
    if not keys:
        raise KeyFileFault(f"{path} has no key. Put its content back: a cluster that runs has it on its hosts.")
    return keys


def content_of(keys):
    return "".join(f"{number}:{text}\n" for number, text in keys).encode()


def fresh(number):
    return number, base64.b64encode(secrets.token_bytes(KEY_SIZE)).decode()


def newest(keys):
    """Number of the key that a rotation leads to."""
    return max(number for number, _text in keys)


def stepped(path, keys, step):
    """The keys after a step of the rotation; the same where it was taken already."""
    if step == "add" and len(keys) == 1:
        if newest(keys) == NUMBER_MAX:
            raise KeyFileFault(f"{path}: {NUMBER_MAX} is the last number. Take the steps by hand, with a key 1.")
        return [*keys, fresh(newest(keys) + 1)]
    if step == "send":
        return sorted(keys, key=lambda key: key[0] != newest(keys))
    if step == "drop":
        if keys[0][0] != newest(keys):
            raise KeyFileFault(f"{path}: key {newest(keys)} is not yet the one to send with. Take that step first.")
        return keys[:1]
    return keys
