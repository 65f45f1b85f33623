"""Whether certificate, private key and authority of the REST interface fit together and this node.

It must not open a connection.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from ipaddress import ip_address

from cryptography import x509

from qluster.config import Config

from .. import clock
from ..pem import certificates, issued, private_key, public, validity


def findings(config: Config, starting: bool) -> Iterator[str]:
    """What does not fit. An expired certificate keeps no node from starting: the cluster itself does
    not need it, and clients say what is wrong."""
    own, wrong = certificates("api.certificate-file", config.api.certificate_file)
    yield from wrong
    authorities, wrong = certificates("api.ca-file", config.api.ca_file)
    yield from wrong
    private, wrong = private_key("api.key-file", config.api.key_file)
    yield from wrong
    now = datetime.fromtimestamp(clock.wall(), UTC)
    for key, path, found in (("api.certificate-file", config.api.certificate_file, own[:1]),
                             ("api.ca-file", config.api.ca_file, authorities)):
        for certificate in found if not starting else []:
            yield from validity(key, path, certificate, now)
    if own:
        yield from _names(config, own[0])
        if private and public(private.public_key()) != public(own[0].public_key()):
            yield (f"api.key-file: {config.api.key_file} does not belong to the certificate "
                   f"{config.api.certificate_file}. Put the pair there that was made together.")
        if authorities and not issued(own, authorities):
            yield (f"api.certificate-file: {config.api.certificate_file} was not issued by the authority in "
                   f"{config.api.ca_file}, and no other node would trust it. Issue it by that authority.")


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
