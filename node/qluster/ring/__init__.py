"""Who is in a ring with whom: a membership on which its members agree without a leader. Pure."""
# SPDX-License-Identifier: GPL-3.0-or-later
