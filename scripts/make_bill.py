"""A vendor's bill for the demo: our own records of a month (CSV on standard input), with six mistakes planted.

    make_bill.py BILL PLANTED

BILL is the bill, PLANTED what is to be found in it: JSON, [[request_id, class], …] with the classes of
docs/reconciliation.md.
"""

import csv
import json
import sys
from decimal import Decimal

# What we know of a call and a bill does not say: of these two the class of a wrong count depends.
OURS = ("usage_source", "finish_reason")

rows = list(csv.DictReader(sys.stdin))
if len(rows) < 500:
    sys.exit(f"{len(rows)} records are too few for a bill with mistakes")
said, planted = [], []


def plant(request_id: str, cls: str, what: str) -> None:
    planted.append([request_id, cls])
    said.append(f"{request_id}: {what}")


# Of calls that cost something and were counted by the vendor to their end, far from each other.
dear, longer, cached, twice, unknown, left_out = [
    row
    for row in rows
    if Decimal(row["amount"]) > 0
    and int(row["input_tokens"]) > 0
    and row["usage_source"] == "reported"
    and row["finish_reason"] in ("stop", "length", "tool_calls")
][5:65:10]
dear["amount"] = str(Decimal(dear["amount"]) * Decimal("1.1"))
plant(dear["request_id"], "price_version", "charged a tenth more")
longer["output_tokens"] = str(int(longer["output_tokens"]) + 1000)
plant(longer["request_id"], "token_count", "1,000 output tokens more")
cached["cached_tokens"] = str(int(cached["cached_tokens"]) + int(cached["input_tokens"]))
cached["input_tokens"] = "0"
plant(cached["request_id"], "token_class", "new input billed as cached, at the old amount")
plant(twice["request_id"], "duplicate", "billed twice")
unknown = dict(unknown, request_id="chatcmpl-of-nobody")
plant("chatcmpl-of-nobody", "missing_at_ours", "a call that nobody made")
plant(left_out["request_id"], "missing_at_theirs", "left out")
rows = [row for row in rows if row is not left_out] + [dict(twice), unknown]
with open(sys.argv[1], "w", encoding="utf-8", newline="") as file:
    bill = csv.DictWriter(file, [name for name in rows[0] if name not in OURS], extrasaction="ignore")
    bill.writeheader()
    bill.writerows(rows)
with open(sys.argv[2], "w", encoding="utf-8") as file:
    json.dump(planted, file)
print(f"a bill of {len(rows)} lines, six of them wrong:")
print("\n".join(f"  {line}" for line in said))
