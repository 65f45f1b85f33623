"""TLS as arbiters speak it: their name is ``Qnetd Server`` whatever their address, and nodes show a certificate.

It must not know connections. Certificates are read anew for each, so a renewed one counts with the next.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import ssl

from qluster.config import Device

SERVER_NAME = "Qnetd Server"
"""Whom an arbiter's certificate is for."""


class TlsUnusable(Exception):
    """A file is missing, unreadable or wrong; the message says which and what to do."""


def context(device: Device) -> ssl.SSLContext:
    """How this node proves itself and whom it believes. Raises TlsUnusable."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    # Certificates made by corosync's tools have no key identifiers, which newer Python would demand.
    made.verify_flags &= ~ssl.VERIFY_X509_STRICT
    try:
        made.load_verify_locations(device.ca_file)
    except FileNotFoundError:
        raise TlsUnusable(f"device.ca-file {device.ca_file} does not exist. Put the arbiter's CA there") from None
    except (OSError, ssl.SSLError) as error:
        raise TlsUnusable(f"device.ca-file {device.ca_file} cannot be used: {_words(error)}") from None
    if device.certificate_file is not None:
        pair = f"device.certificate-file {device.certificate_file} and device.key-file {device.key_file}"
        try:
            made.load_cert_chain(device.certificate_file, device.key_file, password=_no_password)
        except FileNotFoundError:
            raise TlsUnusable(f"{pair}: one of them does not exist. Put both there") from None
        except (OSError, ssl.SSLError, ValueError) as error:
            raise TlsUnusable(f"{pair} cannot be used together: {_words(error)}") from None
    return made


def _no_password() -> str:
    raise ValueError("the key is locked with a password; put it there without one")


def fault_of_handshake(error: Exception, device: Device) -> tuple[str, bool]:
    """What is wrong, in a sentence, and whether it will be so again."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return (
            f"the arbiter's certificate is not trusted: {error.verify_message.rstrip('.')}. It must be valid, for the "
            f"name {SERVER_NAME!r}, and issued by the authority in {device.ca_file}", True)
    if isinstance(error, ssl.SSLError):
        return f"no TLS with the arbiter: {_words(error)}", False
    return f"the connection was lost while TLS began: {error or type(error).__name__}", False


def _words(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return (error.reason or str(error)).lower().replace("_", " ")
    return getattr(error, "strerror", None) or str(error)
