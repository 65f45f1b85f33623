"""These tests need hosts and disks of their own; where that is not possible they are skipped, with the reason."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from faults import cables, disks
from faults.cluster import Cluster

MEMORY = os.access("/dev/shm", os.W_OK)
"""Networks and processes are struck here: a leader whose disk stands still gives way, which would be one more fault."""


@pytest.fixture(scope="session")
def hosts_possible() -> None:
    """Network namespaces and nftables."""
    if reason := cables.obstacle():
        pytest.skip(reason)


@pytest.fixture(scope="session")
def disks_possible() -> None:
    """File systems in user space."""
    if reason := disks.obstacle():
        pytest.skip(reason)


@pytest.fixture
def cluster(request: pytest.FixtureRequest, hosts_possible: None) -> Iterator[Cluster]:
    """Hosts without daemons; parametrized indirectly with the arguments of ``Cluster``."""
    made = Cluster("test", on_memory=MEMORY, **getattr(request, "param", {}))
    try:
        yield made
    finally:
        made.end()


@pytest.fixture(scope="session")
def founded(hosts_possible: None) -> Iterator[Cluster]:
    """Three daemons that many tests strike, one after the other."""
    made = Cluster("trio", on_memory=MEMORY)
    try:
        made.found()
        yield made
    finally:
        made.end()


@pytest.fixture
def trio(founded: Cluster) -> Cluster:
    """Three daemons that are well before each test."""
    founded.recover()
    return founded
