"""Sections that say how a cluster is backed up, or whom it follows: what is refused, and with what words."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from config.test_parse import SMALLEST
from qluster.config import ConfigErrors, parse

BACKED_UP = SMALLEST + "database: {bin-dir: /usr/bin}\n"


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ("{found-target: 'lsn 0/3'}", "found-from is not"),
        ("{found-from: newest, found-target: 'time 2026-01-31 12:00:00'}", "with its zone"),
        ("{found-from: newest, found-target: 'when it was well'}", "is no target of a recovery"),
        ("{found-from: yesterday}", "newest, or the label"),
        ("{found-from: newest, found-dir: /other}", "belong together"),
        ("{dir: /opt/qhb-backup}", "lie in one another"),
        ("{keep: 0}", "Use 1 to"),
    ],
)
def test_a_wrong_section_of_backups_is_refused(section: str, said: str) -> None:
    with pytest.raises(ConfigErrors, match=said):
        parse(f"{BACKED_UP}backup: {section}\n", "c")


def test_backups_need_a_database_and_an_archive() -> None:
    with pytest.raises(ConfigErrors, match="there is no section database"):
        parse(SMALLEST + "backup: {}\n", "c")
    with pytest.raises(ConfigErrors, match="without archived WAL a backup brings back only its own moment"):
        parse(SMALLEST + "database: {bin-dir: /usr/bin, wal-archive-dir: ''}\nbackup: {}\n", "c")
    found = parse(BACKED_UP + "backup: {found-from: newest, found-target: 'time 2026-01-31T12:00:00+03:00'}\n", "c")
    assert found.backup is not None and found.backup.interval == 86400 and found.backup.found_dir is None


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ("{tool: barman}", "Use one of: plain, pgbackrest"),
        ("{stanza: main}", "backup.tool is plain"),
        ("{pgbackrest: {process-max: '2'}}", "Say tool: pgbackrest"),
        ("{tool: pgbackrest, pgbackrest: {archive-push-queue-max: 1GB}}", "throws WAL away"),
        ("{tool: pgbackrest, pgbackrest: {Repo1: x}}", "an option as pgBackRest spells it"),
        ("{tool: pgbackrest, found-from: newest, found-dir: /a, found-archive-dir: /b}", "lies in its repository"),
        ("{tool: pgbackrest, found-stanza: main}", "found-from is not"),
        ("{tool: pgbackrest, stanza: ../x}", "no stanza"),
    ],
)
def test_a_wrong_section_of_pgbackrest_is_refused(section: str, said: str) -> None:
    with pytest.raises(ConfigErrors, match=said):
        parse(f"{BACKED_UP}backup: {section}\n", "c")


def test_a_secret_of_pgbackrest_is_refused_without_saying_it() -> None:
    with pytest.raises(ConfigErrors, match="it is a secret") as refused:
        parse(f"{BACKED_UP}backup: {{tool: pgbackrest, pgbackrest: {{repo1-cipher-pass: open-sesame}}}}\n", "c")
    assert "open-sesame" not in str(refused.value)


def test_pgbackrest_needs_no_archive_directory() -> None:
    found = parse(SMALLEST + "database: {bin-dir: /usr/bin, wal-archive-dir: ''}\n"
                  "backup: {tool: pgbackrest, found-from: 20260131-020000F, found-dir: /other}\n", "c").backup
    assert found is not None and found.by_pgbackrest and not found.from_replicas and found.full_interval == 604800


STANDBY = SMALLEST + "cluster: {{standby-of: {of}, standby-slot: {slot}}}\ndatabase: {{bin-dir: /usr/bin{more}}}\n"


@pytest.mark.parametrize(
    ("of", "slot", "more", "said"),
    [
        ("[198.51.100.1]", "b", "", "has no port"),
        ("[second.example:5432]", "b", "", "Names of hosts are not looked up"),
        ("['198.51.100.1:5432', '198.51.100.1:5432']", "b", "", "twice"),
        ("[239.1.1.1:5432]", "b", "", "multicast"),
        ("[192.0.2.11:5432]", "b", "", "is the database of this host"),
        ("[198.51.100.1:5432]", "qluster_node1", "", "begins with qluster_"),
        ("[198.51.100.1:5432]", "Site-B", "", "lower-case letters"),
        ("[198.51.100.1:5432]", "b", ", standby-user: far", "belong together"),
        ("[198.51.100.1:5432]", "b", "}\nbackup: {found-from: newest", "founded from both"),
    ],
)
def test_wrong_installation_to_follow_is_refused(of: str, slot: str, more: str, said: str) -> None:
    with pytest.raises(ConfigErrors, match=said):
        parse(STANDBY.format(of=of, slot=slot, more=more), "c")


def test_installation_to_follow_is_a_list_in_any_order_or_nothing() -> None:
    two = parse(STANDBY.format(of='["198.51.100.2:5432", "198.51.100.1:5433"]', slot="b", more=""), "c")
    assert two.cluster.standby_of == (("198.51.100.1", 5433), ("198.51.100.2", 5432))
    assert parse(STANDBY.format(of='"198.51.100.2:5432, 198.51.100.1:5433"', slot="b", more=""), "c") == two
    empty = ', standby-user: "", standby-password-file: "", standby-ca-file: ""'
    assert parse(STANDBY.format(of='""', slot='""', more=empty), "c") == parse(BACKED_UP, "c")
