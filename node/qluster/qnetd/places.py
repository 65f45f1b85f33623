"""Where the arbiter's files are when nobody says otherwise.

It must not import anything: the tool is to answer at once.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

ETC = "/etc/qluster-qnetd"
CONFIG = f"{ETC}/qnetd.yaml"
SOCKET = "/run/qluster-qnetd/qnetd.sock"
