"""Play many seeds of the small worlds: ``python -m tasks --seeds 0-999``; a seed that fails prints its story."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import argparse
import logging
import sys
import time
import traceback
from collections import Counter

from tasks.small_plays import play, siege
from tasks.small_world import SmallWorld

STORY_LINES = 80


def main() -> int:
    """Play the seeds; 1 when one failed."""
    parser = argparse.ArgumentParser(description="play tasks in small worlds")
    parser.add_argument("--seeds", default="0-199", help="one seed, or FIRST-LAST")
    parser.add_argument("--sieges", action="store_true", help="sieges instead of plays")
    chosen = parser.parse_args()
    first, _, last = chosen.seeds.partition("-")
    seeds = range(int(first), int(last or first) + 1)
    logging.disable(logging.CRITICAL)
    began, injected, failed = time.monotonic(), Counter[str](), list[int]()
    for seed in seeds:
        world = SmallWorld(seed)
        try:
            world = (siege if chosen.sieges else play)(seed, world)
        except AssertionError:
            failed.append(seed)
            if len(failed) <= STORIES:
                print(f"--- seed {seed}\n" + "\n".join(world.story[-STORY_LINES:]))
                print(traceback.format_exc(limit=-4))
        injected.update(world.injected)
    print(f"{len(seeds)} {'sieges' if chosen.sieges else 'plays'} in {time.monotonic() - began:.1f} s, "
          f"{len(failed)} failed: {' '.join(map(str, failed)) or '-'}")  # fmt: skip
    print("injected: " + ", ".join(f"{name} {count}" for name, count in sorted(injected.items())))
    return 1 if failed else 0


STORIES = 3
"""Stories that are told in full."""


if __name__ == "__main__":
    sys.exit(main())
