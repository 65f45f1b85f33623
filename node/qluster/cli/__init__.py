"""The command line: words in, text and an exit code out."""
# SPDX-License-Identifier: GPL-3.0-or-later
