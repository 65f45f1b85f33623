"""Whether this host has what the section ``device`` names: certificates, and the commands of the heuristics.

It must not open a connection, nor run a command. None of it keeps a node from starting: it goes on without its arbiter,
and its status says why.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from cryptography import x509
from cryptography.x509.oid import NameOID

from qluster.config import Config, Device
from qluster.config.device import words_of_command

from ..device.tls import TlsUnusable, context


def findings(config: Config, starting: bool) -> Iterator[str]:
    """What does not fit."""
    device = config.device
    if device is None or starting:
        return
    if device.tls != "off":
        yield from _certificates(device, config.cluster.name)
    checks = device.heuristics
    if checks is not None and checks.mode != "off":
        for name, line in checks.exec.items():
            yield from _command(name, words_of_command(line)[0])


def _certificates(device: Device, cluster: str) -> Iterator[str]:
    try:
        context(device)
    except TlsUnusable as fault:
        yield f"{fault}."
        return
    if device.certificate_file is not None:
        names = _names(x509.load_pem_x509_certificates(Path(device.certificate_file).read_bytes())[0])
        if cluster not in names:
            listed = ", ".join(names) or "nobody"
            yield (f"device.certificate-file: {device.certificate_file} is issued for {listed}, and arbiters want the "
                   f"cluster's name {cluster} there. Issue it for that.")


def _names(certificate: x509.Certificate) -> list[str]:
    """Whom it speaks for: its DNS names if it has any, else its common name."""
    try:
        alternative = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        names = alternative.get_values_for_type(x509.DNSName)
    except x509.ExtensionNotFound:
        names = []
    return names or [str(name.value) for name in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]


def _command(name: str, program: str) -> Iterator[str]:
    key = f"device.heuristics.exec.{name}"
    if not os.path.isfile(program):
        yield f"{key}: {program} does not exist: the check would always fail. Install it, or remove the command."
    elif not os.access(program, os.X_OK):
        yield f"{key}: {program} cannot be executed: the check would always fail. Let the user of the service run it."
