#!/usr/bin/env python3
"""Writes docs/licences.md: the licence of every Python package that the lock files name.

    python packaging/licences.py [FOLDER ...]

What a package says of itself is read where it is installed: beside this Python, or in one of the folders (`pip install
--target FOLDER --no-deps`). Of packages that are not there the page keeps what it said.
It must not judge licences.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import re
import sys
from email.message import Message
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs/licences.md"
USES = {
    "node": "in each release of the daemon, on the hosts",
    "dask": "in the Dask environment, on hosts that have it",
    "controller": "beside Ansible, where playbooks run",
    "dev": "for the checks",
    "bench": "for the benchmarks",
    "fuzz": "for fuzzing",
}
"""Lock file → where what it names is used."""

SPDX = {
    "apache 2": "Apache-2.0", "apache 2.0": "Apache-2.0", "apache license, version 2.0": "Apache-2.0",
    "apache software license": "Apache-2.0", "apache-2.0": "Apache-2.0",
    "bsd": "BSD", "bsd license": "BSD", "new bsd": "BSD-3-Clause", "bsd-3": "BSD-3-Clause",
    "bsd 2-clause license": "BSD-2-Clause", "bsd 3-clause license": "BSD-3-Clause",
    "gnu general public license v3 or later (gplv3+)": "GPL-3.0-or-later",
    "isc": "ISC", "isc license": "ISC", "isc license (iscl)": "ISC", "mit": "MIT", "mit license": "MIT",
    "the mit license": "MIT", "mozilla public license 2.0 (mpl 2.0)": "MPL-2.0",
    "python software foundation license": "PSF-2.0", "mpl-2.0": "MPL-2.0", "psf-2.0": "PSF-2.0",
}  # fmt: skip
"""What packages call their licences → what SPDX calls them. Of ``BSD`` the text says how many clauses it has."""

KNOWN = {
    "atheris": "Apache-2.0",
    "docutils": "BSD-2-Clause AND GPL-3.0-or-later AND PSF-2.0 AND LicenseRef-PublicDomain",
    "matplotlib": "LicenseRef-Matplotlib",
    "python-dateutil": "Apache-2.0 OR BSD-3-Clause",
    "supervisor": "LicenseRef-Repoze",
}
"""Of those whose words say less than their texts."""

EXPRESSION = re.compile(r"\(?[A-Za-z0-9.+-]+( (AND|OR|WITH) [A-Za-z0-9.+-]+)*\)?")
HEAD = """# Licences of what is used

QLUSTER itself is under GPL-3.0-or-later; the pages of Swagger UI that it carries are under Apache-2.0 (`LICENSES/`).
Below are the licences of all Python packages that the lock files name (`requirements/*.txt`), by their own word.
They are written as [SPDX](https://spdx.org/licenses/) has them; a package without a word of its own was looked into.
`packaging/licences.py` writes this page, and a test compares it with the lock files and with what is installed.
What a distribution brings (PostgreSQL, PgBouncer, corosync, fence agents) is installed from there, and is not here.

"""


class Unknown(Exception):
    """A licence cannot be told; the message says of which package, and what to do."""


def normal(name: str) -> str:
    """A package's name as the index compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def locked() -> dict[str, list[str]]:
    """Package → the lock files that name it, in the order of ``USES``."""
    found: dict[str, list[str]] = {}
    for use in USES:
        text = (ROOT / f"requirements/{use}.txt").read_text(encoding="utf-8")
        for name in re.findall(r"^([A-Za-z0-9][A-Za-z0-9._-]*)(?:\[[^]]*])?==", text, re.MULTILINE):
            found.setdefault(normal(name), []).append(use)
    return dict(sorted(found.items()))


def installed(folders: list[str]) -> dict[str, metadata.Distribution]:
    """Package → what is installed of it."""
    path = [*folders, *sys.path]
    return {normal(one.metadata["Name"]): one for one in reversed(list(metadata.distributions(path=path)))}


def licence(name: str, package: metadata.Distribution) -> str:
    """The licence of a package by its own word; raises :class:`Unknown`."""
    if name in KNOWN:
        return KNOWN[name]
    about: Message = package.metadata  # type: ignore[assignment]
    said = str(about.get("License-Expression") or "").strip()
    if said:
        return said
    classifiers = [one.split(" :: ")[-1] for one in about.get_all("Classifier") or [] if one.startswith("License")]
    for word in (str(about.get("License") or "").strip(), *classifiers):
        found = SPDX.get(word.lower(), word if " " in word or "-" in word else "")
        if found == "BSD" and "redistributions" in (clauses := text(package).lower()):
            return f"BSD-{3 if re.search(r'neither the names? |may not be used to endorse', clauses) else 2}-Clause"
        if found and "\n" not in found and EXPRESSION.fullmatch(found):
            return found
    raise Unknown(f"{name} does not say its licence in words that are known: look at its files, and add it to KNOWN")


def text(package: metadata.Distribution) -> str:
    """What its licence says."""
    files = [one for one in package.files or () if re.search(r"licen[cs]e|copying", one.name, re.IGNORECASE)]
    found = [path.read_text(encoding="utf-8", errors="replace")
             for one in files if (path := Path(str(one.locate()))).is_file()]  # fmt: skip
    return " ".join(" ".join(found).split()) or str(package.metadata.get("License") or "")


def listed(page: str) -> dict[str, tuple[str, list[str]]]:
    """Package → licence and uses, as a page has them."""
    rows = re.findall(r"^\| `([^`]+)` \| ([^|]+) \| ([^|]+) \|$", page, re.MULTILINE)
    return {name: (given.strip(), uses.strip().split(", ")) for name, given, uses in rows}


def written(folders: list[str], before: dict[str, tuple[str, list[str]]]) -> str:
    """The page; raises :class:`Unknown`."""
    here = installed(folders)
    lines = [HEAD, "| lock file | what it is for |", "|---|---|"]
    lines += [f"| {use} | {what} |" for use, what in USES.items()]
    lines += ["", "| package | licence | lock files |", "|---|---|---|"]
    for name, uses in locked().items():
        if name in here:
            given = licence(name, here[name])
        elif name in before:
            given = before[name][0]
        else:
            raise Unknown(f"{name} is not installed: name a folder that has it (pip install --target FOLDER --no-deps)")
        lines.append(f"| `{name}` | {given} | {', '.join(uses)} |")
    return "\n".join(lines).replace("\n\n\n", "\n\n") + "\n"


def main() -> int:
    """Write the page."""
    before = listed(PAGE.read_text(encoding="utf-8")) if PAGE.exists() else {}
    try:
        PAGE.write_text(written(sys.argv[1:], before), encoding="utf-8")
    except Unknown as fault:
        print(fault, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
