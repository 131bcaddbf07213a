"""What it costs to rate a month again: a vendor's events of September 2026 by two other readings of the price book.

rerate.py TALLY FOLDER OUT.jsonl [EVENTS]     10,000,000 unless given

The events go through the embedded log. Of each three, one is of V4-Pro, which the book known on 09-12 bills as flash
from 09-14 12:00 on: how many must change, and by how much, DuckDB computes from the table's files. By the book known on
11-20 nothing changes. Measured: wall clock, CPU and the largest resident memory of `tally settle rerate`.
"""

import json
import os
import shutil
import subprocess
import sys
from decimal import ROUND_HALF_EVEN, Decimal
from pathlib import Path

import duckdb

from lab import live_files, measured, record

TERMS = """[[terms]]
id = "deepseek-bench"
vendor = "deepseek"
model_pattern = "*"
form = "price_list"
currency = "CNY"
tax_ppm = 60000
rounding = "half_even"
valid_from = "2026-01-01"
"""
# 2026-09-01 and 2026-09-14 12:00 in Shanghai.
SEPTEMBER_MS, AS_FLASH_MS = 1788192000000, 1789358400000
# Yuan of 1,000,000 units by class, off-peak and peak.
PRO = {"input": ("4.5", "9"), "cached_input": ("0.15", "0.30"), "output": ("13.5", "27")}
FLASH = {"input": ("1", "2"), "cached_input": ("0.02", "0.04"), "output": ("4", "8")}


def make_events(folder: Path, events: int) -> None:
    """Events over September 2026, by DuckDB."""
    duckdb.sql(f"""COPY (SELECT 'gw-' || (i % 16) AS source, 'e-' || i AS id, 'A' || (i % 100000) AS account,
        ['deepseek-v4-pro', 'deepseek-flash', 'deepseek-v4-flash'][1 + i % 3] AS model,
        {SEPTEMBER_MS} + (i * 2591999999::HUGEINT // {events})::BIGINT AS completed_at,
        {{'input': 100 + i % 900, 'cached_input': i % 4096, 'output': 50 + i % 700}} AS usage FROM range({events}) t(i))
        TO '{folder}/events.jsonl' (FORMAT json)""")


def expected(folder: Path) -> tuple[int, Decimal]:
    """How many events change by the announcement, and by how much, from what is stored."""
    files = live_files(folder / "store", "usage_events")
    # Whether an event was at peak, its stored price ids say: it is so for both models.
    terms = []
    for class_ in PRO:
        (off, peak), (flash_off, flash_peak) = PRO[class_], FLASH[class_]
        less = f"CASE WHEN strpos(wholesale_price_ids, 'peak-workdays') > 0 THEN {flash_peak} - {peak} ELSE {flash_off} - {off} END"
        terms.append(f"{class_}::DECIMAL(18,0) * ({less})::DECIMAL(18,6)")
    rows = duckdb.sql(f"""SELECT count(*), sum({" + ".join(terms)}) FROM read_parquet({files})
        WHERE billed_model = 'deepseek-v4-pro' AND epoch_ms(completed_at) >= {AS_FLASH_MS}""").fetchall()
    return rows[0][0], Decimal(rows[0][1]) / 1_000_000


def main() -> None:
    tally, folder, out = sys.argv[1], Path(sys.argv[2]), sys.argv[3]
    events = int(sys.argv[4]) if len(sys.argv) > 4 else 10_000_000
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    env = {"TALLY_LOG__DATA": str(folder / "log"), "TALLY_STORE__URL": str(folder / "store"), "RUST_LOG": "warn"}
    make_events(folder, events)
    terms = folder / "terms.toml"
    terms.write_text(TERMS)
    for command in [["contract", "import", str(terms), "--by", "ann"], ["contract", "approve", str(terms), "--by", "bob"],
                    ["replay", str(folder / "events.jsonl"), "--format", "jsonl", "--out", "kafka", "--batch", "500"],
                    ["aggregate", "--until-end"]]:
        subprocess.run([tally, *command], env={**os.environ, **env}, check=True)
    (folder / "events.jsonl").unlink()
    changes, less = expected(folder)
    for what, known_at, changed, difference in [
        ("as announced on 09-12", "2026-09-12T00:00:00+08:00", changes, less.quantize(Decimal("0.01"), ROUND_HALF_EVEN)),
        ("as known on 11-20", "2026-11-20T00:00:00+08:00", 0, Decimal(0)),
    ]:
        seconds, cpu_s, peak_mib, printed = measured([tally, "settle", "rerate", "--vendor", "deepseek", "--period", "2026-09",
                                                      "--known-at", known_at, "--json"], env)
        again = json.loads(printed)
        found = sum((Decimal(section["difference"]) for section in again["sections"]), Decimal(0))
        correct = (again["events"], again["events_changed"], found) == (events, changed, difference)
        record(out, what=what, events=events, seconds=round(seconds, 1), cpu_s=round(cpu_s, 1), peak_mib=peak_mib,
               changed=again["events_changed"], correct=correct)


main()
