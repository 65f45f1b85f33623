"""Coverage-guided fuzzing of one target or of all in turn: ``python -m fuzz node --seconds 600``.

What is found stands in ``.cache/fuzz/TARGET``: a file ``crash-*`` or ``timeout-*`` is an input, and
``python -m fuzz TARGET --replay FILE`` runs it alone, without the fuzzer. ``--keep`` takes the smallest inputs
that cover what this machine has reached over into ``tests/fuzz/corpus``, which the unit stage replays.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

from fuzz.targets import TARGETS, keep, kept, runner

FOUND = Path(".cache") / "fuzz"
INPUT_SIZE_MAX = 2048
"""Longer rows of events only repeat themselves."""
SLOW_SECONDS = 20
"""An input that takes longer has found an endless loop."""
MEMORY_MIB = 2048


def main() -> int:
    """Fuzz, or replay, or keep."""
    chosen = _arguments()
    if chosen.replay:
        for path in chosen.replay:
            runner(chosen.target)(Path(path).read_bytes())
        return 0
    if chosen.inside:
        _fuzz(chosen.target, chosen.inside)
        return 0
    names = list(TARGETS) if chosen.target == "all" else [chosen.target]
    if chosen.keep:
        return max(_keep(name) for name in names)
    return max(_supervise(name, chosen.seconds) for name in names)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="fuzz", description=__doc__.splitlines()[0])
    parser.add_argument("target", choices=[*TARGETS, "all"])
    parser.add_argument("--seconds", type=int, default=60, help="for each target")
    parser.add_argument("--replay", nargs="+", metavar="FILE", help="run these inputs alone")
    parser.add_argument("--keep", action="store_true", help="renew the kept inputs")
    parser.add_argument("--inside", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    return parser.parse_args()


def _supervise(name: str, seconds: int) -> int:
    """The fuzzer ends its process, so each target has one of its own."""
    # Not above: whatever is imported before the fuzzer instruments it shows no coverage.
    from fuzz.seeds import seeds

    found = FOUND / name
    found.mkdir(parents=True, exist_ok=True)
    for number, content in enumerate([*seeds(name), *kept(name)]):
        (found / f"seed-{number}").write_bytes(content)
    print(f"--- {name}: {TARGETS[name]} ({seconds} s)", flush=True)
    return _call(
        name, str(found), f"-artifact_prefix={found}/", f"-max_total_time={seconds}",
        f"-max_len={INPUT_SIZE_MAX}", f"-timeout={SLOW_SECONDS}", f"-rss_limit_mb={MEMORY_MIB}",
        "-print_final_stats=1",
    )  # fmt: skip


def _call(name: str, *arguments: str) -> int:
    return subprocess.run([sys.executable, "-m", "fuzz", name, "--inside", *arguments], check=False).returncode


def _fuzz(name: str, arguments: list[str]) -> None:
    import atheris

    with atheris.instrument_imports(include=["qluster"]):
        run = runner(name)
    # To merge, the fuzzer starts itself anew by this command.
    atheris.Setup([f"{sys.executable} -m fuzz {name} --inside", *arguments], run)
    atheris.Fuzz()


def _keep(name: str) -> int:
    """The fewest inputs that reach everything, and of those the smallest."""
    merged = FOUND / f"{name}.merged"
    shutil.rmtree(merged, ignore_errors=True)
    merged.mkdir(parents=True)
    code = _call(name, "-merge=1", str(merged), str(FOUND / name))
    if code:
        return code
    inputs = [path.read_bytes() for path in merged.iterdir()]
    if not inputs:
        print(f"{name}: nothing was reached; run the fuzzer first", file=sys.stderr)
        return 1
    print(f"{name}: {keep(name, inputs)} of {len(inputs)} inputs kept")
    return 0


if __name__ == "__main__":
    sys.exit(main())
