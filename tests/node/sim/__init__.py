"""Whole clusters in one process: the real node, a simulated world, time under control."""
# SPDX-License-Identifier: GPL-3.0-or-later
