"""The arbiter's protocol (corosync's qnetd, version 3): its messages, its rules, and what its tools print.

Must not know how bytes travel, what time it is, or that QLUSTER has a log: a cluster of corosync and one of
ours are the same to it.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
