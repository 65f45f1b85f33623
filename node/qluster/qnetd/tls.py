"""TLS of one connection, between bytes of the network and bytes of the protocol; and the context for all of them.

It must not know sockets: bytes go in, bytes come out. TLS begins in the middle of a stream, so what is read ahead of
the handshake is simply given to it first.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import ssl
from collections.abc import Iterator
from typing import Any

from qluster.qnetd.config import Tls

PIECE = 64 * 1024
"""Bytes that are handed on at a time; what a decision about them costs stays small."""


class TlsUnusable(Exception):
    """No context can be made of these files; the text says which and why."""


class TlsFailed(Exception):
    """The peer does not speak TLS as it must; the text says why, without anything secret."""


def context(tls: Tls) -> ssl.SSLContext:
    """How this arbiter speaks TLS."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    made.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION | ssl.OP_NO_TICKET | ssl.OP_CIPHER_SERVER_PREFERENCE
    # A connection lasts for weeks: nobody comes back with a ticket.
    made.num_tickets = 0
    # corosync-qdevice-net-certutil makes certificates without the extensions that this demands.
    made.verify_flags &= ~ssl.VERIFY_X509_STRICT
    try:
        made.load_cert_chain(tls.certificate_file, tls.key_file, password=_no_password)
        if tls.client_certificate_required:
            made.load_verify_locations(tls.ca_file)
            made.verify_mode = ssl.CERT_REQUIRED
    except (OSError, ValueError) as fault:
        files = f"{tls.certificate_file}, {tls.key_file}, {tls.ca_file}"
        raise TlsUnusable(f"tls: no use can be made of {files} together: {fault}") from fault
    return made


def _no_password() -> str:
    raise ValueError("the key is locked with a password")


class Pump:
    """The TLS of one connection."""

    def __init__(self, made: ssl.SSLContext) -> None:
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._object = made.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self.established = False
        self.over = False
        """The peer has said that nothing more comes."""

    def feed(self, data: bytes) -> None:
        """These bytes came from the network."""
        self._incoming.write(data)

    def handshake(self) -> bool:
        """Go on with the beginning; whether it is over. Raises TlsFailed."""
        if self.established:
            return True
        try:
            self._object.do_handshake()
        except ssl.SSLWantReadError:
            return False
        except ssl.SSLError as fault:
            raise TlsFailed(_why(fault)) from fault
        self.established = True
        return True

    def pieces(self) -> Iterator[bytes]:
        """What the peer said, as far as it is there. Raises TlsFailed."""
        while not self.over:
            try:
                data = self._object.read(PIECE)
            except ssl.SSLWantReadError:
                return
            except ssl.SSLZeroReturnError:
                data = b""
            except ssl.SSLError as fault:
                raise TlsFailed(_why(fault)) from fault
            if not data:
                self.over = True
                return
            yield data

    def write(self, data: bytes) -> None:
        """Say this to the peer; ``taken`` has it for the network. Raises TlsFailed."""
        try:
            self._object.write(data)
        except ssl.SSLError as fault:
            raise TlsFailed(_why(fault)) from fault

    def end(self) -> None:
        """Say that nothing more comes."""
        if self.established:
            try:
                self._object.unwrap()
            except ssl.SSLError:
                # The peer's own word is not waited for.
                return

    def taken(self) -> bytes:
        """What is to go to the network now."""
        return self._outgoing.read()

    @property
    def peer(self) -> str | None:
        """Whom the peer's certificate speaks for: its first DNS name if it has one, else its CN."""
        certificate: dict[str, Any] = self._object.getpeercert() or {}
        for kind, name in certificate.get("subjectAltName", ()):
            if kind == "DNS":
                return str(name)
        for part in certificate.get("subject", ()):
            for kind, name in part:
                if kind == "commonName":
                    return str(name)
        return None

    @property
    def version(self) -> str:
        """For the log: ``TLSv1.3``."""
        return self._object.version() or ""


def _why(fault: ssl.SSLError) -> str:
    if isinstance(fault, ssl.SSLCertVerificationError):
        return f"its certificate is refused: {fault.verify_message}"
    return (fault.reason or fault.strerror or "protocol error").lower().replace("_", " ")
