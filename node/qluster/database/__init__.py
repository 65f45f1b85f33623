"""What this node's database should do next."""
# SPDX-License-Identifier: GPL-3.0-or-later
