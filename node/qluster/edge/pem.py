"""Certificates and private keys in PEM files, and what is wrong with them, as sentences.

It must not know what they are for, nor put a secret into a sentence; ``key`` is the setting that names the file.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from datetime import datetime

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

SECRET_SIZE_MAX = 64 * 1024
"""No key, token or password is larger; it is another file given by mistake."""
_CHAIN_MAX = 8
"""Certificates between a host's own and the authority; longer chains are loops or mistakes."""


def read_private(key: str, path: str) -> tuple[bytes | None, list[str]]:
    """The content of a file that only its owner and group may read, and what is wrong with it."""
    try:
        with open(path, "rb") as file:
            status = os.fstat(file.fileno())
            content = file.read(SECRET_SIZE_MAX + 1)
    except FileNotFoundError:
        return None, [f"{key}: {path} does not exist. Put it there; the playbook deploy.yml does."]
    except OSError as error:
        return None, [f"{key}: {path} cannot be read ({error.strerror}). Let the user of the service read it."]
    wrong = []
    if stat.S_IMODE(status.st_mode) & 0o007:
        wrong.append(f"{key}: {path} is open to every user of this host (mode {stat.S_IMODE(status.st_mode):04o}). "
                     f"Close it: chmod o-rwx {path}")
    if len(content) > SECRET_SIZE_MAX:
        return None, [*wrong, f"{key}: {path} has more than {SECRET_SIZE_MAX} bytes. Is it the right file?"]
    if not content.strip():
        return None, [*wrong, f"{key}: {path} is empty. Make it anew; the playbook deploy.yml does."]
    return content, wrong


def certificates(key: str, path: str) -> tuple[list[x509.Certificate], list[str]]:
    """The certificates in a file, a host's own first, and what is wrong with it."""
    try:
        with open(path, "rb") as file:
            return x509.load_pem_x509_certificates(file.read()), []
    except FileNotFoundError:
        return [], [f"{key}: {path} does not exist. Put it there; the playbook deploy.yml does."]
    except OSError as error:
        return [], [f"{key}: {path} cannot be read ({error.strerror}). Let the user of the service read it."]
    except ValueError:
        return [], [f"{key}: {path} is no certificate in PEM form. Put the right file there."]


def private_key(key: str, path: str) -> tuple[PrivateKeyTypes | None, list[str]]:
    """The key in a file, and what is wrong with it."""
    content, wrong = read_private(key, path)
    if content is None:
        return None, wrong
    try:
        return load_pem_private_key(content, None), wrong
    except TypeError:
        return None, [*wrong, f"{key}: {path} is locked with a password. Put it there without one."]
    except (ValueError, UnsupportedAlgorithm):
        return None, [*wrong, f"{key}: {path} is no private key in PEM form. Put the right file there."]


def validity(key: str, path: str, certificate: x509.Certificate, now: datetime) -> Iterator[str]:
    """Whether it is out of its time."""
    if now > certificate.not_valid_after_utc:
        yield f"{key}: {path} expired on {certificate.not_valid_after_utc:%Y-%m-%d %H:%M} UTC. Renew it."
    if now < certificate.not_valid_before_utc:
        yield (f"{key}: {path} is valid only from {certificate.not_valid_before_utc:%Y-%m-%d %H:%M} UTC on. "
               f"Check the clock of this host, or renew it.")


def public(key: object) -> bytes:
    """The public half, to compare."""
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)  # type: ignore[attr-defined, no-any-return]


def issued(own: Sequence[x509.Certificate], authorities: Sequence[x509.Certificate]) -> bool:
    """Whether a chain leads from a host's certificate to an authority."""
    certificate, between = own[0], own[1:]
    for _ in range(_CHAIN_MAX):
        if any(_issued_by(certificate, authority) for authority in authorities):
            return True
        upper = next((other for other in between if _issued_by(certificate, other)), None)
        if upper is None:
            return False
        certificate = upper
    return False


def _issued_by(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True
