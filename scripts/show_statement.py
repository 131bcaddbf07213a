"""A statement in CSV as a table for people, for the demo: its largest lines and adjustments, and the total.

    show_statement.py FILE LINES
"""

import csv
import sys
from decimal import Decimal

with open(sys.argv[1], encoding="utf-8-sig", newline="") as file:
    rows = list(csv.DictReader(file))
lines = [row for row in rows if row["part"] == "line"]
adjustments = [row for row in rows if row["part"] == "adjustment"]
rest = [row for row in rows if row["part"] not in ("header", "line", "adjustment")]
header = {row["id"]: list(row.values())[-1] for row in rows if row["part"] == "header"}
print(f"{header['vendor']}, {header['period']}, {header['status']}, hash {header['hash'][:16]}…")


def name(row: dict) -> str:
    if row["part"] not in ("line", "adjustment"):
        return row["part"]
    tier = "" if row["service_tier"] in ("", "standard") else f" ({row['service_tier']})"
    of = "" if row["supplier"] in ("", header["vendor"]) else f" of {row['supplier']}"
    reason = f"{row['reason']}: " if row["part"] == "adjustment" else ""
    return f"{reason}{row['model']} {row['class']}{tier}{of}"


def show(row: dict) -> None:
    units = f"{int(row['units']):,}" if row["units"] else ""
    print(f"  {name(row)[:38]:38} {row['unit_price_per_million']:>12} {units:>14} {row['net']:>12} {row['tax']:>10} {row['gross']:>12}")


def show_largest(rows: list[dict], count: int, what: str) -> None:
    for row in sorted(rows, key=lambda row: abs(Decimal(row["gross"])), reverse=True)[:count]:
        show(row)
    if len(rows) > count:
        print(f"  … {len(rows)} {what}")


print(f"  {'':38} {'per million':>12} {'units':>14} {'net':>12} {'tax':>10} {'gross':>12}")
show_largest(lines, int(sys.argv[2]), "lines")
show_largest(adjustments, 3, "adjustments")
for row in rest:
    if row["gross"] or row["net"]:
        show(row)
