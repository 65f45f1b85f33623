"""Takes over the certificates that an arbiter of others has given: checks them, and brings them into our form.

It must not make or renew anything: who gave them does.

This is a private part of qhb.qluster and may change in any release.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import warnings

from ansible_collections.qhb.qluster.plugins.module_utils import _certificates as own
from ansible_collections.qhb.qluster.plugins.module_utils._certificates import SecretsFault

try:
    from cryptography import x509
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.serialization import pkcs12
except ImportError:
    pass  # _certificates says so, and the module before it comes here


def take_over(store, cluster, given, now):
    """Check what was given and put it into the directory; answer the days that it is good for."""
    authorities = certificates_of(given["ca_file"])
    certificate, key = holder(given)
    source = given["pkcs12_file"] or given["certificate_file"]
    check(source, certificate, key, cluster, authorities, given["ca_file"], now)
    bundle = b"".join(own.certificate_bytes(item) for item in authorities)
    for name, content in (
        ("ca.crt", bundle),
        (f"clients/{cluster}.crt", own.certificate_bytes(certificate)),
        (f"clients/{cluster}.key", own.private_bytes(key)),
    ):
        there = store.read(name)
        if there is None or (name.endswith(".key") and not same_key(there, key)) \
                or (not name.endswith(".key") and there != content):
            store.write(name, content, None if there is None else f"{source} has another one")
    return min((item.not_valid_after_utc - now).days for item in [certificate, *authorities])


def check(source, certificate, key, cluster, authorities, ca_file, now):
    """Refuse what an arbiter would refuse, with what is to be done."""
    if own.public_bytes(key.public_key()) != own.public_bytes(certificate.public_key()):
        raise SecretsFault(f"The key does not belong to the certificate in {source}. "
                           "Name the pair that was made together.")
    names = own.alternatives_of(certificate)[1][:1] or [own.common_name(certificate)]
    if names[0] != cluster:
        raise SecretsFault(f"The certificate in {source} is for {names[0]!r}, and this cluster is called {cluster!r}. "
                           "Have one signed for this name, or give the cluster that name.")
    issuers = [authority for authority in authorities if issued(certificate, authority)]
    if not issuers:
        raise SecretsFault(f"The certificate in {source} was not issued by an authority in {ca_file}. "
                           "Name the authority of the arbiter that signed it.")
    for path, item in [(source, certificate), *((ca_file, authority) for authority in issuers)]:
        if item.not_valid_after_utc <= now:
            raise SecretsFault(f"The certificate in {path} has expired on {item.not_valid_after_utc:%Y-%m-%d}. "
                               "Have a new one made by who runs the arbiter.")
        if item.not_valid_before_utc > now:
            raise SecretsFault(f"The certificate in {path} is good from {item.not_valid_before_utc:%Y-%m-%d %H:%M} UTC "
                               "on only. Is this clock right?")


def issued(certificate, authority):
    try:
        certificate.verify_directly_issued_by(authority)
    except (InvalidSignature, TypeError, ValueError):
        return False
    return True


def same_key(content, key):
    """Whether a file of the directory holds this key: written twice, it may differ in bytes."""
    try:
        there = own.parse_key("", content)
    except SecretsFault:
        return False
    return own.private_bytes(there) == own.private_bytes(key)


def holder(given):
    """Certificate and key of the cluster."""
    if given["pkcs12_file"] is None:
        return certificates_of(given["certificate_file"])[0], own.parse_key(given["key_file"], read(given["key_file"]))
    path = given["pkcs12_file"]
    phrase = read(given["passphrase_file"]).strip() if given["passphrase_file"] else b""
    key, certificate = unpacked(path, phrase)
    if key is None or certificate is None:
        raise SecretsFault(f"{path} has no {'key' if key is None else 'certificate'}. Have it exported with both.")
    return certificate, key


def unpacked(path, phrase):
    content = read(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # NSS writes BER where others write DER; it is read all the same
            return pkcs12.load_key_and_certificates(content, phrase)[:2]
    except (TypeError, ValueError) as error:  # TypeError: a passphrase that is no UTF-8
        raise SecretsFault(f"{path} cannot be opened ({error}). Is it a PKCS #12 file, and its passphrase the one in "
                           "passphrase_file?") from None


def certificates_of(path):
    """The certificates of a PEM or DER file."""
    content = read(path)
    if b"-----BEGIN" in content:
        return own.parse_certificates(path, content)
    try:
        return [x509.load_der_x509_certificate(content)]
    except ValueError as error:
        raise SecretsFault(f"{path} is no certificate ({error}). Put the right file there.") from None


def read(path):
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise SecretsFault(f"{path} cannot be read ({error.strerror}). Name a file that is there.") from None
