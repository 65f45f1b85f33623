"""What stands in the directory of secrets, and when it is made anew."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import base64
import hashlib
import os
import stat
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.qhb.qluster.plugins.modules.qluster_secrets import SecretsFault, provide_alone
from collection.module_double import Asked
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.x509.verification import PolicyBuilder, Store

HOSTS = [{"name": "db1", "ip": "192.0.2.11"}, {"name": "db2", "ip": "192.0.2.12"}]
WORDS = ["read.token", "operate.token", "deploy.token", "database.password", "application.password", "pool.password"]


def make(directory: Path, **options: Any) -> dict[str, Any]:
    given = {"hosts": HOSTS, "cluster": "main", "dask": False, "renew_before": 60, "validity": 825,
             "authority_validity": 3650}  # fmt: skip
    check = options.pop("check_mode", False)
    asked = Asked(check_mode=check, directory=str(directory), **{**given, **options})
    result: dict[str, Any] = provide_alone(asked)
    return result


def certificate(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(path.read_bytes())


def contents(directory: Path) -> dict[str, bytes]:
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def trusted(directory: Path, host: str, ip: str) -> None:
    """Verify a host's certificate as a client would; raises when it is not trusted."""
    import ipaddress

    authorities = x509.load_pem_x509_certificates((directory / "ca.crt").read_bytes())
    verifier = PolicyBuilder().store(Store(authorities)).build_server_verifier(
        x509.IPAddress(ipaddress.ip_address(ip)))
    verifier.verify(certificate(directory / f"hosts/{host}.crt"), [])


def test_first_run_makes_everything_and_second_nothing(tmp_path: Path) -> None:
    directory = tmp_path / "secrets"
    first = make(directory)
    expected = {".gitignore", "ca.crt", "ca.key", "cluster.key", "deploy.sha256", *WORDS}
    expected |= {f"hosts/{host['name']}.{end}" for host in HOSTS for end in ("crt", "key")}
    assert first["changed"] and set(contents(directory)) == expected
    before = contents(directory)
    second = make(directory)
    assert not second["changed"] and second["made"] == [] and contents(directory) == before


def test_dask_has_an_authority_that_proves_nothing_to_the_cluster(tmp_path: Path) -> None:
    directory = tmp_path / "secrets"
    make(directory)
    before = contents(directory)
    made = make(directory, dask=True)
    files = {f"dask/{name}" for name in ("ca.crt", "ca.key", *(f"hosts/{host['name']}.{end}" for host in HOSTS
                                                               for end in ("crt", "key")))}  # fmt: skip
    assert set(made["made"]) == files | {"dask", "dask/hosts"}
    assert {name: text for name, text in contents(directory).items() if name not in files} == before
    trusted(directory / "dask", "db1", "192.0.2.11")
    (directory / "dask/hosts/db1.crt").write_bytes((directory / "hosts/db1.crt").read_bytes())
    (directory / "dask/hosts/db1.key").write_bytes((directory / "hosts/db1.key").read_bytes())
    assert make(directory, dask=True)["renewed"].keys() == {"dask/hosts/db1.crt", "dask/hosts/db1.key"}
    trusted(directory / "dask", "db1", "192.0.2.11")
    assert not make(directory, dask=True)["changed"]
    (directory / "dask/hosts/db1.crt").unlink()
    checked = make(directory, dask=True, check_mode=True)
    assert checked["changed"] and not (directory / "dask/hosts/db1.crt").exists()


def test_hosts_get_only_the_digest_of_the_token_for_deploying(tmp_path: Path) -> None:
    directory = tmp_path / "secrets"
    make(directory)
    digest = directory / "deploy.sha256"
    token = (directory / "deploy.token").read_text().strip()
    assert digest.read_text() == f"sha256:{hashlib.sha256(token.encode()).hexdigest()}\n"
    (directory / "deploy.token").write_text("another-one\n")
    assert make(directory)["renewed"] == {"deploy.sha256": "the token is another one"}
    assert hashlib.sha256(b"another-one").hexdigest() in digest.read_text()


def test_nobody_else_may_read(tmp_path: Path) -> None:
    directory = tmp_path / "secrets"
    old = os.umask(0)
    try:
        make(directory)
    finally:
        os.umask(old)
    for path in [directory, *directory.rglob("*")]:
        mode = stat.S_IMODE(path.stat().st_mode)
        assert mode == (0o700 if path.is_dir() else 0o600), path


def test_open_modes_are_closed_and_told(tmp_path: Path) -> None:
    make(tmp_path / "secrets")
    (tmp_path / "secrets/cluster.key").chmod(0o644)
    (tmp_path / "secrets").chmod(0o755)
    again = make(tmp_path / "secrets")
    assert again["changed"] and set(again["protected"]) == {".", "cluster.key"}
    assert not make(tmp_path / "secrets")["changed"]


def test_each_word_is_long_and_of_its_own(tmp_path: Path) -> None:
    make(tmp_path / "one")
    make(tmp_path / "two")
    words = [(tmp_path / which / name).read_text() for which in ("one", "two") for name in WORDS]
    assert len(set(words)) == len(words)
    assert all(len(word.strip()) >= 32 and word.endswith("\n") and word.split() == [word.strip()] for word in words)
    number, _, text = (tmp_path / "one/cluster.key").read_text().strip().partition(":")
    assert number == "1" and len(base64.b64decode(text)) == 32


def test_certificates_are_trusted_for_their_own_address_only(tmp_path: Path) -> None:
    directory = tmp_path / "secrets"
    make(directory)
    trusted(directory, "db1", "192.0.2.11")
    with pytest.raises(x509.verification.VerificationError):
        trusted(directory, "db1", "192.0.2.12")
    key = serialization.load_pem_private_key((directory / "hosts/db1.key").read_bytes(), None)
    assert key.public_key() == certificate(directory / "hosts/db1.crt").public_key()


def test_result_holds_no_secret(tmp_path: Path) -> None:
    directory = tmp_path / "secrets"
    text = repr(make(directory))
    for name in ["cluster.key", *WORDS]:
        assert (directory / name).read_text().strip() not in text
    assert "PRIVATE" not in text


def test_check_mode_says_the_same_and_makes_nothing(tmp_path: Path) -> None:
    said = make(tmp_path / "secrets", check_mode=True)
    assert not (tmp_path / "secrets").exists()
    assert said["made"] == make(tmp_path / "secrets")["made"]
    (tmp_path / "secrets/read.token").unlink()
    before = contents(tmp_path / "secrets")
    assert make(tmp_path / "secrets", check_mode=True)["made"] == ["read.token"]
    assert contents(tmp_path / "secrets") == before


def test_changed_address_renews_that_host_only(tmp_path: Path) -> None:
    directory = tmp_path / "secrets"
    make(directory)
    before = contents(directory)
    moved = [{"name": "db1", "ip": "192.0.2.99"}, HOSTS[1]]
    result = make(directory, hosts=moved)
    assert result["renewed"] == {name: "it is not for 192.0.2.99" for name in ("hosts/db1.crt", "hosts/db1.key")}
    after = contents(directory)
    assert {name for name in after if after[name] != before[name]} == {"hosts/db1.crt", "hosts/db1.key"}
    trusted(directory, "db1", "192.0.2.99")


def test_certificate_is_renewed_before_it_expires(tmp_path: Path) -> None:
    directory = tmp_path / "secrets"
    make(directory, validity=30, renew_before=10)
    assert not make(directory, validity=30, renew_before=10)["changed"]
    result = make(directory, renew_before=40)
    assert set(result["renewed"]) == {f"hosts/{host['name']}.{end}" for host in HOSTS for end in ("crt", "key")}
    assert result["expires"] == 825


def test_authority_gets_a_successor_and_the_old_one_stays_trusted(tmp_path: Path) -> None:
    directory = tmp_path / "secrets"
    make(directory, authority_validity=50, validity=40, renew_before=5)
    old = (directory / "hosts/db1.crt").read_bytes()
    result = make(directory, renew_before=60)
    assert result["renewed"]["ca.crt"] == "it expires in 49 days"
    assert len(x509.load_pem_x509_certificates((directory / "ca.crt").read_bytes())) == 2
    trusted(directory, "db1", "192.0.2.11")
    (directory / "hosts/db1.crt").write_bytes(old)
    trusted(directory, "db1", "192.0.2.11")


def test_lost_key_of_a_host_is_made_anew_with_its_certificate(tmp_path: Path) -> None:
    directory = tmp_path / "secrets"
    make(directory)
    (directory / "hosts/db2.key").unlink()
    make(directory)
    key = serialization.load_pem_private_key((directory / "hosts/db2.key").read_bytes(), None)
    assert key.public_key() == certificate(directory / "hosts/db2.crt").public_key()


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("operate.token", "", "operate.token is empty"),
        ("operate.token", "two words\n", "one word"),
        ("ca.key", None, "has ca.crt but no ca.key"),
        ("ca.crt", "no certificate\n", "ca.crt is no certificate"),
        ("hosts/db1.key", "no key\n", "db1.key is no private key"),
        ("cluster.key", "1:short\n", "cluster.key, line 1"),
    ],
    ids=["empty", "two words", "authority's key lost", "broken authority", "broken key", "broken cluster key"],
)
def test_broken_file_is_refused_and_nothing_is_overwritten(
    tmp_path: Path, name: str, content: str | None, said: str
) -> None:
    directory = tmp_path / "secrets"
    make(directory)
    path = directory / name
    if content is None:
        path.unlink()
    else:
        path.write_text(content)
    before = contents(directory)
    with pytest.raises(SecretsFault, match=said):
        make(directory)
    assert contents(directory) == before


@pytest.mark.parametrize(
    ("hosts", "said"),
    [
        ([{"name": "../db1", "ip": "192.0.2.11"}], "no file name"),
        ([{"name": "db1", "ip": "db1.example"}], "give an address"),
        ([{"name": "a", "ip": "192.0.2.1"}, {"name": "b", "ip": "192.0.2.1"}], "a and b have the same ip"),
    ],
    ids=["path in a name", "name for an address", "same address twice"],
)
def test_impossible_hosts_are_refused(tmp_path: Path, hosts: list[dict[str, str]], said: str) -> None:
    with pytest.raises(SecretsFault, match=said):
        make(tmp_path / "secrets", hosts=hosts)
    assert not (tmp_path / "secrets").exists()
