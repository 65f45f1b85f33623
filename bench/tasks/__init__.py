"""What tasks cost: submission, start, history, failover; beside Celery with Redis."""
# SPDX-License-Identifier: GPL-3.0-or-later
