"""The lab's names and folders, and what of them is refused."""

# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from pathlib import Path

import pytest
from hostlab.errors import LabError
from hostlab.plan import HOSTS, plan_from

CHECKOUT = Path("/somewhere/checkout")


def test_default_lab_writes_its_inventory_into_the_checkout() -> None:
    plan = plan_from({}, CHECKOUT)
    assert plan.name == "qluster-lab"
    assert plan.inventory_dir == CHECKOUT / "inventories" / "lab"


def test_second_lab_keeps_its_inventory_to_itself() -> None:
    plan = plan_from({"QLUSTER_LAB_NAME": "other"}, CHECKOUT)
    assert plan.inventory_dir == Path("/run/other/inventory")
    assert plan.run_dir != plan_from({}, CHECKOUT).run_dir
    assert plan.own_disks_dir != plan_from({}, CHECKOUT).own_disks_dir


def test_every_host_has_its_own_name_address_and_port() -> None:
    for values in ([h.name for h in HOSTS], [h.address for h in HOSTS], [h.port for h in HOSTS]):
        assert len(set(values)) == len(HOSTS)
    assert all(len(host.port) <= 15 for host in HOSTS), "the kernel's limit for interface names"


@pytest.mark.parametrize("name", ["A", "a", "../x", "lab/1", "lab name", "-lab", "lab-", "x" * 33])
def test_name_unfit_for_a_folder_is_refused(name: str) -> None:
    with pytest.raises(LabError, match="QLUSTER_LAB_NAME"):
        plan_from({"QLUSTER_LAB_NAME": name}, CHECKOUT)


@pytest.mark.parametrize(
    ("folder", "word"),
    [("relative", "absolute"), ("/run/x", "below /run"), ("/a:b", "colon"), ("/a,b", "comma")],
)
@pytest.mark.parametrize("variable", ["QLUSTER_LAB_CACHE", "QLUSTER_LAB_DISKS"])
def test_folder_that_cannot_work_is_refused(variable: str, folder: str, word: str) -> None:
    with pytest.raises(LabError, match=word) as caught:
        plan_from({variable: folder}, CHECKOUT)
    assert variable in str(caught.value)


def test_unknown_host_is_answered_with_the_known_ones() -> None:
    with pytest.raises(LabError, match=r"'db9'.*db1, db2, db3, pool1, arbiter1"):
        plan_from({}, CHECKOUT).host("db9")
