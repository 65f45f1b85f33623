"""What pgBackRest says, as it said it, and what it is told."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
from typing import Any

import pytest
from database.test_settings import DATABASE
from qluster.config import Backup as Settings
from qluster.config.pgbackrest import refusal, secrecy
from qluster.database import backrest, backrest_conf
from qluster.database.backups import Backup, Failure, Shelf, expired, kind_due

ME, OTHER = 7710951653499806406, 42
FULL, INCR = "20261122-111040F", "20261122-111040F_20261122-111046I"
VERIFIED = f"""stanza: main
status: error
  archiveId: 15-1, total WAL checked: 11, total valid WAL: 11
    missing: 0, checksum invalid: 0, size invalid: 0, other: 0
  backup: {FULL}, status: valid, total files checked: 964, total valid files: 964
    missing: 0, checksum invalid: 0, size invalid: 0, other: 0
  backup: {INCR}, status: invalid, total files checked: 967, total valid files: 966
    missing: 0, checksum invalid: 1, size invalid: 0, other: 0
"""


def settings(**changes: Any) -> Settings:
    values: dict[str, Any] = {
        "dir": "/backup", "interval": 86400.0, "keep": 2, "keep_for": 0.0, "compression": 1, "found_from": None,
        "found_target": None, "found_system_id": None, "found_dir": None, "found_archive_dir": None,
        "tool": "pgbackrest",
    }  # fmt: skip
    return Settings(**{**values, **changes})


def told(label: str, kind: str = "full", *, database: int = 1, at: int = 1000, **changes: Any) -> dict[str, Any]:
    return {
        "label": label, "type": kind, "database": {"id": database, "repo-key": 1}, "error": False,
        "timestamp": {"start": at, "stop": at + 9}, "info": {"repository": {"delta": 77, "size": 99}, "size": 1000},
        "archive": {"start": "000000030000000000000007", "stop": "000000030000000000000007"},
        "lsn": {"start": "0/700028", "stop": "0/700100"}, "prior": None, "reference": None,
        "annotation": {"qluster-node": "10.0.0.1", "qluster-segment-size": "1048576"}, **changes,
    }  # fmt: skip


def stanza(*backups: dict[str, Any], code: int = 0, systems: tuple[int, ...] = (ME,)) -> backrest.Stanza:
    text = json.dumps([{
        "name": "main", "status": {"code": code, "message": "said"}, "backup": backups, "cipher": "none",
        "db": [{"id": number, "repo-key": 1, "system-id": system, "version": "15"}
               for number, system in enumerate(systems, 1)],
        "archive": [{"id": f"15-{number}", "database": {"id": number, "repo-key": 1}, "min": None, "max": None}
                    for number, _ in enumerate(systems, 1)],
    }])  # fmt: skip
    return backrest.stanzas_of(text)[0]


def test_a_backup_is_read_as_it_is_told() -> None:
    found = stanza(told(FULL), told(INCR, "incr", at=2000, prior=FULL, reference=[FULL])).shelf(ME)
    assert found.broken == () and found.backups == (
        Backup(label=FULL, system_id=ME, timeline=3, start=0x700028, stop=0x700100, began=1000, ended=1009, size=77,
               node="10.0.0.1", version="15", segment_size=1 << 20),
        Backup(label=INCR, system_id=ME, timeline=3, start=0x700028, stop=0x700100, began=2000, ended=2009, size=77,
               node="10.0.0.1", version="15", segment_size=1 << 20, kind="incr", needs=(FULL,)),
    )  # fmt: skip


def test_backups_of_another_database_of_the_stanza_are_not_ours() -> None:
    upgraded = stanza(told("20250101-000000F"), told(FULL, database=2), systems=(OTHER, ME))
    assert [each.label for each in upgraded.shelf(ME).backups] == [FULL]
    assert upgraded.current == ME and upgraded.archives(ME) == ["15-2"] and upgraded.known() == {ME, OTHER}


def test_what_is_no_whole_backup_is_told() -> None:
    found = stanza(told(FULL, lsn={"start": None, "stop": None}), told(INCR, "incr", error=True)).shelf(ME)
    assert [each.label for each in found.backups] == [INCR]
    assert "of a database that did not run" in found.broken[0] and "checksum is wrong" in found.broken[1]


@pytest.mark.parametrize(("ended", "left"), [(900, True), (1100, False)])
def test_a_failure_is_forgotten_by_a_later_success(ended: int, left: bool) -> None:
    failure = Failure(at=1000, node="10.0.0.2", error="full")
    assert (stanza(told(FULL, at=ended - 9)).shelf(ME, failure).failure is failure) == left


@pytest.mark.parametrize(("code", "there"), [(0, True), (1, False), (2, True), (3, False), (99, True)])
def test_a_stanza_that_is_not_there(code: int, there: bool) -> None:
    assert stanza(code=code).there == there


def test_an_answer_that_is_none_is_an_error() -> None:
    for read in (backrest.stanzas_of, backrest.listing_of):
        with pytest.raises(ValueError, match="is not understood"):
            read("ERROR")


def listing(*names: str) -> backrest.Listing:
    return backrest.listing_of(json.dumps({
        ".": {"type": "path"}, **{f"15-1/0000/{name}": {"type": "file", "size": 1, "time": 5.0} for name in names}
    }))  # fmt: skip


def segment(number: int, timeline: int = 1, content: str = "a") -> str:
    return f"{timeline:08X}00000000{number:08X}-{content * 40}.gz"


def test_the_archive_is_judged_by_its_names() -> None:
    shelf = Shelf(backups=(Backup(label="x", system_id=ME, timeline=1, start=3 << 24, stop=3 << 24, began=1, ended=2,
                                  size=1, node=""),))  # fmt: skip
    other = segment(4)[:24]
    names = listing(segment(3), segment(5), f"{other}.00000028.backup", f"{other}.partial-{'a' * 40}.gz")
    found = backrest.completeness(names, "", shelf, 1 << 24)
    assert [gap.first for gap in found.gaps] == [segment(4)[:24]] and found.reaches == segment(3)[:24]
    assert found.written == 5.0 and found.segments == 2
    way = "1\t0/4000000\tno recovery target specified\n"
    grown = listing(segment(3), segment(4, 2), "00000002.history")
    assert grown.newest_history == "00000002.history"
    assert backrest.completeness(grown, way, shelf, 1 << 24).complete
    twice = backrest.completeness(listing(segment(3), segment(3, content="b")), "", shelf, 1 << 24)
    assert not twice.complete and "it is there twice" in twice.faults[0]


def test_what_verify_found_is_told_of_the_backup_that_is_asked_for() -> None:
    assert backrest.verified(VERIFIED, FULL) == []
    [fault] = backrest.verified(VERIFIED, INCR)
    assert "1 of 967 files are not as they were written" in fault and "checksum invalid: 1" in fault
    assert backrest.verified(VERIFIED, "20200101-000000F") == ["pgBackRest did not look at it"]
    lost = VERIFIED.replace("total valid WAL: 11", "total valid WAL: 10")
    assert "archive 15-1: 1 of 11" in backrest.verified(lost, FULL)[0]


def test_a_complaint_is_its_error_with_what_to_do() -> None:
    said = "WARN: something\nERROR: [044]: PostgreSQL version 15, system-id 1 do not match\n       HINT: are you?\n"
    assert backrest.complaint(said) == "ERROR: [044]: PostgreSQL version 15, system-id 1 do not match; HINT: are you?"
    unseen = "WARN: unable to check pg2: [HostConnectError] refused\nWARN: else\nERROR: [056]: no primary\n"
    assert backrest.complaint(unseen) == (
        "WARN: unable to check pg2: [HostConnectError] refused; ERROR: [056]: no primary")
    assert "qluster backup --upgrade-stanza" in backrest.sentence(44, said)
    assert backrest.sentence(9, "") == "exit code 9 and not a word"
    assert backrest.misunderstood("WARN: configuration file contains invalid option 'x'") != ""
    assert backrest.misunderstood(said) == "" and backrest.version_of("pgBackRest 2.45dev") == (2, 45)


@pytest.mark.parametrize("option", [
    "archive-push-queue-max", "repo2-path", "repo1-retention-full", "repo-retention-diff", "repo1-host", "pg1-path",
    "pg2-path", "pg2-host", "backup-standby", "lock-path", "expire-auto", "archive-check", "stanza", "config",
])  # fmt: skip
def test_options_that_the_daemon_decides_or_that_lose_wal_are_refused(option: str) -> None:
    assert refusal(option)


@pytest.mark.parametrize("option", ["repo1-type", "repo1-s3-bucket", "process-max", "archive-async", "pg2-host-type"])
def test_other_options_are_the_operators(option: str) -> None:
    assert not refusal(option) and not secrecy(option)


def conf(text: str = "", **changes: Any) -> str:
    return backrest_conf.conf_text(settings(**changes), DATABASE, stanza="main", folder="/state/pgbackrest",
                                   operator=backrest_conf.operator_sections(text, ["main"]))  # fmt: skip


def lines(text: str, section: str) -> list[str]:
    return text.split(f"[{section}]\n")[1].split("\n\n")[0].splitlines()


def test_the_file_says_where_everything_is() -> None:
    mine = "# mine\n[global]\nrepo1-cipher-pass=a=b\nexclude=x\nexclude=y\n[global:archive-push]\nprocess-max = 2\n"
    text = conf(mine, pgbackrest={"repo1-type": "s3", "compress-type": "zst", "pg2-host-type": "tls"})  # fmt: skip
    shared = lines(text, "global")
    assert "repo1-cipher-pass=a=b" in shared and "repo1-path=/backup" in shared and "compress-type=zst" in shared
    assert not any(line.startswith(("compress-level", "pg2")) for line in shared)
    assert [line for line in shared if line.startswith("exclude")] == ["exclude=x", "exclude=y"]
    assert lines(text, "global:archive-push") == ["process-max=2"]
    assert f"pg1-path={DATABASE.data_dir}" in lines(text, "main")
    assert backrest_conf.repository_dir(text) == "" and backrest_conf.repository_dir(conf()) == "/backup"


@pytest.mark.parametrize(("text", "said"), [
    ("[other]\nx=1\n", r"begins a section \[other\]"),
    ("x=1\n", "no option=value below"),
    ("[global]\nrepo1-s3-key secret\n", "line 2 is no option=value"),
    ("[global]\narchive-push-queue-max=1GB\n", "throws WAL away"),
    ("[main]\npg2-host-type=tls\n", "write it into backup.pgbackrest"),
])  # fmt: skip
def test_a_wrong_file_is_refused_by_its_line_and_without_its_values(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said) as refused:
        conf(text)
    assert "secret" not in str(refused.value)


def backup(label: str, at: float, kind: Any = "full", needs: tuple[str, ...] = ()) -> Backup:
    return Backup(label=label, system_id=ME, timeline=1, start=1, stop=2, began=at, ended=at + 1, size=1, node="",
                  kind=kind, needs=needs)  # fmt: skip


def test_what_a_kept_backup_needs_is_kept() -> None:
    chain = [backup("F1", 0), backup("I1", 10, "incr", ("F1",)), backup("I2", 20, "incr", ("I1",)), backup("F2", 30),
             backup("I3", 40, "incr", ("F2",))]  # fmt: skip
    assert [each.label for each in expired(chain, 3, 0, 100)] == []
    assert [each.label for each in expired(chain, 2, 0, 100)] == ["F1", "I1", "I2"]
    assert [each.label for each in backrest.in_order_of_removal(expired(chain, 2, 0, 100))] == ["I2", "I1", "F1"]


def test_a_full_backup_is_due_after_its_interval_and_when_its_past_was_left() -> None:
    shelf = Shelf(backups=(backup("F1", 100), backup("I1", 200, "incr", ("F1",))))
    assert kind_due(Shelf(), 1000, "incr", 0) == "full" and kind_due(shelf, 0, "incr", 300) == "full"
    assert kind_due(shelf, 1000, "diff", 300) == "diff" and kind_due(shelf, 1000, "incr", 1200) == "full"
    assert kind_due(shelf, 1000, "incr", 300, {"F1"}) == "full" and kind_due(shelf, 1000, "incr", 50) == "full"
