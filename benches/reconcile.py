"""What a reconciliation of many records costs: as many of our events as lines of the bill, one in a thousand planted.

reconcile.py TALLY FOLDER OUT.jsonl [RECORDS]     10,000,000 unless given, and by groups of the same bill

The events go through the embedded log; the bill is made of the table's files by DuckDB, in another order. Differences
are planted by rule, so how many there must be is known. Measured: wall clock, CPU and the largest resident memory of
`tally settle reconcile`, from the files to the report.
"""

import json
import os
import shutil
import subprocess
import sys
import time
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
        found = {row["class"]: row["count"] for row in outcome["classes"]}
        record(out, what=f"reconcile by {level}", ours=outcome["our_rows"], theirs=outcome["bill_lines"],
               seconds=round(seconds, 1), cpu_s=round(cpu_s, 1), peak_mib=peak_mib,
               differences=outcome["differences"], correct=level == "group" or found == planted)


main()
