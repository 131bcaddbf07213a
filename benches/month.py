"""A month of rated events, from the tables to sealed statements of thirty vendors, and what finance asks of it.

month.py TALLY FOLDER OUT.jsonl EVENTS REPEAT_EVENTS KAFKA

The events are made by DuckDB, and go the product's own way: `tally replay` puts them into the log as batches of 500,
`tally aggregate --until-end` rates and charges them into tables in a local folder, slice by slice; nothing is written
straight to Parquet. The log is the embedded one, and Kafka for more than EMBEDDED events: Kafka stores batches
compressed, a quarter of the disk. Thirty vendors of three models each, made up, as the shipped prices know eleven; contracts
of five forms; of 200,000 accounts one for each 500 events, 20,000 at most, has a package. Sixteen gateways number their
events and say once an hour what they sent; one says one more than it sent. What must come out is computed by DuckDB from
the rule that made the events, and not from the tables; a figure with `correct` false is none. Then the janitor runs
until it has nothing left to do, as it does in a deployment all along; how long that took is part of "made".

Measured: `settle close` by one person and `settle approve` by another (all statements, made twice and sealed), `verify`,
every question of docs/sql.md on schema `settlement` (over HTTP, first and best of five, once there are an event that is
held back, an exchange rate, a disputed bill and a phone bill), three questions on raw events
beside DuckDB and chDB on the same files, `settle events` from a line down to its events (a new process each), and fifty drafts of
one statement of REPEAT_EVENTS events with other threads, partitions, slices and orders, which must all be the same
bytes. A month rated again is a part of its own (rerate.py).
"""

import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from decimal import ROUND_HALF_EVEN, Decimal
from pathlib import Path

import chdb.session
import duckdb
import pyarrow as pa

from lab import Running, free_port, live_files, measured, record

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "scripts"))
import sell  # noqa: E402

VENDORS, MODELS, ACCOUNTS = 30, 3, 200_000
GATEWAYS, HOUR_MS = 16, 3_600_000
SLICE, EMBEDDED = 2_000_000, 20_000_000
PERIOD = "2026-09"
# The month in Shanghai.
BEGIN_MS, MONTH_MS = 1_788_192_000_000, 30 * 86_400_000
# Micro-yuan of a million units: of everybody, more for each vendor, more for each of its models.
PRICES = {"input": (1_000_000, 10_000, 500_000), "cached_input": (100_000, 1_000, 0), "output": (3_000_000, 20_000, 1_500_000)}
FORMS = [
    'form = "price_list"',
    'form = "cost_plus"\nmarkup_ppm = 50000',
    'form = "graduated_tiers"\ntier_classes = ["input", "output"]\ntiers = [{ above_units = 0, price_micro_per_million = '
    '3000000 }, { above_units = 100000000, price_micro_per_million = 2500000 }]',
    'form = "price_list"\nminimum = "1000.00"\ncarry_months = 3',
    'form = "all_units_tiers"\ntier_classes = ["input", "output"]\ntiers = [{ above_units = 0, price_micro_per_million = '
    '3000000 }, { above_units = 100000000, price_micro_per_million = 2500000 }]',
]
LINES_DRILLED, REPEATS = 60, 50
# A body of control totals may have a MiB.
LINES_POSTED = 1_000
RAW = {
    "vendor and model": "SELECT vendor, model, count(*) AS n, sum(input) AS input, sum(output) AS output, "
                        "sum(wholesale_amount) AS payable FROM usage_events GROUP BY vendor, model",
    "day and region": "SELECT day, region, count(*) AS n, sum(wholesale_amount) AS payable FROM usage_events "
                      "GROUP BY day, region",
    "top accounts": "SELECT account, count(*) AS n, sum(points) AS points FROM usage_events GROUP BY account "
                    "ORDER BY points DESC, account LIMIT 100",
}


def events_of(count: int) -> str:
    """The rule of the events: number, vendor, model and what was used."""
    return f"""SELECT i, 1 + i % {VENDORS} AS v, (i // {VENDORS}) % {MODELS} AS m, 100 + i % 900 AS input,
        1 + i % 4096 AS cached_input, 50 + i % 700 AS output,
        {BEGIN_MS} + (i * {MONTH_MS - 1}::HUGEINT // {count})::BIGINT AS completed_at FROM range({count}) t(i)"""


def write_slice(file: Path, count: int, low: int, high: int, order: str) -> None:
    duckdb.sql(f"""COPY (SELECT 'gw-' || (i % {GATEWAYS}) AS source, 1 AS gateway_epoch,
        1 + i // {GATEWAYS} AS gateway_seq, 'e-' || i AS id,
        'A' || lpad(((i * 7919) % {ACCOUNTS})::VARCHAR, 9, '0') AS account, format('vendor-{{:02d}}', v) AS vendor,
        format('vendor-{{:02d}}-m{{}}', v, m) AS model, ['sh', 'gd', 'js', 'zj', 'sc'][1 + i % 5] AS region,
        ['app', 'web', 'mini'][1 + i % 3] AS channel, completed_at,
        {{'input': input, 'cached_input': cached_input, 'output': output}} AS usage
        FROM ({events_of(count)}) WHERE i >= {low} AND i < {high} ORDER BY {order}) TO '{file}' (FORMAT json)""")


def expected(count: int) -> dict[str, tuple[int, Decimal]]:
    """Events and list price, in yuan, by vendor."""
    pico = " + ".join(f"{units}::HUGEINT * ({base} + {more} * v + {of_model} * m)" for units, (base, more, of_model) in PRICES.items())
    rows = duckdb.sql(f"SELECT format('vendor-{{:02d}}', v), count(*), sum({pico})::VARCHAR FROM ({events_of(count)}) GROUP BY v").fetchall()
    return {vendor: (events, Decimal(pico).scaleb(-12)) for vendor, events, pico in rows}


def control_totals(count: int) -> list[dict]:
    """What each gateway says it sent, an hour each. The first one says that its newest event was followed by another."""
    rows = duckdb.sql(f"""SELECT i % {GATEWAYS} AS gateway, completed_at // {HOUR_MS} AS hour, count(*), min(1 + i // {GATEWAYS}),
        max(1 + i // {GATEWAYS}), sum(input)::BIGINT, sum(cached_input)::BIGINT, sum(output)::BIGINT
        FROM ({events_of(count)}) GROUP BY ALL ORDER BY ALL""").fetchall()
    totals = [{"source": f"gw-{gateway}", "gateway_epoch": 1, "hour": hour * HOUR_MS, "events": events, "first_seq": first, "last_seq": last,
               "usage": {"input": input_, "cached_input": cached, "output": output, "requests": events}}
              for gateway, hour, events, first, last, input_, cached, output in rows]
    newest = max((total for total in totals if total["source"] == "gw-0"), key=lambda total: total["hour"])
    newest["events"] += 1
    newest["last_seq"] += 1
    return totals


def write_book(folder: Path) -> None:
    """Prices and terms of every vendor."""
    columns = "price_id,side,vendor,model_pattern,class,unit,currency,price_micro_per_million,valid_from,valid_to,source"
    prices, terms = [columns], []
    for v in range(1, VENDORS + 1):
        vendor = f"vendor-{v:02d}"
        for m in range(MODELS):
            for units, (base, more, of_model) in PRICES.items():
                micro = base + more * v + of_model * m
                prices.append(f"{vendor}-m{m}.{units},wholesale,{vendor},{vendor}-m{m},{units},token,CNY,{micro},2026-01-01,,bench")
        terms.append(f'[[terms]]\nid = "{vendor}-2026"\nvendor = "{vendor}"\nmodel_pattern = "*"\n{FORMS[(v - 1) % len(FORMS)]}\n'
                     'currency = "CNY"\ntax_ppm = 60000\nrounding = "half_even"\nvalid_from = "2026-01-01"\n')
    (folder / "prices.csv").write_text("\n".join(prices) + "\n")
    terms.append(f'[[fx]]\nfrom = "USD"\nto = "CNY"\nperiod = "{PERIOD}"\nrate = "7.1055"\ndate = "{PERIOD}-30"\nsource = "made up"\n')
    (folder / "terms.toml").write_text("\n".join(terms))


class Month:
    """A store and a log with a month in them."""

    def __init__(self, tally: str, folder: Path, partitions: int = 4, kafka: str = "") -> None:
        self.tally, self.folder = tally, folder
        self.env = {"TALLY_LOG__DATA": str(folder / "log"), "TALLY_STORE__URL": str(folder / "store"), "RUST_LOG": "warn",
                    "TALLY_LOG__PARTITIONS": str(partitions)}
        if kafka:
            topic = f"month.{os.getpid()}"
            self.env |= {"TALLY_LOG__KAFKA": kafka, "TALLY_LOG__TOPIC": topic, "TALLY_LOG__GROUP": topic,
                         "TALLY_ALERTS__TOPIC": f"{topic}.alerts", "TALLY_BUDGETS__TOPIC": f"{topic}.models",
                         "TALLY_QUOTA__TOPIC": f"{topic}.status"}

    def run(self, *arguments: str, **env: str) -> tuple[float, float, int, bytes]:
        return measured([self.tally, *arguments], {**self.env, **env})

    def approve_book(self) -> None:
        self.folder.mkdir(parents=True)
        write_book(self.folder)
        for kind, file in [("price", "prices.csv"), ("contract", "terms.toml")]:
            self.run(kind, "import", str(self.folder / file), "--by", "ann")
            version = ["1"] if kind == "price" else [str(self.folder / file)]
            self.run(kind, "approve", *version, "--by", "bob")

    def at_door(self, what: Callable[[str], None]) -> None:
        """Does something at the address of a door that is open as long as it takes."""
        command = [self.tally, "ingest", "--listen", f"127.0.0.1:{free_port()}"]
        door = Running(command, self.env, self.folder / "door.log")
        try:
            what(door.address())
        finally:
            door.end()

    def sell_packages(self, buyers: int) -> None:
        refused = []
        self.at_door(lambda address: sell.sell(address, range(buyers), BEGIN_MS - 60_000, refused))
        if refused:
            raise SystemExit(f"{len(refused)} purchases were refused: {refused[0]}")

    def post(self, path: str, lines: list[dict]) -> None:
        def send(address: str) -> None:
            for low in range(0, len(lines), LINES_POSTED):
                body = "\n".join(map(json.dumps, lines[low : low + LINES_POSTED])).encode()
                request = urllib.request.Request(f"http://{address}{path}", body, {"content-type": "application/x-ndjson"})
                urllib.request.urlopen(request).close()

        self.at_door(send)
        self.run("aggregate", "--until-end")

    def keep_in_order(self) -> dict:
        """Runs the janitor until it has nothing to merge and nothing to roll up."""
        took = {"janitor_s": 0.0, "janitor_cpu_s": 0.0, "janitor_peak_mib": 0, "janitor_runs": 0}
        while True:
            seconds, cpu_s, peak_mib, out = self.run("janitor", "--once", "--json")
            took["janitor_s"] += seconds
            took["janitor_cpu_s"] += cpu_s
            took["janitor_peak_mib"] = max(took["janitor_peak_mib"], peak_mib)
            took["janitor_runs"] += 1
            report = json.loads(out)
            if report["failures"]:
                raise SystemExit(f"the janitor: {report['failures'][0]}")
            if report["merges"] == 0 and report["files_rolled_up"] == 0:
                return {key: round(value, 1) for key, value in took.items()}

    def fill(self, count: int, slice_: int, order: str = "i") -> dict:
        """Seconds and peak of what it took to get the events into the tables."""
        took = {"replay_s": 0.0, "aggregate_s": 0.0, "aggregate_cpu_s": 0.0, "aggregate_peak_mib": 0}
        file = self.folder / "slice.jsonl"
        for low in range(0, count, slice_):
            write_slice(file, count, low, min(low + slice_, count), order)
            took["replay_s"] += self.run("replay", str(file), "--format", "jsonl", "--out", "kafka", "--batch", "500")[0]
            file.unlink()
            seconds, cpu_s, peak_mib, _ = self.run("aggregate", "--until-end")
            took["aggregate_s"] += seconds
            took["aggregate_cpu_s"] += cpu_s
            took["aggregate_peak_mib"] = max(took["aggregate_peak_mib"], peak_mib)
        return {key: round(value, 1) for key, value in took.items()}

    def mib(self, name: str) -> int:
        return sum(path.stat().st_size for path in (self.folder / name).rglob("*") if path.is_file()) >> 20

    def rows(self, sql: str) -> list[dict]:
        return json.loads(self.run("sql", sql, "--format", "json")[3])


def held_back(month: Month) -> int:
    return int(month.rows("SELECT count(*) AS n FROM suspense")[0]["n"])


def seal(month: Month, count: int, out: str) -> None:
    """Close, approve, verify; and whether the statements say what the rule of the events says."""
    close_s, close_cpu_s, close_mib, _ = month.run("settle", "close", "--period", PERIOD, "--by", "lin")
    approve_s, approve_cpu_s, approve_mib, _ = month.run("settle", "approve", "--period", PERIOD, "--by", "chen")
    verify_s, verify_cpu_s, verify_mib, _ = month.run("verify")
    of_rule, right = expected(count), held_back(month) == 0
    for number, (vendor, (events, listed)) in enumerate(sorted(of_rule.items())):
        printed = json.loads(month.run("settle", "statement", "--vendor", vendor, "--period", PERIOD, "--format", "json")[3])
        body = printed["statement"]
        right &= body["control"]["events"] == events and Decimal(body["control"]["wholesale"]["CNY"]) == listed
        if number % len(FORMS) == 0:  # a plain price list owes what was rated, rounded once
            right &= Decimal(body["total"]["net"]) == listed.quantize(Decimal("0.01"), ROUND_HALF_EVEN)
    record(out, what="sealed", events=count, vendors=len(of_rule), close_s=round(close_s, 1), approve_s=round(approve_s, 1),
           seconds=round(close_s + approve_s, 1), cpu_s=round(close_cpu_s + approve_cpu_s, 1), peak_mib=max(close_mib, approve_mib),
           verify_s=round(verify_s, 1), verify_cpu_s=round(verify_cpu_s, 1), verify_peak_mib=verify_mib, correct=right)


class Questions:
    """`tally query` over the store."""

    def __init__(self, month: Month) -> None:
        command = [month.tally, "query", "--listen", "127.0.0.1:0", "--pg-listen", "127.0.0.1:0", "--flight-listen", "127.0.0.1:0"]
        self.running = Running(command, {**month.env, "TALLY_QUERY__THREADS": "2"}, month.folder / "query.log")
        self.url = f"http://{self.running.address()}/v1/sql"

    def ask(self, sql: str) -> pa.Table:
        request = urllib.request.Request(self.url, json.dumps({"query": sql}).encode(), {
            "content-type": "application/json", "accept": "application/vnd.apache.arrow.stream"})
        with urllib.request.urlopen(request) as answer:
            return pa.ipc.open_stream(io.BytesIO(answer.read())).read_all()

    def timed(self, sql: str) -> tuple[float, float, pa.Table]:
        """Seconds of the first time, of the best of five more, and the rows."""
        times = []
        for _ in range(6):
            begin = time.perf_counter()
            rows = self.ask(sql)
            times.append(time.perf_counter() - begin)
        return times[0], min(times[1:]), rows


def finance_questions() -> list[str]:
    """The examples of docs/sql.md on schema `settlement`, asked of this month and one of its vendors."""
    text = (HERE.parent / "docs" / "sql.md").read_text()
    examples = [" ".join(block.split()) for block in re.findall(r"```sql\n(.*?)```", text, re.DOTALL)]
    asked = [sql for sql in examples if "settlement." in sql]
    for month in ("2026-10", "2026-11"):
        asked = [sql.replace(month, PERIOD) for sql in asked]
    # An account of a buyer: event 0 is its.
    for account in ("= 'A'", "IN ('A', 'F')"):
        asked = [sql.replace(f"account {account}", "account = 'A000000000'") for sql in asked]
    return [sql.replace("'zhipu'", "'vendor-01'") for sql in asked]


def text_rows(rows: list[tuple]) -> list[str]:
    plain = lambda value: format(value.normalize() + 0, "f") if isinstance(value, Decimal) else str(value)
    return sorted("|".join(map(plain, row)) for row in rows)


def rows_of(table: pa.Table) -> list[tuple]:
    return list(zip(*(column.to_pylist() for column in table.columns)))


def raw_peers(files: list[str], folder: Path) -> dict[str, Callable[[str], list[tuple]]]:
    """DuckDB and chDB with two threads each, with a view of the live files."""
    duck = duckdb.connect(config={"threads": 2})
    duck.sql(f"CREATE VIEW usage_events AS FROM read_parquet({files}, hive_partitioning = true)")
    # chDB reads what matches a pattern: links to the live files, in folders of the same names.
    live = folder / "live"
    for file in map(Path, files):
        link = live / file.relative_to(folder / "store" / "tables" / "usage_events")
        link.parent.mkdir(parents=True, exist_ok=True)
        os.link(file, link)
    depth = "/*" * len(link.relative_to(live).parts)
    house = chdb.session.Session(str(folder / "chdb"))
    house.query("SET max_threads = 2, use_hive_partitioning = 1")
    house.query("CREATE DATABASE month")
    house.query(f"CREATE VIEW month.usage_events AS SELECT * FROM file('{live}{depth}', Parquet)")

    def of_house(sql: str) -> list[tuple]:
        asked = sql.replace("FROM usage_events", "FROM month.usage_events")
        return rows_of(pa.ipc.open_file(pa.py_buffer(house.query(asked, "Arrow").bytes())).read_all())

    return {"duckdb": lambda sql: duck.execute(sql).fetchall(), "chdb": of_house}


def give_cause(month: Month) -> None:
    """What some of finance's questions are about: an event without a price, of the month after, a bill that is disputed, and
    what goes to the operator's billing system."""
    month.post("/v1/events", [{"source": "gw-0", "id": "unpriced", "account": "A000000000", "model": "nobody-sells-this",
                               "completed_at": BEGIN_MS + MONTH_MS + HOUR_MS, "usage": {"input": 1}}])
    bill, evidence = month.folder / "bill.csv", month.folder / "evidence"
    bill.write_text(f"utc_date,model,cost,currency\n{PERIOD}-15,vendor-01-m0,1.00,CNY\n")
    subprocess.run([month.tally, "settle", "reconcile", str(bill), "--vendor", "vendor-01", "--period", PERIOD, "--mapping",
                    "deepseek-cost", "--by", "lin", "--out", str(evidence)], env={**os.environ, **month.env}, stdout=subprocess.DEVNULL)
    month.run("settle", "dispute", "open", str(evidence), "--deadline", "2026-12-31", "--by", "lin")
    month.run("phone-bill", "issue", "--day", f"{PERIOD}-20", "--by", "lin")


def ask(month: Month, count: int, out: str) -> None:
    give_cause(month)
    questions = Questions(month)
    try:
        for sql in finance_questions():
            try:
                first_s, best_s, rows = questions.timed(sql)
            except urllib.error.HTTPError as refused:
                record(out, what="question", events=count, sql=sql, failed=refused.read().decode()[-200:])
                continue
            record(out, what="question", events=count, sql=sql, first_s=round(first_s, 3), best_s=round(best_s, 3), rows=rows.num_rows)
        peers = raw_peers(live_files(month.folder / "store", "usage_events"), month.folder)
        for name, sql in RAW.items():
            first_s, best_s, rows = questions.timed(sql)
            ours = text_rows(rows_of(rows))
            figures, right = {}, True
            for peer, asked in peers.items():
                times = []
                for _ in range(6):
                    begin = time.perf_counter()
                    theirs = asked(sql)
                    times.append(time.perf_counter() - begin)
                figures[f"{peer}_s"] = round(min(times[1:]), 3)
                right &= ours == text_rows(theirs)
            record(out, what="raw", events=count, question=name, first_s=round(first_s, 3), best_s=round(best_s, 3), **figures,
                   correct=right)
        record(out, what="query role", peak_mib=questions.running.status_mib("VmHWM"))
    finally:
        questions.running.end()


def drill(month: Month, count: int, out: str) -> None:
    """From lines of every vendor to their events: the table that a person sees, and a few of them whole as Parquet."""
    lines = month.rows("SELECT vendor, line_id, model FROM settlement.statement_lines WHERE kind = 'line' "
                       f"AND period = '{PERIOD}' ORDER BY line_id")
    # Each class of each event is above 0: a line of a model has all of its events. A tier's line has no model.
    lines = [line for line in lines if line["model"] in {f"{line['vendor']}-m{m}" for m in range(MODELS)}]
    of_model = dict(duckdb.sql(f"SELECT format('vendor-{{:02d}}-m{{}}', v, m), count(*) FROM ({events_of(count)}) GROUP BY ALL").fetchall())
    for shown, wanted in [("table", LINES_DRILLED), ("parquet", 10)]:
        chosen, times, right = lines[:: max(1, len(lines) // wanted)][:wanted], [], True
        for line in chosen:
            command = [month.tally, "settle", "events", "--vendor", line["vendor"], "--period", PERIOD, "--line", line["line_id"],
                       "--format", shown]
            begin = time.perf_counter()
            done = subprocess.run(command, env={**os.environ, **month.env}, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                                  text=True, check=True)
            times.append(time.perf_counter() - begin)
            right &= int(re.search(r"from (\d+) events", done.stderr)[1]) == of_model[line["model"]]
        at = lambda percent: round(sorted(times)[(len(times) - 1) * percent // 100], 2)
        record(out, what="drill-down", events=count, shown=shown, lines=len(times), p50_s=at(50), p95_s=at(95), max_s=at(100),
               correct=right and len(times) > 0)


def repeat(tally: str, folder: Path, count: int, out: str) -> None:
    """Fifty drafts of one month's statements, of stores that differ in partitions, slices and the order of events."""
    base = Month(tally, folder / "base")
    base.approve_book()
    hashes, runs = set(), 0
    stores = [(1, count, "i"), (2, count // 3 + 1, "hash(i)"), (4, count // 7 + 1, "i DESC"), (8, count // 2 + 1, "hash(i * 31)"),
              (3, count // 5 + 1, "i")]
    for number, (partitions, slice_, order) in enumerate(stores):
        month = Month(tally, folder / f"store-{number}", partitions)
        # One price book for all: its version is in the statements, and has the time of its approval.
        shutil.copytree(base.folder, month.folder)
        month.fill(count, slice_, order)
        if held_back(month):
            raise SystemExit(f"store {number} holds events back")
        for run in range(REPEATS // len(stores)):
            threads = str(1 + run % 5)
            sha = hashlib.sha256()
            for vendor in ("vendor-01", "vendor-03", "vendor-05"):
                printed = month.run("settle", "statement", "--vendor", vendor, "--period", PERIOD, "--format", "json",
                                    TALLY_QUERY__THREADS=threads, TOKIO_WORKER_THREADS=threads)[3]
                # The rest of the document says up to which epoch it counts, which is the store's own.
                sha.update(json.dumps(json.loads(printed)["statement"], sort_keys=False).encode())
            hashes.add(sha.hexdigest())
            runs += 1
        shutil.rmtree(month.folder)
    record(out, what="repeated", events=count, runs=runs, stores=len(stores), hashes=len(hashes), correct=len(hashes) == 1)


def main() -> None:
    tally, folder, out = sys.argv[1], Path(sys.argv[2]).resolve(), sys.argv[3]
    count, repeated, kafka = int(sys.argv[4]), int(sys.argv[5]), sys.argv[6]
    shutil.rmtree(folder, ignore_errors=True)
    month = Month(tally, folder / "month", kafka=kafka if count > EMBEDDED else "")
    month.approve_book()
    month.sell_packages(min(20_000, count // 500))
    took = month.fill(count, max(SLICE, count // 20))
    month.post("/v1/control-totals", control_totals(count))
    took |= month.keep_in_order()
    record(out, what="made", events=count, **took, store_mib=month.mib("store"), log_mib=month.mib("log"))
    seal(month, count, out)
    ask(month, count, out)
    drill(month, count, out)
    shutil.rmtree(month.folder)
    repeat(tally, folder / "repeat", repeated, out)
    shutil.rmtree(folder)


main()
