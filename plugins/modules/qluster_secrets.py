#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt)
from __future__ import annotations

DOCUMENTATION = r"""
module: qluster_secrets
short_description: Make and renew the secrets of a cluster on the controller
version_added: 0.1.0
author:
  - The QLUSTER authors (@qluster)
description:
  - Makes, in one directory on the controller, everything that the hosts of a cluster must share or prove.
  - That is an authority, a certificate with key for each host, the cluster key that seals datagrams,
    the tokens of the REST interface, and the passwords of database and pool.
  - What is there and good stays as it is. A certificate is made anew when it is about to expire, when the
    host's address has changed, when its key is missing, or when the authority has changed.
  - An authority that is about to expire gets a successor. The old one stays in C(ca.crt) until it has
    expired, so that hosts go on trusting each other while the new certificates are brought out.
  - Nothing secret is returned or printed. Files have mode 0600, directories 0700.
attributes:
  check_mode:
    support: full
    description: Can run in check mode and say what would be made, without making it.
  diff_mode:
    support: none
    description: Secrets are not shown.
  idempotent:
    support: full
    description: A second run changes nothing until something is about to expire.
options:
  directory:
    description:
      - Directory of the secrets. It is made with mode 0700, and with a C(.gitignore) for everything in it.
    type: path
    required: true
  hosts:
    description: The hosts that get a certificate.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: Name of the host in the inventory; also the name of its files.
        type: str
        required: true
      ip:
        description: Address that the certificate is issued for.
        type: str
        required: true
  cluster:
    description: Name of the cluster; it stands in the names of the certificates.
    type: str
    required: true
  renew_before:
    description: Days before its end at which a certificate is made anew.
    type: int
    default: 60
  validity:
    description: Days that a host's certificate is good for.
    type: int
    default: 825
  authority_validity:
    description: Days that the authority is good for.
    type: int
    default: 3650
requirements:
  - cryptography >= 42
"""

EXAMPLES = r"""
- name: Make the secrets of the cluster
  qhb.qluster.qluster_secrets:
    directory: "{{ inventory_dir }}/.secrets"
    cluster: main
    hosts:
      - {name: db1, ip: 192.0.2.11}
      - {name: db2, ip: 192.0.2.12}
      - {name: db3, ip: 192.0.2.13}
  delegate_to: localhost
  run_once: true
"""

RETURN = r"""
made:
  description: Files that were made because they were not there.
  returned: always
  type: list
  elements: str
  sample: [ca.crt, ca.key, cluster.key, hosts/db1.crt, hosts/db1.key]
renewed:
  description: Why each file that was there has been made anew, by its name.
  returned: always
  type: dict
  sample: {hosts/db1.crt: it expires in 12 days}
protected:
  description: Files and directories whose mode was too open and has been set right.
  returned: always
  type: list
  elements: str
  sample: []
expires:
  description: Days until the first certificate expires.
  returned: always
  type: int
  sample: 824
"""

import datetime
import ipaddress
import os
import re
import secrets
import traceback

from ansible.module_utils.basic import AnsibleModule, missing_required_lib
from ansible_collections.qhb.qluster.plugins.module_utils._cluster_key import (
    KeyFileFault,
    content_of,
    fresh,
    parse,
)
from ansible_collections.qhb.qluster.plugins.module_utils._on_disk import locked, replace_file

try:
    from cryptography import x509
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    CRYPTOGRAPHY_ERROR = None
    PURPOSES = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
except ImportError:
    CRYPTOGRAPHY_ERROR = traceback.format_exc()

WORDS = {
    "read.token": 32,
    "operate.token": 32,
    "database.password": 24,
    "application.password": 24,
    "pool.password": 24,
}
"""Random bytes of each secret word: 192 bits and more, nobody types them."""
CLOCK_SLACK = datetime.timedelta(hours=1)
"""Hosts whose clock is behind still accept a certificate that was just made."""
HOST_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")


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

    @property
    def changed(self):
        return bool(self.made or self.renewed or self.protected)


class Authority:
    """Certificates: the authority's own, and one for each host."""

    def __init__(self, store, cluster, options, now):
        self.store = store
        self.cluster = cluster
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
        name = subject(f"{self.cluster} authority {self.now.date()}")
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

    def provide(self, name, address):
        """See that a host has a good certificate; answer the days that it is good for."""
        names = f"hosts/{name}.crt", f"hosts/{name}.key"
        certificate, key = self.store.read(names[0]), self.store.read(names[1])
        if certificate is None or key is None:
            for there, content in zip(names, (certificate, key)):
                if content is not None:
                    self.store.renewed[there] = "its other half is missing"
            return self._issue(name, address, names, None)
        found = parse_certificates(self.store.path(names[0]), certificate)[0]
        reason = self._fault(found, parse_key(self.store.path(names[1]), key), address)
        if reason is not None:
            return self._issue(name, address, names, reason)
        return (found.not_valid_after_utc - self.now).days

    def _fault(self, certificate, key, address):
        """Why a host's certificate must be made anew, None when it is good."""
        if public_bytes(key.public_key()) != public_bytes(certificate.public_key()):
            return "its key is another one"
        try:
            certificate.verify_directly_issued_by(self.certificate)
        except (InvalidSignature, TypeError, ValueError):
            return "another authority issued it"
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        if ipaddress.ip_address(address) not in names.get_values_for_type(x509.IPAddress):
            return f"it is not for {address}"
        left = certificate.not_valid_after_utc - self.now
        if left <= self.renew_before:
            return f"it expires in {left.days} days"
        return None

    def _issue(self, name, address, names, reason):
        key = ec.generate_private_key(ec.SECP256R1())
        builder = self._builder(subject(name), self.certificate.subject, key, self.validity)
        alternatives = [x509.IPAddress(ipaddress.ip_address(address)), x509.DNSName(name)]
        issuer = self.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        for extension, critical in (
            (x509.SubjectAlternativeName(alternatives), False),
            (x509.BasicConstraints(ca=False, path_length=None), True),
            (usage(certificates=False), True),
            (x509.ExtendedKeyUsage(PURPOSES), False),
            (x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False),
            (x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(issuer), False),
        ):
            builder = builder.add_extension(extension, critical=critical)
        certificate = builder.sign(self.key, hashes.SHA256())
        self.store.write(names[1], private_bytes(key), reason)
        self.store.write(names[0], certificate_bytes(certificate), reason)
        return self.validity.days


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


def check_cluster_key(path, content):
    """Refuse a file that no daemon would take."""
    try:
        parse(path, content)
    except KeyFileFault as fault:
        raise SecretsFault(str(fault)) from None


def provide_words(store):
    """The cluster key, tokens and passwords."""
    content = store.read("cluster.key")
    if content is None:
        store.write("cluster.key", content_of([fresh(1)]))
    else:
        check_cluster_key(store.path("cluster.key"), content)
    for name, size in WORDS.items():
        content = store.read(name)
        if content is None:
            store.write(name, secrets.token_urlsafe(size).encode() + b"\n")
        elif len(content.split()) != 1:
            raise SecretsFault(f"{store.path(name)} must hold one word without blanks, on one line.")


def check_hosts(hosts):
    seen = {}
    for host in hosts:
        name, ip = host["name"], host["ip"]
        if HOST_NAME.fullmatch(name) is None:
            raise SecretsFault(f"The host name {name!r} is no file name: use letters, digits, dots, dashes.")
        try:
            address = ipaddress.ip_address(ip)
        except ValueError:
            raise SecretsFault(f"The ip of {name} is {ip!r}: give an address, such as 192.0.2.11.") from None
        if address in seen:
            raise SecretsFault(f"{seen[address]} and {name} have the same ip {ip}.")
        seen[address] = name


def provide(module):
    """Everything, in the order in which one thing needs another."""
    options = module.params
    check_hosts(options["hosts"])
    store = Store(options["directory"], module.check_mode)
    store.folder("")
    if not os.path.exists(store.path(".gitignore")):
        store.write(".gitignore", b"*\n")
    store.folder("hosts")
    provide_words(store)
    authority = Authority(store, options["cluster"], options, datetime.datetime.now(datetime.timezone.utc))
    left = [authority.provide(host["name"], host["ip"]) for host in options["hosts"]]
    return {
        "changed": store.changed,
        "made": sorted(store.made),
        "renewed": store.renewed,
        "protected": store.protected,
        "expires": min(left, default=options["validity"]),
    }


def provide_alone(module):
    """Two runs at once would overwrite each other's halves: one waits for the other."""
    if module.check_mode:
        return provide(module)
    parent = os.path.dirname(os.path.abspath(module.params["directory"]))
    os.makedirs(parent, exist_ok=True)
    with locked(parent):
        return provide(module)


def main():
    module = AnsibleModule(
        argument_spec={
            "directory": {"type": "path", "required": True},
            "hosts": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": {
                    "name": {"type": "str", "required": True},
                    "ip": {"type": "str", "required": True},
                },
            },
            "cluster": {"type": "str", "required": True},
            "renew_before": {"type": "int", "default": 60},
            "validity": {"type": "int", "default": 825},
            "authority_validity": {"type": "int", "default": 3650},
        },
        supports_check_mode=True,
    )
    if CRYPTOGRAPHY_ERROR is not None:
        module.fail_json(msg=missing_required_lib("cryptography"), exception=CRYPTOGRAPHY_ERROR)
    try:
        module.exit_json(**provide_alone(module))
    except SecretsFault as fault:
        module.fail_json(msg=str(fault))
    except OSError as error:
        module.fail_json(msg=f"The secrets cannot be kept: {error}. Choose another qluster_secrets_dir.")


if __name__ == "__main__":
    main()
