"""The vote arithmetic of votequorum: who is quorate in a membership, and why. Pure."""
# SPDX-License-Identifier: GPL-3.0-or-later
