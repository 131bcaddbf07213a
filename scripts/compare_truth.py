"""Compares usage_events with what `tally generate` says must have come out of it, model by model.

    compare_truth.py ROWS TRUTH…     ROWS is `tally sql --format json` of a row for each vendor and model with events, ids
                                     (distinct ones), and tokens by class; the truths are summed

What was sent twice because a door went away in between is in neither: duplicates are not rows. Exit 1 where they differ.
"""

import json
import sys
from collections import defaultdict
from pathlib import Path

CLASSES = ("input", "cached_input", "output")


def main() -> int:
    stored = {
        (row["vendor"], row["model"]): tuple(int(row[key] or 0) for key in ("events", "ids", *CLASSES))
        for row in json.loads(Path(sys.argv[1]).read_text())
    }
    sums = defaultdict(lambda: [0] * (2 + len(CLASSES)))
    for path in sys.argv[2:]:
        for row in json.loads(Path(path).read_text())["by_model"]:
            of_model = sums[(row["vendor"], row["model"])]
            counts = [row["events"], row["events"], *(int(row["tokens"].get(name, 0)) for name in CLASSES)]
            of_model[:] = [one + more for one, more in zip(of_model, counts)]
    wrong = [key for key in sorted(stored.keys() | sums.keys()) if stored.get(key) != tuple(sums.get(key, ()))]
    for key in wrong[:5]:
        print(f"{key}: stored {stored.get(key)}, true {sums.get(key)} (events, ids, {', '.join(CLASSES)})", file=sys.stderr)
    events = sum(counts[0] for counts in sums.values())
    if wrong or not events:
        print(f"{len(wrong)} of {len(sums)} models differ from the truth")
        return 1
    print(f"{events} accepted events of {len(sums)} models are in usage_events exactly once, to the token")
    return 0


if __name__ == "__main__":
    sys.exit(main())
