"""A statement in CSV as a table for people, for the demo: its largest lines, and the total.

    show_statement.py FILE LINES
"""

import csv
import sys
from decimal import Decimal

with open(sys.argv[1], encoding="utf-8-sig", newline="") as file:
    rows = list(csv.DictReader(file))
lines = [row for row in rows if row["part"] == "line"]
rest = [row for row in rows if row["part"] not in ("header", "line")]
header = {row["id"]: list(row.values())[-1] for row in rows if row["part"] == "header"}
print(f"{header['vendor']}, {header['period']}, {header['status']}, hash {header['hash'][:16]}…")


def show(row: dict) -> None:
    tier = "" if row["service_tier"] == "standard" else f" ({row['service_tier']})"
    of = "" if row["supplier"] in ("", header["vendor"]) else f" of {row['supplier']}"
    what = f"{row['model']} {row['class']}{tier}{of}" if row["part"] == "line" else f"{row['part']} {row['id']}"
    units = f"{int(row['units']):,}" if row["units"] else ""
    print(f"  {what[:38]:38} {row['unit_price_per_million']:>12} {units:>14} {row['net']:>12} {row['tax']:>10} {row['gross']:>12}")


print(f"  {'':38} {'per million':>12} {'units':>14} {'net':>12} {'tax':>10} {'gross':>12}")
for row in sorted(lines, key=lambda row: Decimal(row["gross"]), reverse=True)[: int(sys.argv[2])]:
    show(row)
print(f"  … {len(lines)} lines")
for row in rest:
    if row["gross"] or row["net"]:
        show(row)
