"""What a daemon does not load, tried in a process of its own."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import qluster
import trustme

NODE = str(Path(qluster.__file__).parent.parent)


def said(program: str, **environment: str) -> str:
    """What a fresh Python prints after it has loaded the daemon."""
    return subprocess.run(
        [sys.executable, "-c", f"import qluster.daemon\n{program}"], check=True, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": NODE, **environment}, timeout=60,
    ).stdout.strip()  # fmt: skip


def test_a_host_without_database_and_pool_spares_the_driver() -> None:
    loaded = said("import sys; print(*sys.modules)").split()
    assert "qluster.edge.rest" in loaded
    assert [name for name in loaded if name.startswith(("asyncpg", "qluster.edge.postgres.", "qluster.edge.pooler"))] \
        == ["qluster.edge.postgres.failure"]


def test_no_context_holds_the_authorities_of_the_host(tmp_path: Path) -> None:
    """With a host's bundle in place, every context that importing left behind is empty, and children see the bundle."""
    bundle = tmp_path / "bundle.pem"
    trustme.CA().cert_pem.write_to_path(str(bundle))
    counts = "[one.cert_store_stats()['x509'] for one in gc.get_objects() if isinstance(one, ssl.SSLContext)]"
    held = said(f"import gc, os, ssl; print(os.environ['SSL_CERT_FILE'], {counts})", SSL_CERT_FILE=str(bundle))
    place, _, found = held.partition(" ")
    assert place == str(bundle)
    assert found.startswith("[0"), "aiohttp keeps a context, or this test sees none"
    assert set(found.strip("[]").split(", ")) == {"0"}
