"""QRaft: who leads, what is committed, who is a member."""
# SPDX-License-Identifier: GPL-3.0-or-later
