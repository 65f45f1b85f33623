"""Whether certificate, private key and authority of the REST interface fit together and this node.

It must not open a connection.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from ipaddress import ip_address

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from qluster.config import Config

from .. import clock
from .secrets import read_private

_CHAIN_MAX = 8
"""Certificates between a node's own and the authority; longer chains are loops or mistakes."""


def findings(config: Config, starting: bool) -> Iterator[str]:
    """What does not fit. An expired certificate keeps no node from starting: the cluster itself does
    not need it, and clients say what is wrong."""
    own, wrong = _certificates("api.certificate-file", config.api.certificate_file)
    yield from wrong
    authorities, wrong = _certificates("api.ca-file", config.api.ca_file)
    yield from wrong
    private, wrong = _private_key(config.api.key_file)
    yield from wrong
    now = datetime.fromtimestamp(clock.wall(), UTC)
    for key, path, found in (("api.certificate-file", config.api.certificate_file, own[:1]),
                             ("api.ca-file", config.api.ca_file, authorities)):
        for certificate in found if not starting else []:
            yield from _validity(key, path, certificate, now)
    if own:
        yield from _names(config, own[0])
        if private and _public(private.public_key()) != _public(own[0].public_key()):
            yield (f"api.key-file: {config.api.key_file} does not belong to the certificate "
                   f"{config.api.certificate_file}. Put the pair there that was made together.")
        if authorities and not _issued(own, authorities):
            yield (f"api.certificate-file: {config.api.certificate_file} was not issued by the authority in "
                   f"{config.api.ca_file}, and no other node would trust it. Issue it by that authority.")


def _certificates(key: str, path: str) -> tuple[list[x509.Certificate], list[str]]:
    try:
        with open(path, "rb") as file:
            return x509.load_pem_x509_certificates(file.read()), []
    except FileNotFoundError:
        return [], [f"{key}: {path} does not exist. Put it there; the playbook deploy.yml does."]
    except OSError as error:
        return [], [f"{key}: {path} cannot be read ({error.strerror}). Let the user of the service read it."]
    except ValueError:
        return [], [f"{key}: {path} is no certificate in PEM form. Put the right file there."]


def _private_key(path: str) -> tuple[PrivateKeyTypes | None, list[str]]:
    content, wrong = read_private("api.key-file", path)
    if content is None:
        return None, wrong
    try:
        return load_pem_private_key(content, None), wrong
    except TypeError:
        return None, [*wrong, f"api.key-file: {path} is locked with a password. Put it there without one."]
    except (ValueError, UnsupportedAlgorithm):
        return None, [*wrong, f"api.key-file: {path} is no private key in PEM form. Put the right file there."]


def _validity(key: str, path: str, certificate: x509.Certificate, now: datetime) -> Iterator[str]:
    if now > certificate.not_valid_after_utc:
        yield f"{key}: {path} expired on {certificate.not_valid_after_utc:%Y-%m-%d %H:%M} UTC. Renew it."
    if now < certificate.not_valid_before_utc:
        yield (f"{key}: {path} is valid only from {certificate.not_valid_before_utc:%Y-%m-%d %H:%M} UTC on. "
               f"Check the clock of this host, or renew it.")


def _names(config: Config, certificate: x509.Certificate) -> Iterator[str]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        addresses = names.get_values_for_type(x509.IPAddress)
    except x509.ExtensionNotFound:
        addresses = []
    if ip_address(config.ip) not in addresses:
        listed = ", ".join(str(address) for address in addresses) or "no address"
        yield (f"api.certificate-file: {config.api.certificate_file} is issued for {listed}, not for ip {config.ip}. "
               f"Issue it for this node.")


def _public(key: object) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)  # type: ignore[attr-defined, no-any-return]


def _issued(own: list[x509.Certificate], authorities: list[x509.Certificate]) -> bool:
    """Whether a chain leads from the node's certificate to an authority."""
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
