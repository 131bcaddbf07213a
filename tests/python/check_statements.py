"""Compares statements with the rows they were made of, without any of Tally's code.

delta-rs' Python wheel reads the Delta log, DuckDB the Parquet files; amounts are `decimal.Decimal`. Each FILE is what
`tally settle statement --format json` printed. With --sealed, rows of earlier months count from behind the cut-offs of
that statement on. Exit codes: 0 all holds, 1 a check failed, 2 usage.

    check_statements.py STORE FILE... [--sealed FILE]
"""

import argparse
import json
import sys
import tempfile
from datetime import date
from decimal import Decimal, localcontext
from pathlib import Path
from typing import Any

import duckdb

from check_tables import CLASSES, Store, Table

HUNDREDTH = Decimal("0.01")
# The day of a call in Asia/Shanghai, from its end and not from the column that says so.
DAY = "(DATE '1970-01-01' + CAST((epoch_ms(completed_at) + 28800000) // 86400000 AS INTEGER))"


def month_bounds(period: str) -> tuple[date, date]:
    """First day of a month, and the day after its last."""
    year, month = map(int, period.split("-"))
    return date(year, month, 1), date(year + month // 12, month % 12 + 1, 1)


def within(cut_offs: list[dict[str, int]]) -> str:
    """The condition that a row's epoch counts."""
    cases = " ".join(f"WHEN {cut['partition']} THEN {cut['epoch']}" for cut in cut_offs)
    return f"epoch <= CASE kafka_partition {cases} ELSE -1 END" if cases else "false"


def amount(value: Any) -> Decimal:
    """A sum that may be absent."""
    return Decimal(value) if value is not None else Decimal(0)


class Statement:
    """One printed statement and the rows behind it."""

    def __init__(self, path: str, sealed: list[dict[str, int]] | None, events: Table) -> None:
        printed = json.loads(Path(path).read_text(encoding="utf-8"))
        self.path, self.body, self.events = path, printed["statement"], events
        first, end = month_bounds(self.body["period"])
        counted = f"vendor = '{self.body['vendor']}' AND {within(printed['cut_offs'])}"
        self.own = f"{counted} AND {DAY} >= DATE '{first}' AND {DAY} < DATE '{end}'"
        late = f"{counted} AND {DAY} < DATE '{first}' AND NOT ({within(sealed or [])})"
        self.late = late if sealed is not None else "false"
        self.failures: list[str] = []

    def same(self, what: str, ours: Any, rows: Any) -> None:
        """Notes a difference."""
        if ours != rows:
            self.failures.append(f"{self.path}: {what}: the statement has {ours}, the rows have {rows}")

    def check(self) -> list[str]:
        """Every difference."""
        control = self.body["control"]
        either = f"(({self.own}) OR ({self.late}))"
        for key, rows in (("events", self.own), ("late_events", self.late)):
            count = self.events.select(f"SELECT count(*) FROM usage_events WHERE {rows}")[0][0]
            self.same(key, control[key], count)
        sums = ", ".join(f'coalesce(sum("{column}"), 0)' for column in CLASSES)
        row = self.events.select(f"SELECT {sums} FROM usage_events WHERE {either}")[0]
        units = {column: str(int(sum_)) for column, sum_ in zip(CLASSES, row, strict=True) if sum_}
        self.same("units", control["units"], units)
        for side in ("wholesale", "retail"):
            rows = self.events.select(f"SELECT {side}_currency, sum({side}_amount) FROM usage_events WHERE {either} "
                                      f"AND {side}_currency IS NOT NULL GROUP BY ALL")  # fmt: skip
            ours = {currency: Decimal(text) for currency, text in control[side].items()}
            self.same(side, ours, {currency: amount(sum_) for currency, sum_ in rows})
        self.check_lines()
        self.check_footing()
        return self.failures

    def check_lines(self) -> None:
        """Lines of a statement by price list are the month's rows, by model and class."""
        sections = self.body["sections"]
        # Nothing is owed by a share of no revenue: then there is no section at all.
        if not sections or any(section["form"] not in ("price_list", "cost_plus") for section in sections):
            return
        lines = [line for section in sections for line in section["lines"]]
        total = self.events.select(f"SELECT sum(wholesale_amount) FROM usage_events WHERE {self.own}")[0][0]
        self.same("listed", sum((Decimal(line["listed"]) for line in lines), Decimal(0)), amount(total))
        for model in {line["model"] for line in lines}:
            for column in {line["class"] for line in lines if line["model"] == model}:
                units = sum(int(line["units"]) for line in lines if (line["model"], line["class"]) == (model, column))
                rows = self.events.select(f'SELECT sum("{column}") FROM usage_events WHERE {self.own} '
                                          f"AND billed_model = '{model}'")  # fmt: skip
                self.same(f"{model} {column}", units, int(rows[0][0]))
        for line in lines:
            price = Decimal(line["unit_price_micro"]) * int(line["units"])
            self.same(f"line {line['id']}", Decimal(line["listed"]), price.scaleb(-12))

    def check_footing(self) -> None:
        """Lines, adjustments and rounding sum to the sections, the sections to the total."""
        for column in ("net", "tax", "gross"):
            for section in self.body["sections"]:
                rows = [row["amounts"] for row in section["lines"] + section["adjustments"]] + [section["rounding"]]
                parts = sum((Decimal(row[column]) for row in rows), Decimal(0))
                self.same(f"{section['terms']} {column}", Decimal(section["total"][column]), parts)
                self.same("hundredths", parts, parts.quantize(HUNDREDTH))
            sections = sum((Decimal(section["total"][column]) for section in self.body["sections"]), Decimal(0))
            self.same(f"total {column}", Decimal(self.body["total"][column]), sections)


def main() -> int:
    """Checks every statement."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("store")
    parser.add_argument("files", nargs="+")
    parser.add_argument("--sealed")
    options = parser.parse_args()
    sealed = json.loads(Path(options.sealed).read_text(encoding="utf-8"))["cut_offs"] if options.sealed else None
    failures: list[str] = []
    with tempfile.TemporaryDirectory() as scratch, localcontext() as context:
        context.prec = 100
        events = Table(Store(options.store, Path(scratch)), "usage_events", duckdb.connect())
        for path in options.files:
            failures += Statement(path, sealed, events).check()
    for failure in failures:
        print(failure, file=sys.stderr)
    if not failures:
        print(f"{len(options.files)} statements equal their rows")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
