"""Compares a re-rate with the rows it was made of and the oracle of rating, without any of Tally's code.

delta-rs' Python wheel reads the Delta log, DuckDB the Parquet files; every event is rated again by `rating_oracle`, by
the book known at KNOWN_AT. FILE is what `tally settle rerate --json` printed for a vendor that is paid by price list in
yuan. Each event must be of one class, so that the oracle's amount is that of a line. Exit codes: 0 all holds, 1 a check
failed, 2 usage.

    check_rerate.py STORE KNOWN_AT FILE
"""

import argparse
import json
import sys
import tempfile
from collections import defaultdict
from decimal import ROUND_HALF_EVEN, Decimal, localcontext
from pathlib import Path

import duckdb

import rating_oracle
from check_statements import DAY, HUNDREDTH, month_bounds
from check_tables import CLASSES, Store, Table


class Sum:
    """What a line comes to, as stored and now."""

    def __init__(self) -> None:
        self.events, self.units, self.before, self.after = 0, 0, Decimal(0), Decimal(0)

    def row(self) -> list[str]:
        """For comparison, with the difference rounded once."""
        difference = (self.after - self.before).quantize(HUNDREDTH, ROUND_HALF_EVEN)
        return [str(self.events), str(self.units), f"{self.before:.12f}", f"{self.after:.12f}", str(difference)]


def billed(event: dict, known_at: str | None) -> str:
    """The model that the event is billed as, by the oracle."""
    moment = rating_oracle.instant(event["completed_at"])
    alias = rating_oracle.alias_of(event["model"], moment, known_at and rating_oracle.instant(known_at))
    return alias.billed_model if alias else event["model"]


def amount(event: dict, known_at: str | None) -> Decimal:
    """What the event costs, by the oracle."""
    rated = rating_oracle.rate(event, known_at)
    if rated["suspense"]:
        raise SystemExit(f"the oracle holds back {event}: {rated['suspense']}")
    return Decimal(rated["wholesale_amount"])


def main() -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store")
    parser.add_argument("known_at")
    parser.add_argument("file", type=Path)
    options = parser.parse_args()
    printed = json.loads(options.file.read_text(encoding="utf-8"))
    first, end = month_bounds(printed["period"])
    failures = []
    with tempfile.TemporaryDirectory() as scratch, duckdb.connect() as database, localcontext() as context:
        context.prec = 60
        Table(Store(options.store, Path(scratch)), "usage_events", database)
        rows = database.sql(f"""SELECT model, billed_model, service_tier, epoch_ms(completed_at), wholesale_price_ids,
            wholesale_amount, {", ".join(CLASSES)} FROM usage_events
            WHERE vendor = '{printed["vendor"]}' AND {DAY} >= DATE '{first}' AND {DAY} < DATE '{end}'""").fetchall()
        lines: dict[tuple[str, str, str], Sum] = defaultdict(Sum)
        changed = 0
        for model, billed_model, tier, completed_at, price, stored, *counts in rows:
            usage = {class_: n for class_, n in zip(CLASSES, counts, strict=True) if n and class_ != "requests"}
            event = {"model": model, "vendor": printed["vendor"], "service_tier": tier, "completed_at": completed_at,
                     "usage": usage}  # fmt: skip
            (class_, units), = usage.items()
            if amount(event, None) != stored or billed(event, None) != billed_model:
                failures.append(f"{event} is stored as {billed_model} at {stored}")
            if billed(event, options.known_at) == billed_model:
                continue
            changed += 1
            line = lines[billed_model, class_, price]
            line.events, line.units = line.events + 1, line.units + units
            line.before, line.after = line.before + stored, line.after + amount(event, options.known_at)
    expected = {" ".join(key): line.row() for key, line in lines.items()}
    found = {f"{line['model']} {line['class']} {line['price_before']}":
             [str(line["events"]), line["units"], line["before"], line["after"], line["difference"]]
             for section in printed["sections"] for line in section["lines"]}  # fmt: skip
    if found != expected:
        failures.append(f"lines: {found}, the oracle: {expected}")
    whole = sum((line.after - line.before for line in lines.values()), Decimal(0))
    total = sum((Decimal(section["difference"]) for section in printed["sections"]), Decimal(0))
    if total != whole.quantize(HUNDREDTH, ROUND_HALF_EVEN):
        failures.append(f"in all {total}, the oracle: {whole}")
    if (printed["events"], printed["events_changed"]) != (len(rows), changed):
        failures.append(f"{printed['events']} events, {printed['events_changed']} change: {len(rows)}, {changed}")
    print("\n".join(failures) or f"{len(rows)} events, {changed} change, {len(expected)} lines", file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
