# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt)
"""Decides when certificates are made anew: a directory on the controller, and an authority that issues them there.

It must not know what they are used for, nor reach a host.

This is a private part of qhb.qluster and may change in any release.
"""
from __future__ import annotations

import datetime
import ipaddress
import os
import traceback

from ansible_collections.qhb.qluster.plugins.module_utils._on_disk import replace_file

try:
    from cryptography import x509
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    CRYPTOGRAPHY_ERROR = None
except ImportError:
    CRYPTOGRAPHY_ERROR = traceback.format_exc()

CLOCK_SLACK = datetime.timedelta(hours=1)
"""Hosts whose clock is behind still accept a certificate that was just made."""


class SecretsFault(Exception):
    """Something in the directory is not as it must be; the text says what to do."""


class Store:
    """The directory: reads and writes files, and keeps account of what it did."""

    def __init__(self, directory, check):
        self.directory = directory
        self.check = check
        self.made = []
        self.renewed = {}
        self.protected = []
        self.unwritten = {}

    def path(self, name):
        return os.path.join(self.directory, name)

    def read(self, name):
        """Content of a file, None where there is none."""
        if name in self.unwritten:
            return self.unwritten[name]
        try:
            with open(self.path(name), "rb") as file:
                content = file.read()
        except FileNotFoundError:
            return None
        if not content.strip():
            raise SecretsFault(
                f"{self.path(name)} is empty. Put its content back, or remove the file: "
                "then it is made anew, and the hosts get the new one with the next deploy."
            )
        self.protect(name, 0o600)
        return content

    def write(self, name, content, reason=None):
        """Put a file in place at once; ``reason`` says why one that was there is replaced."""
        if reason is None:
            self.made.append(name)
        else:
            self.renewed[name] = reason
        if self.check:
            self.unwritten[name] = content
            return
        replace_file(self.path(name), content)

    def folder(self, name, mode=0o700):
        path = self.path(name) if name else self.directory
        if os.path.isdir(path):
            self.protect(name, mode)
            return
        self.made.append(name or ".")
        if not self.check:
            os.makedirs(path, mode=mode)

    def protect(self, name, mode):
        path = self.path(name) if name else self.directory
        if os.stat(path).st_mode & 0o777 & ~mode:
            self.protected.append(name or ".")
            if not self.check:
                os.chmod(path, mode)

    def below(self, name):
        """A directory in this one, with an account of its own."""
        return Store(self.path(name), self.check)

    def add(self, name, other):
        """Take over the account of such a directory."""
        def named(file):
            return name if file == "." else f"{name}/{file}"

        self.made += [named(file) for file in other.made]
        self.renewed.update({named(file): reason for file, reason in other.renewed.items()})
        self.protected += [named(file) for file in other.protected]

    @property
    def changed(self):
        return bool(self.made or self.renewed or self.protected)


class Wanted:
    """A certificate that is to be there, with its key: whose it is, and what it must say."""

    def __init__(self, file, holder, alternatives, purposes):
        self.names = f"{file}.crt", f"{file}.key"
        self.holder = holder
        self.alternatives = alternatives
        self.purposes = purposes


def host_certificate(name, address):
    """One for a host that serves and asks: for its name and its address."""
    alternatives = [x509.IPAddress(ipaddress.ip_address(address)), x509.DNSName(name)]
    return Wanted(f"hosts/{name}", name, alternatives,
                  [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])


def plain_certificate(file, holder, serves):
    """One that speaks for its common name alone, as corosync's peers want it."""
    purpose = ExtendedKeyUsageOID.SERVER_AUTH if serves else ExtendedKeyUsageOID.CLIENT_AUTH
    return Wanted(file, holder, [], [purpose])


class Authority:
    """Certificates: the authority's own, and those that it issues."""

    def __init__(self, store, title, options, now):
        self.store = store
        self.title = title
        self.renew_before = datetime.timedelta(days=options["renew_before"])
        self.validity = datetime.timedelta(days=options["validity"])
        self.authority_validity = datetime.timedelta(days=options["authority_validity"])
        self.now = now
        self.key, self.certificate = self._own()

    def _own(self):
        bundle, key = self.store.read("ca.crt"), self.store.read("ca.key")
        if bundle is None and key is None:
            return self._make_own([], None)
        if bundle is None or key is None:
            there, missing = ("ca.crt", "ca.key") if key is None else ("ca.key", "ca.crt")
            raise SecretsFault(
                f"{self.store.directory} has {there} but no {missing}. Put {missing} back, or remove both: "
                "then there is a new authority, and every host gets a new certificate."
            )
        certificates = parse_certificates(self.store.path("ca.crt"), bundle)
        private = parse_key(self.store.path("ca.key"), key)
        if public_bytes(private.public_key()) != public_bytes(certificates[0].public_key()):
            raise SecretsFault(
                f"{self.store.path('ca.key')} does not belong to {self.store.path('ca.crt')}. "
                "Put the matching pair back, or remove both: then there is a new authority."
            )
        left = certificates[0].not_valid_after_utc - self.now
        if left <= self.renew_before:
            living = [old for old in certificates if old.not_valid_after_utc > self.now]
            return self._make_own(living, f"it expires in {left.days} days")
        return private, certificates[0]

    def _make_own(self, older, reason):
        key = ec.generate_private_key(ec.SECP256R1())
        name = subject(f"{self.title} {self.now.date()}")
        identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
        builder = self._builder(name, name, key, self.authority_validity)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        builder = builder.add_extension(usage(certificates=True), critical=True)
        builder = builder.add_extension(identifier, critical=False)
        certificate = builder.sign(key, hashes.SHA256())
        bundle = b"".join(certificate_bytes(item) for item in [certificate, *older])
        self.store.write("ca.key", private_bytes(key), reason)
        self.store.write("ca.crt", bundle, reason)
        return key, certificate

    def _builder(self, holder, issuer, key, validity):
        return (
            x509.CertificateBuilder()
            .subject_name(holder)
            .issuer_name(issuer)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(self.now - CLOCK_SLACK)
            .not_valid_after(self.now + validity)
        )

    def provide(self, wanted):
        """See that there is a good certificate; answer the days that it is good for."""
        names = wanted.names
        certificate, key = self.store.read(names[0]), self.store.read(names[1])
        if certificate is None or key is None:
            for there, content in zip(names, (certificate, key)):
                if content is not None:
                    self.store.renewed[there] = "its other half is missing"
            return self._issue(wanted, None)
        found = parse_certificates(self.store.path(names[0]), certificate)[0]
        reason = self._fault(found, parse_key(self.store.path(names[1]), key), wanted)
        if reason is not None:
            return self._issue(wanted, reason)
        return (found.not_valid_after_utc - self.now).days

    def _fault(self, certificate, key, wanted):
        """Why a certificate must be made anew, None when it is good."""
        if public_bytes(key.public_key()) != public_bytes(certificate.public_key()):
            return "its key is another one"
        try:
            certificate.verify_directly_issued_by(self.certificate)
        except (InvalidSignature, TypeError, ValueError):
            return "another authority issued it"
        addresses, names = alternatives_of(certificate)
        for one in wanted.alternatives:
            if isinstance(one, x509.IPAddress) and one.value not in addresses:
                return f"it is not for {one.value}"
        if not wanted.alternatives and (addresses or names or common_name(certificate) != wanted.holder[:64]):
            return f"it is not for {wanted.holder}"
        left = certificate.not_valid_after_utc - self.now
        if left <= self.renew_before:
            return f"it expires in {left.days} days"
        return None

    def _issue(self, wanted, reason):
        key = ec.generate_private_key(ec.SECP256R1())
        builder = self._builder(subject(wanted.holder), self.certificate.subject, key, self.validity)
        issuer = self.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        if wanted.alternatives:
            builder = builder.add_extension(x509.SubjectAlternativeName(wanted.alternatives), critical=False)
        for extension, critical in (
            (x509.BasicConstraints(ca=False, path_length=None), True),
            (usage(certificates=False), True),
            (x509.ExtendedKeyUsage(wanted.purposes), False),
            (x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False),
            (x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(issuer), False),
        ):
            builder = builder.add_extension(extension, critical=critical)
        certificate = builder.sign(self.key, hashes.SHA256())
        self.store.write(wanted.names[1], private_bytes(key), reason)
        self.store.write(wanted.names[0], certificate_bytes(certificate), reason)
        return self.validity.days


def alternatives_of(certificate):
    """Addresses and DNS names that a certificate is for beside its common name."""
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return [], []
    return found.get_values_for_type(x509.IPAddress), found.get_values_for_type(x509.DNSName)


def common_name(certificate):
    """The common name, empty where there is none."""
    found = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(found[0].value) if found else ""


def subject(common_name):
    """Who a certificate is for; X.509 allows 64 characters."""
    parts = {NameOID.ORGANIZATION_NAME: "QLUSTER", NameOID.COMMON_NAME: common_name[:64]}
    return x509.Name([x509.NameAttribute(part, text) for part, text in parts.items()])


def usage(certificates):
    """What a key may be used for: an authority signs certificates, a host signs connections."""
    return x509.KeyUsage(
        digital_signature=not certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=certificates,
        crl_sign=certificates,
        encipher_only=False,
        decipher_only=False,
    )


def certificate_bytes(certificate):
    return certificate.public_bytes(serialization.Encoding.PEM)


def private_bytes(key):
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def public_bytes(key):
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def parse_certificates(path, content):
    try:
        return x509.load_pem_x509_certificates(content)
    except ValueError as error:
        raise SecretsFault(
            f"{path} is no certificate ({error}). Put the right file back, or remove it."
        ) from None


def parse_key(path, content):
    try:
        return serialization.load_pem_private_key(content, password=None)
    except (TypeError, ValueError) as error:
        raise SecretsFault(
            f"{path} is no private key ({error}). Put the right file back, or remove it."
        ) from None
