"""What a reconciliation of many records costs: as many of our events as lines of the bill, one in a thousand planted.

reconcile.py TALLY FOLDER OUT.jsonl [RECORDS]     10,000,000 unless given, and by groups of the same bill

The events go through the embedded log; the bill is made of the table's files by DuckDB, in another order. Differences
are planted by rule, so what must be found is known: by record how many of each class, by group both sides' units and
amounts of every day and class. Measured: wall clock, CPU and the largest resident memory of
`tally settle reconcile`, from the files to the report.
"""

import csv
import json
import os
import shutil
import subprocess
import sys
import time
from decimal import Decimal
from pathlib import Path

import duckdb

from lab import record

MAPPING = """name = "bench"
source = "benches/reconcile.py"
format = "csv"
[columns]
{request_id}
time = "completed_at"
model = "model"
amount = "amount"
[time]
format = "%Y-%m-%d %H:%M:%S%.f"
zone = "UTC"
[classes]
input = "input"
cached_input = "cached_input"
output = "output"
[amount]
currency = "CNY"
"""


def make_events(folder: Path, records: int) -> None:
    """Events of deepseek-flash over October 2026, by DuckDB: what they contain is not measured."""
    duckdb.sql(f"""COPY (SELECT 'gw-' || (i % 16) AS source, 'e-' || i AS id, 'A' || (i % 100000) AS account,
        'deepseek-flash' AS model, 1790812800000 + (i * 2678399999::HUGEINT // {records})::BIGINT AS completed_at,
        {{'input': 100 + i % 900, 'cached_input': i % 4096, 'output': 50 + i % 700}} AS usage,
        'stop' AS finish_reason, 'chatcmpl-' || md5(i::VARCHAR) AS vendor_request_id FROM range({records}) t(i))
        TO '{folder}/events.jsonl' (FORMAT json)""")


def make_bill(folder: Path, records: int) -> dict[str, int]:
    """The bill in the order of the request ids. One line in 4,000 is missing, is there twice, has a token more, or
    costs twice as much."""
    files = f"{folder}/store/tables/usage_events/**/*.parquet"
    columns = """vendor_request_id AS request_id, strftime(completed_at, '%Y-%m-%d %H:%M:%S.%g') AS completed_at,
        billed_model AS model, input, cached_input,"""
    mark = "(hash(vendor_request_id) % 4000)"
    duckdb.sql("SET TimeZone = 'UTC'")
    rows = duckdb.sql(f"SELECT count(*) FROM read_parquet('{files}')").fetchall()[0][0]
    if rows != records:
        raise SystemExit(f"the table has {rows} rows of {records}")
    duckdb.sql(f"""COPY (SELECT {columns} output + ({mark} = 1)::INT AS output,
        wholesale_amount * (1 + ({mark} = 2)::INT) AS amount FROM read_parquet('{files}') WHERE {mark} <> 0
        UNION ALL SELECT {columns} output, wholesale_amount FROM read_parquet('{files}') WHERE {mark} = 3
        ORDER BY request_id) TO '{folder}/bill.csv' (HEADER)""")
    counts = duckdb.sql(f"SELECT {mark} AS m, count(*) FROM read_parquet('{files}') WHERE m < 4 GROUP BY 1").fetchall()
    names = {0: "missing_at_theirs", 1: "token_count", 2: "price_version", 3: "duplicate"}
    return {names[number]: count for number, count in counts}


def planted_groups(folder: Path) -> dict[tuple[str, str], tuple]:
    """What groups.csv must say of each day and class: units of both sides, the vendor's amount less ours, why, and
    whether it is outside. Amounts are known of whole lines only."""
    mark = "(hash(vendor_request_id) % 4000)"
    times = f"(CASE {mark} WHEN 0 THEN 0 WHEN 3 THEN 2 ELSE 1 END)"
    days = duckdb.sql(f"""SELECT strftime(completed_at, '%Y-%m-%d'),
        sum(input)::BIGINT, sum({times} * input)::BIGINT,
        sum(cached_input)::BIGINT, sum({times} * cached_input)::BIGINT,
        sum(output)::BIGINT, sum({times} * output + ({mark} = 1)::INT)::BIGINT,
        sum(wholesale_amount), sum(wholesale_amount * {times} * (1 + ({mark} = 2)::INT))
        FROM read_parquet('{folder}/store/tables/usage_events/**/*.parquet') GROUP BY 1""").fetchall()
    groups = {}
    for day, *units, ours, theirs in days:
        pairs = dict(zip(["input", "cached_input", "output"], zip(units[::2], units[1::2])))
        for name, (our, their) in pairs.items():
            groups[day, name] = (our, their, None, "", our != their)
        our, their = (sum(pair[side] for pair in pairs.values()) for side in (0, 1))
        if any(one != other for one, other in pairs.values()):
            why = "token_count" if our != their else "token_class"
        else:
            why = "price_version" if ours != theirs else ""
        groups[day, "all"] = (our, their, theirs - ours, why, our != their or ours != theirs)
    return groups


def found_groups(folder: Path) -> dict[tuple[str, str], tuple]:
    with open(folder / "groups.csv", encoding="utf-8") as lines:
        return {(row["day"], row["token_class"]): (
            int(row["our_quantity"]), int(row["their_quantity"]),
            Decimal(row["difference"]) if row["difference"] else None, row["class"], row["outside"] == "true")
            for row in csv.DictReader(lines)}


def run(command: list[str], env: dict[str, str]) -> tuple[float, float, int, bytes]:
    """Seconds, CPU seconds, largest resident MiB, standard output. Exit code 1 is what a difference gives."""
    begin = time.monotonic()
    process = subprocess.Popen(command, env={**os.environ, **env}, stdout=subprocess.PIPE)
    out = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    if os.waitstatus_to_exitcode(status) not in (0, 1):
        raise SystemExit(f"{command} ended with {os.waitstatus_to_exitcode(status)}")
    return time.monotonic() - begin, usage.ru_utime + usage.ru_stime, usage.ru_maxrss // 1024, out


def main() -> None:
    tally, folder, out = sys.argv[1], Path(sys.argv[2]), sys.argv[3]
    records = int(sys.argv[4]) if len(sys.argv) > 4 else 10_000_000
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    env = {"TALLY_LOG__DATA": str(folder / "log"), "TALLY_STORE__URL": str(folder / "store"), "RUST_LOG": "warn"}
    make_events(folder, records)
    for command in [["replay", str(folder / "events.jsonl"), "--format", "jsonl", "--out", "kafka", "--batch", "500"],
                    ["aggregate", "--until-end"]]:
        subprocess.run([tally, *command], env={**os.environ, **env}, check=True)
    (folder / "events.jsonl").unlink()
    planted = make_bill(folder, records)
    for level, request_id in [("record", 'request_id = "request_id"'), ("group", "")]:
        mapping = folder / f"{level}.toml"
        text = MAPPING.format(request_id=request_id)
        mapping.write_text(text if level == "record" else text.replace("format = \"csv\"",
                                                                       "format = \"csv\"\nduplicates = \"report\"", 1))
        seconds, cpu_s, peak_mib, summary = run(
            [tally, "settle", "reconcile", str(folder / "bill.csv"), "--vendor", "deepseek", "--period", "2026-10",
             "--mapping", str(mapping), "--out", str(folder / level), "--json"], env)
        outcome = json.loads(summary)
        if level == "record":
            correct = {row["class"]: row["count"] for row in outcome["classes"]} == planted
        else:
            correct = found_groups(folder / level) == planted_groups(folder)
        record(out, what=f"reconcile by {level}", ours=outcome["our_rows"], theirs=outcome["bill_lines"],
               seconds=round(seconds, 1), cpu_s=round(cpu_s, 1), peak_mib=peak_mib,
               differences=outcome["differences"], correct=correct)


main()
