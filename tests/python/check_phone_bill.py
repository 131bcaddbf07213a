"""Makes every phone bill of a store again from its rows, without any of Tally's code, and compares each record.

delta-rs' Python wheel reads the Delta log of `quota_ledger`, DuckDB the Parquet files; each row is put on a file, summed
and rounded here, in `decimal.Decimal`, by the rules of docs/phone-bill.md. Of the seals only what cannot follow from rows
is taken: up to which day, which epochs and which answers a file counts. Exit codes: 0 all holds, 1 a check failed, 2 usage.

    check_phone_bill.py STORE
"""

import argparse
import csv
import io
import json
import sys
import tempfile
from collections import defaultdict
from datetime import date, timedelta
from decimal import ROUND_HALF_UP, Decimal, localcontext
from pathlib import Path

import duckdb

from check_tables import Store, Table

HUNDREDTH = Decimal("0.01")
KINDS = {"grant": "package_fee", "top_up": "top_up", "payg": "payg", "refund": "refund"}
ORDER = list(KINDS.values())
FIELDS = ["record", "line", "first_line", "account", "kind", "package", "currency", "date", "rows", "points", "exact",
          "remainder_before", "amount", "remainder_after"]  # fmt: skip


def read_bills(store: Store) -> tuple[list[dict], list[list[list[str]]], list[dict]]:
    """Seals, the records of each file, and answers, each in its order."""
    paths = store.paths("phone-bill")
    seals = sorted(path for path in paths if path.endswith(".json") and "plan" not in path and "/returns/" not in path)
    answers = sorted(path for path in paths if "/returns/" in path)
    files = [path.removesuffix(".json") + ".csv" for path in seals]
    records = [list(csv.reader(io.StringIO(body.decode(), newline=""))) for body in store.read(files)]
    return [json.loads(body) for body in store.read(seals)], records, [json.loads(b) for b in store.read(answers)]


def read_rows(store: Store) -> list[tuple]:
    """Every row that is charged: key, day, points, amount, partition, epoch."""
    table = Table(store, "quota_ledger", duckdb.connect())
    day = '(epoch_ms("at") + 28800000) // 86400000'
    query = f"SELECT account, kind, coalesce(package, ''), currency, {day}, points, amount, kafka_partition, epoch FROM quota_ledger"
    rows = []
    for account, kind, package, currency, days, points, amount, partition, epoch in table.select(query):
        if kind in KINDS:
            on = date(1970, 1, 1) + timedelta(days=int(days))
            key = (account, ORDER.index(KINDS[kind]), package, currency)
            rows.append((key, on, points, amount, partition, epoch))
    return rows


def line_of(number: str, first: str, key: tuple, on: str, rest: tuple) -> list[str]:
    """The fields of a line record."""
    account, kind, package, currency = key
    rows, points, exact, before, amount, after = rest
    decimals = [f"{points:.6f}", f"{exact:.12f}", f"{before:.12f}", f"{amount:.2f}", f"{after:.12f}"]
    return ["D", number, first, account, ORDER[kind], package, currency, on, str(rows), *decimals]


class Bills:
    """Every file, made again in sequence."""

    def __init__(self, seals: list[dict], answers: list[dict], rows: list[tuple]) -> None:
        self.seals, self.answers, self.rows = seals, answers, rows
        self.remainders: dict[tuple, Decimal] = defaultdict(Decimal)
        self.lines: dict[int, list[list[str]]] = {}
        self.left, self.returns_from = rows, 0
        self.months: dict[str, list[list[str]]] = defaultdict(list)

    def daily(self, seal: dict) -> list[list[str]]:
        """Lines that come again, then what no file before had."""
        day, sequence = date.fromisoformat(seal["scope"]["day"]), seal["sequence"]
        cut_offs = {cut["partition"]: cut["epoch"] for cut in seal["cut_offs"]}
        lines = []
        counted = [answer for answer in self.answers if self.returns_from < answer["n"] <= seal["returns_to"]]
        rejected = [(answer["sequence"], line["number"]) for answer in counted for line in answer["rejected"]]
        for of, number in sorted(rejected):
            lines.append(["D", f"{sequence}-{len(lines) + 1}", *self.lines[of][number - 1][2:]])
        self.returns_from = seal["returns_to"]
        sums: dict[tuple, list] = defaultdict(lambda: [0, Decimal(0), Decimal(0)])
        later = []
        for row in self.left:
            key, on, points, amount, partition, epoch = row
            if on > day or epoch > cut_offs.get(partition, -1):
                later.append(row)
                continue
            of = sums[key, on]
            of[0], of[1], of[2] = of[0] + 1, of[1] + points, of[2] + amount
        self.left = later
        # The order of the bytes of names is that of their characters.
        for (key, on), (count, points, exact) in sorted(sums.items()):
            before = self.remainders[key]
            amount = (exact + before).quantize(HUNDREDTH, ROUND_HALF_UP)
            # No negative zero.
            amount = amount if amount else Decimal("0.00")
            after = exact + before - amount
            self.remainders[key] = after
            number = f"{sequence}-{len(lines) + 1}"
            line = line_of(number, number, key, on.isoformat(), (count, points, exact, before, amount, after))
            lines.append(line)
            self.months[day.isoformat()[:7]].append(line)
        return lines

    def monthly(self, seal: dict) -> list[list[str]]:
        """The sums of what the month's daily files had for the first time."""
        month, sums = seal["scope"]["month"], {}
        for line in self.months[month]:
            account, kind, package, currency = line[3:7]
            key = (account, ORDER.index(kind), package, currency)
            count, points, exact, before, amount, after = int(line[8]), *map(Decimal, line[9:])
            of = sums.setdefault(key, [0, Decimal(0), Decimal(0), before, Decimal(0), after])
            of[0], of[1], of[2], of[4], of[5] = of[0] + count, of[1] + points, of[2] + exact, of[4] + amount, after
        ids = (f"{seal['sequence']}-{number}" for number in range(1, len(sums) + 1))
        return [line_of(at, at, key, month, tuple(rest)) for at, (key, rest) in zip(ids, sorted(sums.items()), strict=True)]

    def make(self, seal: dict) -> list[list[str]]:
        """The lines of a file."""
        kind, sequence = seal["scope"]["kind"], seal["sequence"]
        if kind == "daily":
            lines = self.daily(seal)
        elif kind == "monthly":
            lines = self.monthly(seal)
        else:
            replaced = enumerate(self.lines[seal["scope"]["of"]], 1)
            lines = [["D", f"{sequence}-{number}", *line[2:]] for number, line in replaced]
        self.lines[sequence] = lines
        return lines


def trailers(lines: list[list[str]]) -> list[list[str]]:
    """Sums by currency and kind, and the trailer without its hash."""
    sums: dict[tuple, list] = defaultdict(lambda: [0, Decimal(0)])
    for line in lines:
        of = sums[line[6], ORDER.index(line[4])]
        of[0], of[1] = of[0] + 1, of[1] + Decimal(line[12])
    again = sum(line[1] != line[2] for line in lines)
    records = [["S", currency, ORDER[kind], str(n), f"{amount:.2f}"] for (currency, kind), (n, amount) in sorted(sums.items())]
    return [*records, ["T", str(len(lines)), str(again)]]


def compare(seal: dict, records: list[list[str]], lines: list[list[str]]) -> list[str]:
    """Every difference between a file and what it should be."""
    header, names, *rest = records
    wanted = [*lines, *trailers(lines)]
    rest[-1], lines_hash = rest[-1][:3], rest[-1][3]
    failures = [] if names == FIELDS and header[:2] == ["H", "tally-phone-bill"] else ["header"]
    told = [header[3], header[4], header[5], header[9], lines_hash]
    sealed = [seal["file_id"], str(seal["sequence"]), seal["scope"]["kind"], seal["previous"], seal["lines_hash"]]
    failures += [f"header {told} is not {sealed}"] if told != sealed else []
    failures += [f"{found} should be {ours}" for found, ours in zip(rest, wanted, strict=False) if found != ours]
    failures += [f"{len(rest)} records, should be {len(wanted)}"] if len(rest) != len(wanted) else []
    return [f"phone bill {seal['sequence']}: {failure}" for failure in failures]


def main() -> int:
    """Checks every file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("store")
    options = parser.parse_args()
    failures: list[str] = []
    with tempfile.TemporaryDirectory() as scratch, localcontext() as context:
        context.prec = 100
        store = Store(options.store, Path(scratch))
        seals, files, answers = read_bills(store)
        bills = Bills(seals, answers, read_rows(store))
        for seal, records in zip(seals, files, strict=True):
            failures += compare(seal, records, bills.make(seal))
    for failure in failures[:20]:
        print(failure, file=sys.stderr)
    if not failures:
        lines = sum(map(len, bills.lines.values()))
        again = sum(line[1] != line[2] for of in bills.lines.values() for line in of)
        late = sum(line[7] < seal["scope"]["day"] for seal in seals if seal["scope"]["kind"] == "daily"
                   for line in bills.lines[seal["sequence"]] if line[1] == line[2])  # fmt: skip
        kinds = {kind: sum(line[4] == kind for of in bills.lines.values() for line in of) for kind in ORDER}
        print(json.dumps({"files": len(seals), "lines": lines, "again": again, "late": late, "kinds": kinds,
                          "rows_left": len(bills.left)}))  # fmt: skip
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
