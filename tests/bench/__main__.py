"""`make bench`: every benchmark of this folder, or those that are named: `make bench ARGS="smtp audit"`.

Each `bench_NAME.py` has a `run()` that prints its figures as ratios against a baseline which it names and
measures in the same run. A figure is a fact about one machine at one time: nothing here passes or fails.
"""

from __future__ import annotations

import importlib
import sys
import time
from pathlib import Path

FOLDER = Path(__file__).parent
NAMES = [path.stem.removeprefix("bench_") for path in sorted(FOLDER.glob("bench_*.py"))]


def main(wanted: list[str]) -> int:
    unknown = set(wanted) - set(NAMES)
    if unknown:
        print(
            f"no benchmark named {', '.join(sorted(unknown))}; there are {', '.join(NAMES)}", file=sys.stderr
        )
        return 2
    for name in wanted or NAMES:
        print(f"\n== {name} ==", flush=True)
        began = time.perf_counter()
        importlib.import_module(f"tests.bench.bench_{name}").run()
        print(f"({time.perf_counter() - began:.0f} s)", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
