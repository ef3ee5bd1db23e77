"""`python -m benchmarks`: measure, print, and write a tidy JSON file."""

import argparse
import json
import sys
from pathlib import Path

from benchmarks.suite import PAPER, QUICK, SUITE
from icrl_flax._files import write_atomically
from icrl_flax.experiments.run import environment


def main(arguments: list[str] | None = None) -> int:
    """Run all parts, or those named; a file that is there keeps its other parts."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--out", type=Path, help="JSON file; its other parts are kept")
    parser.add_argument("--quick", action="store_true", help="a few seconds, for tests")
    parser.add_argument("--only", nargs="+", choices=SUITE, default=list(SUITE), help="parts")
    options = parser.parse_args(arguments)
    scale = QUICK if options.quick else PAPER
    record = {
        "scale": json.loads(json.dumps(scale._asdict())),
        "environment": environment(),
        "parts": {},
    }
    if options.out is not None and options.out.exists():
        before = json.loads(options.out.read_text(encoding="utf-8"))
        for key in ("scale", "environment"):
            if before[key] != record[key]:
                print(f"error: {options.out} has another {key}", file=sys.stderr)
                return 2
        record["parts"] = before["parts"]
    if options.out is not None:
        options.out.parent.mkdir(parents=True, exist_ok=True)
    for part in options.only:
        rows = []
        for row in SUITE[part](scale):
            rows.append(row)
            ratio = "" if row["ratio"] is None else f"{row['ratio']:8.0f} times eager"
            print(
                f"{row['name']:<37} {row['rule']:<13} {row['value']:10.4g} "
                f"{row['unit']:<21} {ratio}",
                flush=True,
            )
        record["parts"][part] = rows
        if options.out is not None:
            text = json.dumps(record, indent=1, ensure_ascii=False) + "\n"
            write_atomically(options.out, lambda path, text=text: path.write_text(text, "utf-8"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
