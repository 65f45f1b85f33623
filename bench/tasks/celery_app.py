"""The peer's tasks: what a worker of Celery imports.

Must not know who submits them.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import subprocess
from typing import Any

from celery import Celery  # type: ignore[import-untyped]


def make(broker: str) -> Any:
    """The application, for client and worker alike."""
    app = Celery("bench", broker=broker, backend=broker)
    app.conf.update(
        task_serializer="json", accept_content=["json"], result_serializer="json", broker_connection_retry=False,
        # A task is taken back from a worker that died, as the product does it by itself.
        task_acks_late=True, task_reject_on_worker_lost=True, worker_prefetch_multiplier=1,
    )  # fmt: skip

    @app.task(name="bench.run", shared=False)  # type: ignore[untyped-decorator]
    def run(words: list[str]) -> str:
        """Run a program; what it says."""
        return subprocess.run(words, capture_output=True, text=True, check=True).stdout

    return app


if broker := os.environ.get("QLUSTER_BENCH_BROKER"):
    app = make(broker)
