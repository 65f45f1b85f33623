"""What of a configuration does not fit this host, as sentences; nothing is changed.

It must not decide what a good value is, nor open a connection.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import grp
import os
import resource
import socket
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from qluster.edge import clock
from qluster.edge.pem import certificates, private_key, public, validity
from qluster.qnetd.config import Config, Tls
from qluster.qnetd.tls import TlsUnusable, context

DESCRIPTORS_APART = 64
"""What the daemon has open besides its clients' connections, and while it closes some."""
RENEW_WITHIN = timedelta(days=30)


def findings(config: Config) -> list[str]:
    """Everything that keeps the arbiter from serving, one sentence each."""
    return [*_secured(config), *_place(config), *_descriptors(config)]


def reminders(config: Config) -> list[str]:
    """What does not keep it from serving, and should be known."""
    if config.tls.mode == "off":
        return []
    now = datetime.fromtimestamp(clock.wall(), UTC)
    found = []
    for key, path in (("tls.certificate-file", config.tls.certificate_file), ("tls.ca-file", config.tls.ca_file)):
        for certificate in certificates(key, path)[0]:
            wrong = list(validity(key, path, certificate, now))
            end = certificate.not_valid_after_utc
            if not wrong and end - now < RENEW_WITHIN:
                wrong = [f"{key}: {path} expires on {end:%Y-%m-%d %H:%M} UTC. Renew it before."]
            found += wrong
    return found


def _secured(config: Config) -> Iterator[str]:
    tls = config.tls
    if tls.mode == "off":
        return
    found = list(_files(tls))
    yield from found
    if not found:
        try:
            # OpenSSL reads on where others have found a certificate: what is cut short behind one is seen here alone.
            context(tls)
        except TlsUnusable as unusable:
            yield f"{unusable}. One of them is cut short or has something behind its last line: bring it anew."


def _files(tls: Tls) -> Iterator[str]:
    own, wrong = certificates("tls.certificate-file", tls.certificate_file)
    yield from wrong
    private, wrong = private_key("tls.key-file", tls.key_file)
    yield from wrong
    if tls.client_certificate_required:
        yield from certificates("tls.ca-file", tls.ca_file)[1]
    if own and private and public(private.public_key()) != public(own[0].public_key()):
        yield (f"tls.key-file: {tls.key_file} does not belong to the certificate {tls.certificate_file}. "
               f"Put the pair there that was made together.")


def _place(config: Config) -> Iterator[str]:
    folder = os.path.dirname(config.socket_file)
    if not os.path.isdir(folder):
        yield (f"socket-file: the directory {folder} does not exist. Make it for the user of the service; "
               f"RuntimeDirectory= of its unit does.")
    if config.memory_dir is not None and not os.access(config.memory_dir, os.W_OK | os.X_OK):
        what = "cannot be written" if os.path.isdir(config.memory_dir) else "is no directory"
        yield f"memory-dir: {config.memory_dir} {what}. Make it for the user of the service; StateDirectory= does."
    if config.socket_group is not None:
        try:
            grp.getgrnam(config.socket_group)
        except KeyError:
            yield f"socket-group: this host has no group {config.socket_group}. Make it, or name another one."
    if config.address != "any":
        family = socket.AF_INET6 if ":" in config.address else socket.AF_INET
        with socket.socket(family) as trial:
            try:
                trial.bind((config.address, 0))
            except OSError as error:
                yield f"address: {config.address} cannot be used here ({error.strerror}). Use an address of this host."


def _descriptors(config: Config) -> Iterator[str]:
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    needed = config.limits.clients + DESCRIPTORS_APART
    if most not in (resource.RLIM_INFINITY, -1) and most < needed:
        yield (f"limits.clients: {config.limits.clients} clients need {needed} file descriptors, and this process may "
               f"have {most}. Raise LimitNOFILE= of the unit, or allow fewer clients.")
