"""docs/licences.md names every Python package of the lock files with its licence, and nothing else."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import importlib.util
from email.message import Message
from pathlib import Path
from types import SimpleNamespace

import pytest

ROOT = Path(__file__).resolve().parents[2]
MODULE = ROOT / "packaging/licences.py"
if not MODULE.exists() or not (ROOT / "requirements/node.txt").exists():
    pytest.skip("the collection alone has no lock files", allow_module_level=True)


@pytest.fixture(scope="module")
def licences():
    spec = importlib.util.spec_from_file_location("licences", str(MODULE))
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


@pytest.fixture(scope="module")
def page(licences):
    return licences.listed(licences.PAGE.read_text(encoding="utf-8"))


def test_every_locked_package_is_named_with_the_files_that_lock_it(licences, page):
    assert {name: line[1] for name, line in page.items()} == licences.locked(), "run packaging/licences.py"
    assert list(page) == sorted(page)


def test_every_licence_is_written_as_spdx_has_them(licences, page):
    wrong = {name: line[0] for name, line in page.items() if not licences.EXPRESSION.fullmatch(line[0])}
    assert not wrong


def test_what_is_installed_says_the_same_of_itself(licences, page):
    here = licences.installed([])
    assert len(set(here) & set(page)) > 20
    said = {name: licences.licence(name, here[name]) for name in page if name in here}
    assert said == {name: page[name][0] for name in said}, "run packaging/licences.py"


def test_what_hosts_get_may_be_passed_on_with_the_rest(page):
    """All of these go with GPL-3.0-or-later."""
    fits = {"Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "ISC", "MIT", "MIT-0", "MPL-2.0", "PSF-2.0"}
    brought = {name: said for name, (said, uses) in page.items() if {"node", "dask"} & set(uses)}
    words = {word for said in brought.values() for word in said.replace(" OR ", " AND ").split(" AND ")}
    assert words <= fits, {name: said for name, said in brought.items() if said not in fits}


def test_a_licence_in_unknown_words_is_not_guessed(licences):
    about = Message()
    about["License"] = "see the web site"
    with pytest.raises(licences.Unknown, match="look at its files"):
        licences.licence("some-package", SimpleNamespace(metadata=about, files=()))
