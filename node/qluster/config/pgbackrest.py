"""Which options of pgBackRest an operator may set: not those that the daemon decides, nor those that lose data.

It must not know what the options mean beyond that: pgBackRest judges their values itself.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import re

_REFUSED: tuple[tuple[str, str], ...] = (
    (r"archive-push-queue-max",
     "it throws WAL away and tells the database that it is archived; watch the disk instead"),
    (r"repo([2-9]|[1-9][0-9]+)-.*", "one repository is kept, repo1; what is in another one nobody would look after"),
    (r"repo1?-retention-.*|expire-auto", "backup.keep and backup.keep-for say what is kept"),
    (r"repo1?-host(-.*)?",
     "a repository on another host wants its backups taken there; name one that each database host reaches by itself"),
    (r"archive-(check|mode-check)|online", "a backup without its WAL is none"),
    (r"pg2-host-(type|port|user|cmd|config|config-path|config-include-path|ca-file|ca-path|cert-file|key-file)", ""),
    (r"pg[0-9]*-.*|db-(host|path|port|user)|backup-standby", "the daemon knows where the databases are"),
    (r"stanza|repo|config(-.*)?|lock-path|log-level-(console|stderr)|log-timestamp|cmd|exec-id|force|type|set|target.*"
     r"|output|dry-run|annotation",
     "the daemon says it with each command"),
)
"""Pattern and reason; the first that fits counts, and "" allows."""
_SECRET = re.compile(r"repo1?-(cipher-pass|s3-key|s3-key-secret|s3-token|azure-key|sftp-private-key-passphrase)")


def refusal(option: str) -> str:
    """Why an option cannot be set, "" when it can."""
    return next((reason for pattern, reason in _REFUSED if re.fullmatch(pattern, option)), "")


def secrecy(option: str) -> str:
    """Why an option cannot stand in the configuration, which many may read; "" when it can."""
    secret = _SECRET.fullmatch(option)
    return "it is a secret; write it into the file that backup.pgbackrest-file names" if secret else ""
