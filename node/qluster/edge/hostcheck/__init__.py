"""What of a configuration does not fit this host, as sentences; nothing is changed.

It must not decide what a good value is: that is the configuration's own check, made before.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from qluster.config import Config

from . import agents, arbiter, certificates, directories, network, secrets


def findings(config: Config, *, starting: bool = False) -> list[str]:
    """Everything that is wrong between ``config`` and this host, one sentence each.

    ``starting``: this very process is about to run the node. Then its user and its rights count,
    and what will only make trouble later does not.
    """
    return [
        *network.findings(config, starting),
        *secrets.findings(config),
        *certificates.findings(config, starting),
        *directories.findings(config, starting),
        *arbiter.findings(config, starting),
        *agents.findings(config, starting),
    ]


__all__ = ["findings"]
