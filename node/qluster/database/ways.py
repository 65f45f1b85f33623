"""How a database that is followed or copied is reached: as whom, under which name, by which slot.

It must not know whether it answers.

Inside the cluster that is the superuser, the node's own name and the node's own slot. Outside it is whatever the
operator says, and never the name of a node: there a node of the same name may be one for whom transactions wait.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from dataclasses import dataclass, field

from qluster.config import Database
from qluster.database.orders import Terms
from qluster.database.settings import connection_text
from qluster.database.slots import slot_name
from qluster.events import Address


@dataclass(frozen=True, slots=True)
class Way:
    """The way to one database."""

    address: Address
    user: str
    password_file: str
    name: str
    """The name under which its server sees this node."""
    slot: str
    """The slot there; "" for none."""
    ca_file: str = ""
    """Who issued its certificate; "": it is not verified."""
    outside: bool = False
    more: dict[str, str] = field(default_factory=dict)
    """Fields of the connection beside the usual ones."""

    def connection_text(self, pass_file: str, suffix: str = "") -> str:
        """For libpq; ``suffix`` tells apart what this node does there."""
        return connection_text(self.address, self.user, self.name + suffix, pass_file, self.more)


def way_to(database: Database, address: Address, terms: Terms) -> Way:
    """How this node reaches the database at an address."""
    outside = terms.outside
    if outside is None or address not in outside.addresses:
        return Way(address, database.superuser, database.password_file, terms.name, slot_name(terms.name))
    ca_file = database.standby_ca_file or ""
    return Way(
        address,
        database.standby_user or database.superuser,
        database.standby_password_file or database.password_file,
        f"{outside.name}.{terms.name}",
        outside.slot,
        ca_file,
        True,
        {"sslmode": "verify-full", "sslrootcert": ca_file} if ca_file else {},
    )
