"""Decides which options every module of this collection takes to reach the nodes.

It must not know what a module does with them.

This is a private part of qhb.qluster and may change in any release.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os

from ansible.module_utils.basic import env_fallback, missing_required_lib
from ansible_collections.qhb.qluster.plugins.module_utils import _client

TOKEN_SIZE_MAX = 4096
"""A token file holds one line; a larger file is some other file."""
TIMEOUT_MAX = 3600.0

CONNECTION = {
    "nodes": {"type": "list", "elements": "str", "required": True},
    "token": {"type": "str", "no_log": True, "fallback": (env_fallback, ["QLUSTER_TOKEN"])},
    "token_file": {"type": "path", "no_log": False, "fallback": (env_fallback, ["QLUSTER_TOKEN_FILE"])},
    "ca_file": {"type": "path", "fallback": (env_fallback, ["QLUSTER_CA_FILE"])},
    "validate_certs": {"type": "bool", "default": True},
    "request_timeout": {"type": "float", "default": 5.0},
    "total_timeout": {"type": "float", "default": 30.0},
}


def connect(module):
    """A client for the nodes that the module was given; ends the module where it cannot be made."""
    if _client.requests is None:
        module.fail_json(msg=missing_required_lib("requests"), exception=_client.REQUESTS_IMPORT_ERROR)
    given = module.params
    require_between(module, "request_timeout", given["request_timeout"], 0.1, TIMEOUT_MAX)
    require_between(module, "total_timeout", given["total_timeout"], given["request_timeout"], TIMEOUT_MAX)
    token = _token(module)
    try:
        urls = _client.base_urls(given["nodes"], with_token=bool(token))
    except _client.WrongAddress as error:
        module.fail_json(msg=f"nodes: {error}.")
    return _client.Client(
        urls, token=token, verify=_trust(module),
        request_timeout=given["request_timeout"], total_timeout=given["total_timeout"],
    )


def require_between(module, name, value, least, most):
    """End the module when a number is out of its range."""
    if not least <= value <= most:
        module.fail_json(msg=f"{name} is {value}. Give a number from {least} to {most}.")


def _token(module):
    """The token as given, or the one line of the token file; never to be seen in the output."""
    token = module.params["token"]
    path = module.params["token_file"]
    if not token and path:
        try:
            with open(path, encoding="utf-8") as file:
                token = file.read(TOKEN_SIZE_MAX + 1).strip()
        except (OSError, UnicodeDecodeError) as error:
            module.fail_json(msg=f"token_file: {path} cannot be read on this host: {error}.")
        if not token:
            module.fail_json(msg=f"token_file: {path} is empty. It must hold the token in its one line.")
        module.no_log_values.add(token)
    visible = token and token.isascii() and token.isprintable() and " " not in token
    if token and (not visible or len(token) > TOKEN_SIZE_MAX):
        origin = "token" if module.params["token"] else f"token_file: {path}"
        module.fail_json(msg=f"{origin} holds no token: one line of visible ASCII characters is wanted.")
    return token


def _trust(module):
    """What requests takes as `verify`."""
    if not module.params["validate_certs"]:
        return False
    path = module.params["ca_file"]
    if path is None:
        return True
    if not os.access(path, os.R_OK):
        module.fail_json(msg=f"ca_file: {path} is not there or cannot be read on this host.")
    return path
