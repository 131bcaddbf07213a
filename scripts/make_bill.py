"""A vendor's bill for the demo: our own records of a month (CSV on standard input), with six mistakes planted.

    make_bill.py BILL
"""

import csv
import sys
from decimal import Decimal

rows = list(csv.DictReader(sys.stdin))
if len(rows) < 500:
    sys.exit(f"{len(rows)} records are too few for a bill with mistakes")
said = []


def plant(row: dict, what: str, **changes: str) -> None:
    row.update(changes)
    said.append(f"{row['request_id']}: {what}")


# Of calls that cost something, far from each other.
dear, longer, cached, twice, unknown, left_out = [
    row for row in rows if Decimal(row["amount"]) > 0 and int(row["input_tokens"]) > 0
][5:65:10]
plant(dear, "charged a tenth more", amount=str(Decimal(dear["amount"]) * Decimal("1.1")))
plant(longer, "1,000 output tokens more", output_tokens=str(int(longer["output_tokens"]) + 1000))
new = int(cached["input_tokens"])
plant(cached, "new input billed as cached, at the old amount", input_tokens="0",
      cached_tokens=str(int(cached["cached_tokens"]) + new))
said.append(f"{twice['request_id']}: billed twice")
unknown = dict(unknown, request_id="chatcmpl-of-nobody")
said.append("chatcmpl-of-nobody: a call that nobody made")
said.append(f"{left_out['request_id']}: left out")
rows = [row for row in rows if row is not left_out] + [dict(twice), unknown]
with open(sys.argv[1], "w", encoding="utf-8", newline="") as file:
    bill = csv.DictWriter(file, rows[0].keys())
    bill.writeheader()
    bill.writerows(rows)
print(f"a bill of {len(rows)} lines, six of them wrong:")
print("\n".join(f"  {line}" for line in said))
