"""Brings a lab up and down as a whole, in an order in which a crash at any point can be cleared away.

Must not know how a host boots or a packet is dropped; `command.py` speaks with the user.
"""

# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import NoReturn

from hostlab.base import build_base
from hostlab.check import install_missing, reasons_against
from hostlab.errors import LabError, LabUnable
from hostlab.fault import Fault
from hostlab.group import Group
from hostlab.host import Machine, remove_tree
from hostlab.inventory import claim_inventory, make_keys, remove_inventory, write_inventory
from hostlab.network import apply_faults, lay_bridge, lay_cable, plug, unplugged
from hostlab.packages import PackageFiles, fetch_packages, stocked
from hostlab.plan import Host, Plan
from hostlab.record import Record, locked, read_record, write_record
from hostlab.space import Space, spawn_keeper

Tell = Callable[[str], None]


class Laboratory:
    """One lab, up or not."""

    def __init__(self, plan: Plan, tell: Tell) -> None:
        self.plan = plan
        self._tell = tell
        self._group = Group(plan.name)

    def locked(self) -> AbstractContextManager[None]:
        return locked(self.plan.run_dir.with_suffix(".lock"))

    # -- the whole ---------------------------------------------------------------------------------

    def setup(self) -> None:
        """Everything that needs the outside world: programs, base tree, packages."""
        self._enable()
        with self._outside():
            self._stock()

    def packages(self, names: tuple[str, ...]) -> Path:
        """The folder with the files of packages, and of all that a bare host lacks for them."""
        self._enable()
        self.plan.cache_dir.mkdir(parents=True, exist_ok=True)
        with self._outside():
            base = build_base(self.plan, self._group.below("build"))
            return stocked(self.plan, base, self._group.below("fetch"), names)

    def _enable(self) -> None:
        """Bring the programs that a lab needs, or say why this machine can hold none."""
        installed = install_missing()
        if installed:
            self._tell(f"installed {', '.join(installed)}")
        reasons = reasons_against(self.plan)
        if reasons:
            raise LabUnable(reasons)

    @contextmanager
    def _outside(self) -> Iterator[None]:
        """Work that needs no lab: where none is up, its control group goes again."""
        try:
            yield
        finally:
            if read_record(self.plan.state_file) is None:
                self._group.remove()

    def _stock(self) -> tuple[Path, PackageFiles]:
        """The base tree and the package files, from the cache or made now."""
        self.plan.cache_dir.mkdir(parents=True, exist_ok=True)
        base = build_base(self.plan, self._group.below("build"))
        return base, fetch_packages(self.plan, base, self._group.below("fetch"))

    def up(self) -> None:
        """All hosts run when this returns; what runs already is left alone."""
        claim_inventory(self.plan)
        self.setup()
        base, package_files = self._stock()
        began = time.monotonic()
        record = read_record(self.plan.state_file)
        if record is not None and not record.keeper_lives():
            self._tell("clearing away a lab that crashed")
            self.down()
            record = None
        if record is None:
            record = self._begin(base)
        self._mine(record)
        space = Space(record)
        machines = [self._machine(space, host) for host in self.plan.hosts]
        off = [machine for machine in machines if not machine.running()]
        for machine in off:
            machine.switch_on(Path(record.base))
        for machine in machines:
            if not machine.paused():
                machine.wait_ready()
        write_inventory(self.plan, package_files)
        took = time.monotonic() - began
        self._tell(f"{len(off)} of {len(machines)} hosts booted, ready after {took:.1f} s")

    def _begin(self, base: Path) -> Record:
        """Namespaces, keys and cables. On failure nothing of them stays."""
        self._group.make()
        (self.plan.run_dir / "console").mkdir(parents=True, exist_ok=True)
        self.plan.run_dir.chmod(0o700)
        remove_tree(self.plan.own_disks_dir)  # of a lab that ended with the machine
        try:
            keeper = self._group.below("keeper")
            keeper.make()
            pid, started = spawn_keeper(keeper, self.plan.run_dir / "keeper.log")
            record = Record(pid, started, str(self.plan.inventory_dir), str(base))
            space = Space(record)
            lay_bridge(space)
            for host in self.plan.hosts:
                lay_cable(space, host)
            make_keys(self.plan)
            write_record(self.plan.state_file, record)
        except BaseException:
            self.down()
            raise
        return record

    def _mine(self, record: Record) -> None:
        if record.inventory != str(self.plan.inventory_dir):
            raise LabError(
                f"the lab {self.plan.name} is up for the inventory {record.inventory}; take it down there, "
                "or set QLUSTER_LAB_NAME for a second lab"
            )

    def down(self) -> None:
        """No process, mount, interface or file of the lab is left, whatever state it was in."""
        if os.getpid() in self._group.processes():
            raise LabError("this command runs inside the lab and would end itself; run it outside of `exec`")
        inventory = self.plan.inventory_dir
        try:
            record = read_record(self.plan.state_file)
        except LabError as error:
            self._tell(str(error))
            record = None
        if record is not None:
            inventory = Path(record.inventory)
        self._group.kill()
        self._group.remove()
        remove_tree(self.plan.own_disks_dir)
        remove_inventory(self.plan, inventory)
        remove_tree(self.plan.run_dir)
        _remove_empty(self.plan.disks_dir)

    # -- one host, some cables ---------------------------------------------------------------------

    def record(self) -> Record:
        """What is known of the lab that is up."""
        record = read_record(self.plan.state_file)
        if record is None:
            raise LabError(f"the lab {self.plan.name} is not up; `lab/lab.py up` brings it up")
        if not record.keeper_lives():
            raise LabError(f"the lab {self.plan.name} crashed; `lab/lab.py up` clears it away first")
        return record

    def machine(self, name: str) -> Machine:
        return self._machine(Space(self.record()), self.plan.host(name))

    def _machine(self, space: Space, host: Host) -> Machine:
        return Machine(self.plan, space, self._group, host)

    def start(self, name: str, *, bare: bool, wait: bool) -> None:
        record = self.record()
        machine = self._machine(Space(record), self.plan.host(name))
        if machine.paused():
            raise LabError(f"{name} is paused; `resume {name}` lets it go on")
        if not machine.running():
            if bare:
                machine.discard_disk()
            machine.switch_on(Path(record.base))
        elif bare:
            raise LabError(f"{name} runs; `kill {name}` first, then start it with a bare disk")
        if wait:
            machine.wait_ready()

    def add_fault(self, fault: Fault) -> None:
        """Add the fault; one between the same hosts and the same way is replaced."""
        record = self.record()
        same = (fault.host, fault.peer, fault.way)
        kept = [old for old in record.faults if (old.host, old.peer, old.way) != same]
        self._put_faults(record, [*kept, fault])

    def heal(self, names: Iterable[str]) -> None:
        """Undo all faults, or those that concern the named hosts; cables are put in again."""
        record, wanted = self.record(), list(names)
        left = [old for old in record.faults if wanted and not any(old.concerns(name) for name in wanted)]
        self._put_faults(record, left)
        for name in wanted or [host.name for host in self.plan.hosts]:
            plug(Space(record), self.plan.host(name), True)

    def _put_faults(self, record: Record, faults: list[Fault]) -> None:
        apply_faults(Space(record), self.plan, faults)
        record.faults = faults
        write_record(self.plan.state_file, record)

    def unplug(self, name: str) -> None:
        plug(Space(self.record()), self.plan.host(name), False)

    def unplugged(self, name: str) -> bool:
        return unplugged(Space(self.record()), self.plan.host(name))

    def become(self, command: list[str]) -> NoReturn:
        """Turn this process into a command on the lab's network."""
        os.environ["QLUSTER_LAB_NAME"] = self.plan.name
        Space(self.record()).become(command, self._group.below("exec"))


def _remove_empty(folder: Path) -> None:
    try:
        folder.rmdir()
    except OSError:
        return  # another lab's disks are in it, or it never was there
