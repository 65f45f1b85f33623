"""The certificates between an arbiter and its clusters: what is made, when anew, and what is taken over."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import datetime
import shutil
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.qhb.qluster.plugins.module_utils._certificates import SecretsFault, Store
from ansible_collections.qhb.qluster.plugins.module_utils._foreign_certificates import take_over
from ansible_collections.qhb.qluster.plugins.modules.qluster_arbiter_secrets import perform
from cryptography import x509
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    load_pem_private_key,
    pkcs12,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

EVERYTHING = {".gitignore", "ca.crt", "ca.key", "server.crt", "server.key", "clients/main.crt", "clients/main.key"}


def make(directory: Path, *, check_mode: bool = False, **options: Any) -> dict[str, Any]:
    given = {"clusters": ["main"], "imported": None, "renew_before": 60, "validity": 825, "authority_validity": 3650}
    result: dict[str, Any] = perform({"directory": str(directory), **given, **options}, check_mode)
    return result


def take(directory: Path, ca: Path, cluster: str = "main", **files: Path) -> dict[str, Any]:
    names = ("pkcs12_file", "passphrase_file", "certificate_file", "key_file")
    imported = {"ca_file": str(ca), **{name: str(files[name]) if name in files else None for name in names}}
    return make(directory, clusters=[cluster], imported=imported)


def certificate(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(path.read_bytes())


def contents(directory: Path) -> dict[str, bytes]:
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def test_first_run_makes_everything_and_second_nothing(tmp_path: Path) -> None:
    first = make(tmp_path / "a")
    assert first["changed"] and set(contents(tmp_path / "a")) == EVERYTHING and first["expires"] == 825
    before = contents(tmp_path / "a")
    assert not make(tmp_path / "a")["changed"] and contents(tmp_path / "a") == before
    modes = {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "a").rglob("*")}
    assert modes == {0o600, 0o700}


def test_certificates_say_what_corosync_looks_for(tmp_path: Path) -> None:
    make(tmp_path, clusters=["main", "billing"])
    purposes = {"server": ExtendedKeyUsageOID.SERVER_AUTH, "clients/main": ExtendedKeyUsageOID.CLIENT_AUTH,
                "clients/billing": ExtendedKeyUsageOID.CLIENT_AUTH}
    names = {"server": "Qnetd Server", "clients/main": "main", "clients/billing": "billing"}
    for file, purpose in purposes.items():
        made = certificate(tmp_path / f"{file}.crt")
        assert [item.value for item in made.subject.get_attributes_for_oid(NameOID.COMMON_NAME)] == [names[file]]
        assert list(made.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) == [purpose]
        with pytest.raises(x509.ExtensionNotFound):
            made.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        made.verify_directly_issued_by(certificate(tmp_path / "ca.crt"))


def test_check_mode_says_it_and_writes_nothing(tmp_path: Path) -> None:
    said = make(tmp_path / "a", check_mode=True)
    assert set(said["made"]) == EVERYTHING | {".", "clients"} and not (tmp_path / "a").exists()


def test_what_is_about_to_expire_is_renewed_in_time(tmp_path: Path) -> None:
    make(tmp_path, validity=61)
    assert not make(tmp_path)["changed"]
    said = make(tmp_path, renew_before=61)
    assert set(said["renewed"]) == EVERYTHING - {".gitignore", "ca.crt", "ca.key"} and said["expires"] == 825
    assert not make(tmp_path)["changed"]


def test_successor_of_an_authority_leaves_the_old_one_trusted(tmp_path: Path) -> None:
    make(tmp_path, authority_validity=100)
    old = certificate(tmp_path / "ca.crt")
    said = make(tmp_path, renew_before=100)
    bundle = x509.load_pem_x509_certificates((tmp_path / "ca.crt").read_bytes())
    assert "ca.crt" in said["renewed"] and bundle[1] == old and bundle[0] != old
    certificate(tmp_path / "server.crt").verify_directly_issued_by(bundle[0])


def test_certificate_for_somebody_else_is_made_anew(tmp_path: Path) -> None:
    make(tmp_path, clusters=["main", "other"])
    for end in ("crt", "key"):
        (tmp_path / f"clients/other.{end}").replace(tmp_path / f"clients/main.{end}")
    assert make(tmp_path)["renewed"] == {f"clients/main.{end}": "it is not for main" for end in ("crt", "key")}


@pytest.mark.parametrize(("options", "words"), [
    ({"clusters": []}, "clusters is empty"),
    ({"clusters": ["../etc"]}, "'../etc' cannot stand in a certificate"),
    ({"clusters": ["x" * 65]}, "at most 64"),
    ({"clusters": ["main", "main"]}, "names one twice"),
    ({"clusters": ["a", "b"], "imported": {"ca_file": "x"}}, "for one cluster"),
])
def test_names_that_cannot_be_are_refused(tmp_path: Path, options: dict[str, Any], words: str) -> None:
    with pytest.raises(SecretsFault, match=words):
        make(tmp_path / "a", **options)
    assert not (tmp_path / "a").exists()


@pytest.fixture
def given(tmp_path: Path) -> Path:
    """What somebody else's arbiter gives: here one of ours, as PEM, DER and PKCS #12."""
    made = tmp_path / "given"
    make(made)
    (made / "ca.der").write_bytes(certificate(made / "ca.crt").public_bytes(Encoding.DER))
    key = load_pem_private_key((made / "clients/main.key").read_bytes(), None)
    packed = pkcs12.serialize_key_and_certificates(
        b"Cluster", key, certificate(made / "clients/main.crt"), None, BestAvailableEncryption(b"word"))  # type: ignore[arg-type]
    (made / "node.p12").write_bytes(packed)
    (made / "word").write_text("word\n")
    return made


def test_given_certificates_are_taken_over_once(tmp_path: Path, given: Path) -> None:
    pem = {"certificate_file": given / "clients/main.crt", "key_file": given / "clients/main.key"}
    packed = {"pkcs12_file": given / "node.p12", "passphrase_file": given / "word"}
    for number, files in enumerate((pem, packed)):
        target = tmp_path / str(number)
        first = take(target, given / "ca.der", **files)
        assert set(contents(target)) == {".gitignore", "ca.crt", "clients/main.crt", "clients/main.key"}
        assert first["expires"] == 824 and not take(target, given / "ca.der", **files)["changed"]
        assert certificate(target / "clients/main.crt") == certificate(given / "clients/main.crt")
    make(given, renew_before=825)
    assert set(take(tmp_path / "0", given / "ca.crt", **pem)["renewed"]) == {"clients/main.crt", "clients/main.key"}


def test_given_certificates_that_no_arbiter_would_take_are_refused(tmp_path: Path, given: Path) -> None:
    make(tmp_path / "foreign")
    files = {"certificate_file": given / "clients/main.crt", "key_file": given / "clients/main.key"}
    packed = {"pkcs12_file": given / "node.p12", "passphrase_file": given / "word"}
    cases: list[tuple[dict[str, Any], str]] = [
        ({"cluster": "other", **files}, "is for 'main', and this cluster is called 'other'"),
        ({"ca": tmp_path / "foreign/ca.crt", **files}, "was not issued by an authority"),
        ({**files, "key_file": given / "server.key"}, "does not belong"),
        ({**files, "key_file": given / "none.key"}, "none.key cannot be read"),
        ({**packed, "passphrase_file": given / "ca.der"}, "cannot be opened"),
        ({**packed, "pkcs12_file": given / "ca.der"}, "cannot be opened"),
        ({"ca": given / "word", **files}, "is no certificate"),
    ]
    for options, words in cases:
        with pytest.raises(SecretsFault, match=words):
            take(tmp_path / "a", options.pop("ca", given / "ca.crt"), **options)
        assert not [path for path in (tmp_path / "a").rglob("*") if path.suffix in {".crt", ".key"}]


def test_given_certificate_that_is_over_is_refused(tmp_path: Path, given: Path) -> None:
    files = {"pkcs12_file": None, "passphrase_file": None, "ca_file": str(given / "ca.crt"),
             "certificate_file": str(given / "clients/main.crt"), "key_file": str(given / "clients/main.key")}
    made = certificate(given / "clients/main.crt")
    for moment, words in ((made.not_valid_after_utc, "has expired on"), (made.not_valid_before_utc, "Is this clock")):
        step = datetime.timedelta(days=1 if words == "has expired on" else -1)
        with pytest.raises(SecretsFault, match=words):
            take_over(Store(str(tmp_path), True), "main", files, moment + step)


@pytest.mark.skipif(not all(map(shutil.which, ("corosync-qnetd-certutil", "certutil", "pk12util"))),
                    reason="corosync's tools are not here (packages corosync-qnetd, libnss3-tools)")
def test_what_corosyncs_own_tools_make_is_taken_over(tmp_path: Path) -> None:
    """The certificates of a corosync-qnetd, made and packed by NSS as corosync-qdevice-net-certutil does."""
    database, words = tmp_path / "nss", tmp_path / "noise"
    database.mkdir()
    words.write_bytes(bytes(range(64)))
    keyed = ["-z", words, "-d", database, "-v", "12"]
    for command in (
        ["certutil", "-N", "-d", database, "--empty-password"],
        ["certutil", "-S", "-n", "QNet CA", "-s", "CN=QNet CA", "-x", "-t", "CT,,", "-m", "1", *keyed],
        ["certutil", "-S", "-n", "Cluster Cert", "-s", "CN=main", "-c", "QNet CA", "-t", "u,u,u", "-m", "2", *keyed],
        ["certutil", "-L", "-d", database, "-n", "QNet CA", "-r", "-o", tmp_path / "qnetd-cacert.crt"],
        ["pk12util", "-d", database, "-n", "Cluster Cert", "-o", tmp_path / "qdevice-net-node.p12", "-W", ""],
    ):
        subprocess.run(command, check=True, capture_output=True, timeout=60)
    said = take(tmp_path / "taken", tmp_path / "qnetd-cacert.crt", pkcs12_file=tmp_path / "qdevice-net-node.p12")
    assert {"ca.crt", "clients/main.crt", "clients/main.key"} <= set(said["made"])
    assert not take(tmp_path / "taken", tmp_path / "qnetd-cacert.crt",
                    pkcs12_file=tmp_path / "qdevice-net-node.p12")["changed"]
    taken = certificate(tmp_path / "taken/clients/main.crt")
    taken.verify_directly_issued_by(certificate(tmp_path / "taken/ca.crt"))
