"""Tests of the marker ``unprivileged`` run as nobody where the tests run as root.

PostgreSQL and PgBouncer refuse root. Such a test is run again by itself in a user namespace in which
the user is nobody; where that is not possible it is skipped, with the reason. `make edge` runs all of them in one.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

import nobody
import pytest

if TYPE_CHECKING:
    from edge.pair_world import Asking

REPEATED = "QLUSTER_TEST_AS_NOBODY"


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known."""
    config.addinivalue_line("markers", "unprivileged: runs as nobody where the tests run as root")


@pytest.fixture(scope="module")
def asked(request: pytest.FixtureRequest) -> Iterator[Asking]:
    """Two hosts that ask Debian's arbiter by the algorithm that the file names."""
    from edge.pair_world import asking

    with asking(request.module.ALGORITHM) as made:
        yield made


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run a marked test in a namespace instead of here."""
    if os.geteuid() != 0 or not pyfuncitem.get_closest_marker("unprivileged"):
        return None
    if reason := nobody.lacking():
        pytest.skip(f"the database refuses root, and nobody cannot be had: {reason}")
    end = subprocess.run(
        [*nobody.AS_NOBODY, sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-rA", pyfuncitem.nodeid],
        cwd=pyfuncitem.config.rootpath,
        env={**os.environ, REPEATED: "1", "TMPDIR": "/tmp"},
        capture_output=True,
        text=True,
        timeout=280,
    )
    if "1 skipped" in end.stdout:
        pytest.skip(end.stdout[-400:])
    if end.returncode != 0:
        pytest.fail(f"as nobody:\n{end.stdout[-12000:]}\n{end.stderr[-2000:]}", pytrace=False)
    return True
