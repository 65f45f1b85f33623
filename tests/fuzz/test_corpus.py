"""The inputs that fuzzing kept, replayed without the fuzzer; and what it found, which must not come back."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from fuzz.targets import CORPUS, KEPT_SIZE_MAX, TARGETS, kept, runner

CORPUS_SIZE_MAX = 1024 * 1024


@pytest.mark.parametrize("name", TARGETS)
def test_kept_inputs_are_borne(name: str) -> None:
    inputs = kept(name)
    assert inputs, f"no inputs of {name} are kept: `make fuzz TARGET={name}`, then `python -m fuzz {name} --keep`"
    run = runner(name)
    for content in inputs:
        run(content)


@pytest.mark.parametrize("name", TARGETS)
def test_empty_and_extreme_inputs_are_borne(name: str) -> None:
    run = runner(name)
    for content in (b"", b"\0", b"\xff", bytes(256), b"\xff" * 256, bytes(range(256)), bytes(range(255, -1, -1))):
        run(content)


def test_kept_inputs_are_small_and_differ() -> None:
    files = [path for path in CORPUS.iterdir() if path.is_file()]
    assert sum(path.stat().st_size for path in files) < CORPUS_SIZE_MAX
    assert {path.stem for path in files} == set(TARGETS)
    for name in TARGETS:
        inputs = kept(name)
        assert len(set(inputs)) == len(inputs)
        assert max(map(len, inputs)) <= KEPT_SIZE_MAX
