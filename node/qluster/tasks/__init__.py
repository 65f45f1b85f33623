"""Tasks: what the cluster is to run, where, and what came of it."""
# SPDX-License-Identifier: GPL-3.0-or-later
