"""Settlement questions over the peer kit's ten million rated events: Tally beside DuckDB, the same Parquet files.

sql.py TALLY OUT.jsonl     needs the kit's environment (env.sh) and its `sql` Python, with sql-data in PEERS_WORK

A Delta log is written over the kit's files as they are, so that Tally reads them as its table `usage_events`.
Cold is a new process, page cache warm. Warm is the best of five: Tally over HTTP as an Arrow stream, DuckDB in its
own process. Both with PEERS_THREADS threads. The answers are compared as exact text, decimals to the last digit.
"""

import decimal
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

KIT = Path(os.environ["KIT"])
WORK = Path(os.environ["PEERS_WORK"])
THREADS = os.environ.get("PEERS_THREADS", "2")
TOKENS = ("SUM(input) AS t_input, SUM(cached_input) AS t_cached, "
          "SUM(cache_write) AS t_write, SUM(output) AS t_output")
QUERIES = {
    "Q1": f"SELECT vendor, model, SUM(wholesale_pico) AS payable, {TOKENS} FROM usage_events GROUP BY vendor, model",
    "Q2": "SELECT model, region, channel, SUM(retail_pico) AS retail, SUM(wholesale_pico) AS wholesale, "
          "SUM(retail_pico) - SUM(wholesale_pico) AS margin FROM usage_events GROUP BY model, region, channel",
    "Q3": "SELECT account, SUM(retail_pico) AS retail, COUNT(*) AS n FROM usage_events GROUP BY account "
          "ORDER BY retail DESC, account LIMIT 100",
    "Q4": "SELECT id, model, input, cached_input, cache_write, output, retail_pico FROM usage_events "
          "WHERE account = 'A000079190' AND completed_at >= TIMESTAMP '2026-11-12 00:00:00Z' "
          "AND completed_at < TIMESTAMP '2026-11-13 00:00:00Z'",
    "Q5": f"SELECT hour, model, COUNT(*) AS n, {TOKENS} FROM (SELECT CAST(date_part('epoch', completed_at) AS BIGINT) "
          "/ 3600 AS hour, model, input, cached_input, cache_write, output FROM usage_events WHERE vendor = 'qwen') "
          "AS x GROUP BY hour, model",
    "Q6": "SELECT vendor, day, COUNT(DISTINCT subscriber) AS subscribers FROM (SELECT vendor, "
          "CAST(completed_at AS DATE) AS day, subscriber FROM usage_events) AS x GROUP BY vendor, day",
}
SUMS_THAT_OVERFLOW = {
    "sum of int64 beyond 2^63": "SELECT sum(v) FROM (VALUES (9223372036854775807), (1)) AS t(v)",
    "sum of decimals beyond 38 digits":
        "SELECT sum(v) FROM (VALUES (CAST('90000000000000000000000000.000000000000' AS DECIMAL(38,12))), "
        "(CAST('90000000000000000000000000.000000000000' AS DECIMAL(38,12)))) AS t(v)",
    "int64 x int64 beyond 2^63": "SELECT v * 2 FROM (VALUES (9223372036854775807)) AS t(v)",
}


def delta_type(kind: pa.DataType) -> str:
    if pa.types.is_decimal(kind):
        return f"decimal({kind.precision},{kind.scale})"
    return {"string": "string", "int64": "long", "int32": "integer"}.get(str(kind)) or "timestamp"


def delta_over(files: list[Path], table: Path) -> None:
    """A Delta table of these files, by hard links."""
    (table / "_delta_log").mkdir(parents=True)
    schema = {"type": "struct", "fields": [
        {"name": f.name, "type": delta_type(f.type), "nullable": True, "metadata": {}}
        for f in pq.read_schema(files[0])]}
    actions = [
        {"protocol": {"minReaderVersion": 1, "minWriterVersion": 2}},
        {"metaData": {"id": "00000000-0000-4000-8000-000000000000", "format": {"provider": "parquet", "options": {}},
                      "schemaString": json.dumps(schema), "partitionColumns": [], "configuration": {},
                      "createdTime": 0}},
    ]
    for file in files:
        os.link(file, table / file.name)
        rows = pq.read_metadata(file).num_rows
        actions.append({"add": {"path": file.name, "partitionValues": {}, "size": file.stat().st_size,
                                "modificationTime": 0, "dataChange": True,
                                "stats": json.dumps({"numRecords": rows})}})
    (table / "_delta_log" / f"{0:020}.json").write_text("".join(json.dumps(a) + "\n" for a in actions))


def canonical(table: pa.Table) -> list[str]:
    decimal.getcontext().prec = 80

    def cell(value: object) -> str:
        if isinstance(value, decimal.Decimal):
            return format(value.normalize() if value else decimal.Decimal(0), "f")
        return str(value)

    return sorted("|".join(map(cell, row)) for row in zip(*(c.to_pylist() for c in table.columns)))


class Server:
    """`tally query` over a store."""

    def __init__(self, tally: str, env: dict[str, str]) -> None:
        self.process = subprocess.Popen(
            [tally, "query", "--listen", "127.0.0.1:0", "--pg-listen", "127.0.0.1:0",
             "--flight-listen", "127.0.0.1:0"],
            env=env, stdout=subprocess.PIPE, text=True)
        line = self.process.stdout.readline()
        self.url = re.search(r"http://[0-9.:]+", line)[0] + "/v1/sql"

    def ask(self, sql: str) -> bytes:
        request = urllib.request.Request(
            self.url, json.dumps({"query": sql}).encode(),
            {"content-type": "application/json", "accept": "application/vnd.apache.arrow.stream"})
        with urllib.request.urlopen(request) as answer:
            return answer.read()

    def cpu_s(self) -> float:
        stat = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(stat[11]) + int(stat[12])) / os.sysconf("SC_CLK_TCK")

    def peak_mib(self) -> int:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmHWM:\s+(\d+)", status)[1]) // 1024

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait()


def tally_run(tally: str, env: dict[str, str], sql: str) -> tuple[dict, list[str]]:
    begin = time.perf_counter()
    subprocess.run([tally, "sql", sql, "--format", "csv"], env=env, stdout=subprocess.DEVNULL, check=True)
    cold = time.perf_counter() - begin
    server = Server(tally, env)
    try:
        rows = canonical(pa.ipc.open_stream(io.BytesIO(server.ask(sql))).read_all())
        cpu, warm = server.cpu_s(), []
        for _ in range(5):
            begin = time.perf_counter()
            server.ask(sql)
            warm.append(time.perf_counter() - begin)
        measured = {"cold_s": round(cold, 3), "warm_s": round(min(warm), 3),
                    "cpu_s": round((server.cpu_s() - cpu) / 5, 2), "rss_mib": server.peak_mib()}
    finally:
        server.stop()
    return measured, rows


def duckdb_run(query: str) -> tuple[dict, list[str]]:
    run = subprocess.run([sys.executable, KIT / "sql_peers.py", "one", "duckdb", query],
                         capture_output=True, text=True, check=True)
    measured = json.loads(run.stdout.strip().splitlines()[-1])
    rows = (WORK / f"sql-duckdb-{query}.txt").read_text().splitlines()
    return {key: measured[key] for key in ("cold_s", "warm_s", "cpu_s", "rss_mib")}, rows


def main() -> None:
    tally, out = sys.argv[1:3]
    store = Path(tempfile.mkdtemp(dir=WORK, prefix="sql-store-"))
    try:
        delta_over(sorted((WORK / "sql-data").glob("*.parquet")), store / "tables" / "usage_events")
        env = {**os.environ, "TALLY_STORE__URL": str(store), "TALLY_QUERY__THREADS": THREADS, "RUST_LOG": "error"}
        with open(out, "w", encoding="utf-8") as results:
            for name, sql in QUERIES.items():
                ours, our_rows = tally_run(tally, env, sql)
                theirs, their_rows = duckdb_run(name)
                line = {"query": name, "rows": len(our_rows), "equal": our_rows == their_rows,
                        "tally": ours, "duckdb": theirs}
                print(json.dumps(line), flush=True)
                results.write(json.dumps(line) + "\n")
            for name, sql in SUMS_THAT_OVERFLOW.items():
                run = subprocess.run([tally, "sql", sql], env=env, capture_output=True, text=True)
                line = {"edge": name, "exit": run.returncode, "said": run.stderr.strip()[-160:]}
                print(json.dumps(line), flush=True)
                results.write(json.dumps(line) + "\n")
    finally:
        shutil.rmtree(store)


main()
