"""Compares what `tally settle reconcile` found in the demo's bill with what make_bill.py planted in it: exactly that,
each under its class.

    check_bill.py PLANTED FOLDER
"""

import json
import sys
from pathlib import Path

planted = sorted(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
differences = json.loads((Path(sys.argv[2]) / "differences.json").read_text(encoding="utf-8"))
found = sorted([row["request_id"], row["class"]] for row in differences)
lines = [f"planted and not found: {request_id} as {cls}" for request_id, cls in planted if [request_id, cls] not in found]
lines += [f"found and not planted: {request_id} as {cls}" for request_id, cls in found if [request_id, cls] not in planted]
if found != planted:
    sys.exit("\n".join(lines or [f"{len(found)} differences were found, {len(planted)} planted"]))
print(f"all {len(planted)} mistakes were found, each under its class, and nothing else")
