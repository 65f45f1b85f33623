"""Whether the files with secrets are there, readable, private and hold what they should.

It must never put a secret into a sentence.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import Iterator

from qluster.config import Config
from qluster.transport.seal import KeyFault, parse_keys

from ..pem import read_private

TOKEN_LENGTH_MIN = 16
"""Shorter tokens can be guessed over the network."""


def findings(config: Config) -> Iterator[str]:
    """What is wrong with them."""
    yield from _cluster_key(config.cluster.key_file)
    yield from _tokens(config)
    passwords = []
    if config.database:
        passwords += [("database.password-file", config.database.password_file),
                      ("database.application-password-file", config.database.application_password_file)]
    if config.pool:
        passwords.append(("pool.admin-password-file", config.pool.admin_password_file))
    for key, path in passwords:
        yield from _one_line(key, path)[1]


def _cluster_key(path: str) -> Iterator[str]:
    content, wrong = read_private("cluster.key-file", path)
    yield from wrong
    if content is not None:
        try:
            parse_keys(content.decode("ascii"))
        except UnicodeDecodeError:
            yield f"cluster.key-file: {path} is no text. Write one line ID:BASE64 for each key."
        except KeyFault as fault:
            yield f"cluster.key-file: {path}: {fault}"


def _tokens(config: Config) -> Iterator[str]:
    found = []
    files = [("api.read-token-file", config.api.read_token_file),
             ("api.operate-token-file", config.api.operate_token_file)]
    if config.api.deploy_token_file is not None:
        files.append(("api.deploy-token-file", config.api.deploy_token_file))
    for key, path in files:
        token, wrong = _one_line(key, path)
        yield from wrong
        if token is None:
            continue
        found.append(token)
        if len(token) < TOKEN_LENGTH_MIN or not token.isascii() or any(letter.isspace() for letter in token):
            yield (f"{key}: {path} must hold one word of at least {TOKEN_LENGTH_MIN} ASCII letters. "
                   f"Make it anew; the playbook deploy.yml does.")
    if len(found) >= 2 and found[0] == found[1]:
        yield ("api.operate-token-file: holds the same token as api.read-token-file, so every reader could operate. "
               "Make one of them anew.")


def _one_line(key: str, path: str) -> tuple[str | None, list[str]]:
    content, wrong = read_private(key, path)
    if content is None:
        return None, wrong
    try:
        lines = content.decode("utf-8").strip().splitlines()
    except UnicodeDecodeError:
        return None, [*wrong, f"{key}: {path} is no UTF-8 text. Write one line of text into it."]
    if len(lines) != 1:
        return None, [*wrong, f"{key}: {path} has {len(lines)} lines. Write exactly one."]
    return lines[0].strip(), wrong
