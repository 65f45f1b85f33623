"""What the log means: settings, reigns, expected nodes; and what members tell each other beside it."""
# SPDX-License-Identifier: GPL-3.0-or-later
