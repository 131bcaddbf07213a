"""Reads a store's Delta tables without any of Tally's code and compares them with a truth file.

delta-rs' Python wheel reads the Delta logs, DuckDB the Parquet files, obstore the ledger. STORE is a folder, or
s3://BUCKET/PREFIX with the AWS_… environment variables. Exit codes: 0 all holds, 1 a check failed, 2 usage.

    check_tables.py STORE --truth truth.json [--windows-closed]
"""

import argparse
import json
import re
import sys
import tempfile
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path
from urllib.parse import unquote

import duckdb
import obstore
from deltalake import DeltaTable
from deltalake.exceptions import TableNotFoundError
from obstore.store import LocalStore, S3Store

import rate_rows
import rating_oracle
from rate_rows import CLASSES

TABLES = ["usage_events", "usage_by_model", "usage_by_subscriber", "suspense", "quota_ledger", "alerts"]
AMOUNTS = ["points", "retail_amount", "wholesale_amount"]
# Kinds of rows of buckets; and those that charge an event.
KINDS = ["grant", "top_up", "debit", "transfer_out", "transfer_in", "adjust", "refund", "expire", "breakage"]
CHARGES = "'debit', 'payg', 'overrun'"
# Events that are rated again one by one, so that a wrong one is named; all of them are by their sums.
RATED_MOST = 20_000
# Files whose filters of accounts are asked, and accounts that each is asked for.
FILTERS_MOST = 40
ASKED_OF_FILTER = 25


class Store:
    """A store's objects: a local folder, or an S3 prefix of which the needed files are fetched."""

    def __init__(self, url: str, scratch: Path) -> None:
        self.remote = "://" in url
        if self.remote:
            self.root, self.local = url.rstrip("/"), scratch
            self.objects = S3Store.from_url(url, client_options={"allow_http": True})
        else:
            self.local = Path(url).resolve()
            self.root = str(self.local)
            self.objects = LocalStore(self.local)

    def paths(self, prefix: str) -> list[str]:
        """Every object's path below `prefix`, which is a whole folder."""
        return [meta["path"] for batch in obstore.list(self.objects, prefix) for meta in batch]

    def read(self, paths: list[str]) -> list[bytes]:
        """The bodies of these objects, in order."""
        with ThreadPoolExecutor(16) as pool:
            return list(pool.map(lambda path: bytes(obstore.get(self.objects, path).bytes()), paths))

    def fetch(self, path: str) -> None:
        """Copies one object into the local folder."""
        (self.local / path).parent.mkdir(parents=True, exist_ok=True)
        with (self.local / path).open("wb") as file:
            file.writelines(obstore.get(self.objects, path).stream())

    def files(self, paths: list[str]) -> list[str]:
        """These objects as files that DuckDB can open."""
        if self.remote:
            with ThreadPoolExecutor(16) as pool:
                list(pool.map(self.fetch, paths))
        return [str(self.local / path) for path in paths]


class Table:
    """The newest version of one Delta table: its live files with their rows, and a DuckDB view of its name."""

    def __init__(self, store: Store, name: str, database: duckdb.DuckDBPyConnection) -> None:
        self.name, self.database = name, database
        self.rows_by_file: dict[str, int] = {}
        self.files: list[str] = []
        self.version = self.compacted = None
        root = f"tables/{name}"
        try:
            delta = DeltaTable(f"{store.root}/{root}")
        except TableNotFoundError:
            return
        self.version = delta.version()
        adds = delta.get_add_actions(flatten=True)
        self.rows_by_file = {
            unquote(path): rows
            for path, rows in zip(adds["path"].to_pylist(), adds["num_records"].to_pylist(), strict=True)
        }
        self.compacted = self.was_compacted(store, root)
        if self.rows_by_file:
            self.files = store.files([f"{root}/{path}" for path in self.rows_by_file])
            database.read_parquet(self.files, union_by_name=True, hive_partitioning=False).create_view(name)

    @staticmethod
    def was_compacted(store: Store, root: str) -> bool:
        """Whether live files may be others than those that the epochs wrote: a file was removed, or the log cut."""
        commits = [path for path in store.paths(f"{root}/_delta_log") if re.search(r"/\d{20}\.json$", path)]
        first = f"{0:020}.json"
        return not any(path.endswith(first) for path in commits) or any(
            "remove" in json.loads(line) for body in store.read(commits) for line in body.splitlines()
        )

    def select(self, query: str) -> list[tuple]:
        """The rows of a query over this table; none where it has no file."""
        return self.database.execute(query).fetchall() if self.rows_by_file else []

    def sums(self, count: str, *keys: str) -> dict[tuple, dict[str, int]]:
        """`events` (by the expression `count`) and the sum of each class, by the columns `keys`."""
        sums = ", ".join(f'coalesce(sum("{column}"), 0)' for column in CLASSES)
        by = "".join(f'"{key}", ' for key in keys)
        rows = self.select(f"SELECT {by}{count}, {sums} FROM {self.name} GROUP BY ALL")
        return {
            row[: len(keys)]: dict(zip(["events", *CLASSES], map(int, row[len(keys) :]), strict=True)) for row in rows
        }


class Check:
    """Collects what does not hold."""

    def __init__(self) -> None:
        self.failures: list[str] = []

    def equal(self, what: str, found: object, wanted: object) -> None:
        if found != wanted:
            self.failures.append(f"{what}: found {found}, should be {wanted}")

    def none(self, what: str, rows: list) -> None:
        """Fails with the first few of the rows that should not be there."""
        if rows:
            self.failures.append(f"{what}: {len(rows)}, such as {', '.join(map(str, rows[:3]))}")

    def same_sums(self, what: str, found: dict, wanted: dict) -> None:
        """Compares sums by key; a key that is missing on one side counts as zero there."""
        zero = dict.fromkeys(["events", *CLASSES], 0)
        for key in sorted(found.keys() | wanted.keys(), key=str):
            left, right = found.get(key, zero), wanted.get(key, zero)
            for column in right:
                name = " ".join([what, *map(str, key), column])
                self.equal(name, left[column], right[column])


def classes_only(sums: dict) -> dict:
    """Sums without `events`, which windows do not have."""
    return {key: {column: value[column] for column in CLASSES} for key, value in sums.items()}


def truth_sums(events: int, tokens: dict[str, str]) -> dict[str, int]:
    """A truth file's counts as integers; a class that it leaves out is 0."""
    unknown = tokens.keys() - set(CLASSES)
    if unknown:
        raise ValueError(f"the truth file has unknown classes: {sorted(unknown)}")
    return {"events": events} | {column: int(tokens.get(column, 0)) for column in CLASSES}


def check_events(check: Check, events: Table, truth: dict) -> None:
    """No identity and no position twice (I2); events and tokens as the truth has them (I1)."""
    for what, key in [("identity", "source, id"), ("position", "kafka_partition, kafka_offset, batch_index")]:
        check.none(
            f"{what} ({key}) more than once in usage_events",
            events.select(f"SELECT {key}, count(*) AS times FROM usage_events GROUP BY ALL HAVING count(*) > 1"),
        )
    accepted = truth_sums(truth["accepted"], truth["tokens"])
    check.same_sums("usage_events, total", events.sums("count(*)"), {(): accepted})
    if "by_model" in truth:
        wanted = {(row["model"], row["vendor"]): truth_sums(row["events"], row["tokens"]) for row in truth["by_model"]}
        check.same_sums("usage_events, model", events.sums("count(*)", "model", "vendor"), wanted)


def check_filters(check: Check, events: Table) -> int:
    """Each row group of a file has a bloom filter of its accounts, which denies none that the file has: whoever prunes
    by them would miss rows. How many that it does not have they deny is a matter of speed, and not looked at. The
    files that were asked."""
    asked = sorted(events.files)[:FILTERS_MOST]
    for file in asked:
        # A file without filters denies nothing either.
        chunks = "SELECT count(*), count(bloom_filter_offset) FROM parquet_metadata(?) WHERE path_in_schema = 'account'"
        [(groups, filters)] = events.database.execute(chunks, [file]).fetchall()
        check.equal(f"filters of {Path(file).name}, beside its row groups", filters, groups)
        accounts = "SELECT DISTINCT account FROM read_parquet(?) ORDER BY hash(account) LIMIT ?"
        denied = []
        for (account,) in events.database.execute(accounts, [file, ASKED_OF_FILTER]).fetchall():
            probe = "SELECT bool_and(bloom_filter_excludes) FROM parquet_bloom_probe(?, 'account', ?)"
            [(excluded,)] = events.database.execute(probe, [file, account]).fetchall()
            if excluded:
                denied.append(account)
        check.none(f"accounts that the filter of {Path(file).name} denies", denied)
    return len(asked)


def check_windows(check: Check, tables: dict[str, Table], windows_closed: bool) -> None:
    """The windows sum to the events, for each class (I13); open subscriber windows may still hold a part."""
    events, keys = tables["usage_events"], ("model", "vendor")
    of_events = classes_only(events.sums("0", *keys))
    check.same_sums("usage_by_model", classes_only(tables["usage_by_model"].sums("0", *keys)), of_events)
    of_subscribers = classes_only(tables["usage_by_subscriber"].sums("0", *keys))
    if windows_closed:
        check.same_sums("usage_by_subscriber", of_subscribers, of_events)
        return
    for key, sums in of_subscribers.items():
        above = {column: sum_ for column, sum_ in sums.items() if sum_ > of_events.get(key, {}).get(column, 0)}
        check.equal(f"usage_by_subscriber {' '.join(map(str, key))}: classes above usage_events", above, {})


def amounts_by_model(table: Table) -> dict[tuple, tuple]:
    """Points and amounts by model, vendor and currency."""
    sums = ", ".join(f"coalesce(sum({column}), 0)" for column in AMOUNTS)
    keys = "model, vendor, coalesce(wholesale_currency, '')"
    rows = table.select(f"SELECT {keys}, {sums} FROM {table.name} GROUP BY ALL")
    return {row[:3]: row[3:] for row in rows}


def check_amounts(check: Check, tables: dict[str, Table], windows_closed: bool) -> rate_rows.Totals:
    """Amounts of windows are those of the events (I13); every event is rated as the oracle says (I4), so there is none
    of a model that no list has. What was rated again."""
    events = tables["usage_events"]
    of_events = amounts_by_model(events)
    check.equal("usage_by_model: amounts", amounts_by_model(tables["usage_by_model"]), of_events)
    if windows_closed:
        check.equal("usage_by_subscriber: amounts", amounts_by_model(tables["usage_by_subscriber"]), of_events)
    charged = "SELECT coalesce(sum(points), 0), coalesce(sum(CASE kind WHEN 'overrun' THEN 0 ELSE amount END), 0)"
    charged = f"{charged} FROM quota_ledger WHERE kind IN ({CHARGES})"
    [(points, amount)] = tables["quota_ledger"].select(charged) or [(0, 0)]
    check.equal("quota_ledger: points of usage", -points, sum(sums[0] for sums in of_events.values()))
    check.equal("quota_ledger: paid for usage", amount, sum(sums[1] for sums in of_events.values()))
    check_prices(check, events)
    totals = rate_rows.check_every_row(check.equal, events.select(rate_rows.groups_query()))
    rows = next(iter(events.select("SELECT count(*) FROM usage_events")), (0,))[0]
    check.equal("usage_events: rows of models that no list has", totals.unknown, 0)
    check.equal("usage_events: rows that were rated, of all", totals.rated, rows)
    return totals


def check_offers(check: Check, ledger: Table) -> int:
    """Pay as you go and packages of the domain cost what they are offered for (I4). The number of sums."""
    grants = rate_rows.check_grants(check.equal, ledger.select(rate_rows.GRANTS_QUERY))
    return grants + rate_rows.check_tariffs(check.equal, ledger.select(rate_rows.TARIFFS_QUERY))


def check_charges(check: Check, events: Table, ledger: Table) -> None:
    """Each event is charged its points and its price, once, to buckets, a tariff and overrun together (I9, I4)."""
    if not events.rows_by_file or not ledger.rows_by_file:
        return
    charged = f"""WITH rated AS (SELECT source, id, sum(points) AS points, sum(retail_amount) AS amount
            FROM usage_events WHERE points IS NOT NULL GROUP BY ALL),
        charged AS (SELECT event_source AS source, event_id AS id, -sum(points) AS points,
            sum(CASE kind WHEN 'overrun' THEN 0 ELSE amount END) AS amount
            FROM quota_ledger WHERE kind IN ({CHARGES}) GROUP BY ALL)
        SELECT source, id, rated.points, charged.points, rated.amount, charged.amount
        FROM rated FULL JOIN charged USING (source, id)
        WHERE coalesce(rated.points, 0) <> coalesce(charged.points, 0)
            OR coalesce(rated.amount, 0) <> coalesce(charged.amount, 0)"""
    check.none("events that are charged otherwise than they are rated", events.select(charged))


def check_buckets(check: Check, ledger: Table) -> int:
    """Grants less uses and expiries are the balance after every record, and never below 0 (I9). Of a bucket that is
    closed what was paid is what was allocated and written off; of one that was bought and used only, what is allocated
    is its price in the share of what is used, rounded down (I5). The number of buckets."""
    position = "kafka_partition, kafka_offset, batch_index"
    # An account is in one partition at a time, and offsets go on rising where it comes into another one.
    # One record may make several rows of a bucket, which all have the same sum here, as the frame ends with its peers:
    # one of them has what is left after all of them.
    unequal = f"""WITH rows AS (SELECT account, bucket, {position}, balance_after,
            sum(points) OVER (PARTITION BY account, bucket ORDER BY kafka_offset, batch_index) AS balance
            FROM quota_ledger WHERE bucket IS NOT NULL)
        SELECT account, bucket, {position}, min(balance), list(balance_after) FROM rows GROUP BY ALL
        HAVING min(balance) < 0 OR min(balance_after) < 0 OR count(balance_after) < count(*)
            OR NOT bool_or(balance_after = balance)"""
    check.none("balances that are not grants less uses and expiries", ledger.select(unequal))
    counts = ", ".join(f"count(*) FILTER (kind = '{kind}') AS {kind}_n" for kind in KINDS)
    sums = ", ".join(
        f"coalesce(sum({of}) FILTER (kind = '{kind}'), 0) AS {kind}_{of}"
        for of in ["points", "amount"]
        for kind in KINDS
    )
    query = f"""SELECT account, bucket, count(DISTINCT currency) AS currencies, sum(points) AS balance,
        count(*) FILTER (kind = 'debit' AND points > 0) AS given_back, {counts}, {sums}
        FROM quota_ledger WHERE bucket IS NOT NULL GROUP BY account, bucket"""
    if not ledger.rows_by_file:
        return 0
    cursor = ledger.database.execute(query)
    names = [column[0] for column in cursor.description]
    buckets = 0
    while rows := cursor.fetchmany(10_000):
        buckets += len(rows)
        for row in rows:
            check_bucket(check, dict(zip(names, row, strict=True)))
    return buckets


def check_bucket(check: Check, of: dict) -> None:
    """One bucket by the sums of its rows: what was paid, allocated and written off (I5)."""
    what = f"bucket {of['bucket']} of {of['account']}"
    micro, pico = (lambda points: int(points * 10**6)), (lambda amount: int(amount * 10**12))
    check.equal(f"{what}: grants", of["grant_n"], 1)
    if of["currencies"] > 1:
        check.equal(f"{what}: currencies", of["currencies"], 1)
    # Points and money that move away are negative in both columns.
    paid = sum(pico(of[f"{kind}_amount"]) for kind in ["grant", "top_up", "transfer_in", "transfer_out", "refund"])
    allocated = pico(of["debit_amount"]) + pico(of["adjust_amount"])
    written_off = pico(of["breakage_amount"])
    if not 0 <= allocated <= paid:
        check.equal(f"{what}: allocated, of the {paid} that were paid", allocated, "from 0 to all of it")
    closed = of["expire_n"] + of["breakage_n"] > 0
    if closed:
        check.equal(f"{what}: balance after its end", of["balance"], 0)
        check.equal(f"{what}: allocated and written off", allocated + written_off, paid)
    kept = of["transfer_out_n"] + of["refund_n"] == 0
    if not closed and of["balance"] == 0 and kept:
        check.equal(f"{what}: allocated when used up", allocated, paid)
    changed = of["top_up_n"] + of["transfer_in_n"] + of["adjust_n"] + of["given_back"]
    allowance, used = micro(of["grant_points"]), -micro(of["debit_points"])
    if kept and not changed and allowance:
        check.equal(f"{what}: allocated", allocated, paid * used // allowance)


def check_prices(check: Check, events: Table) -> None:
    """Rates events again, one by one, by the oracle, which knows what vendors published and not the shipped book."""
    texts = ["model", "billed_model", "vendor", "supplier", "service_tier", "product"]
    query = f"""SELECT {", ".join([*texts, *CLASSES])}, epoch_ms(completed_at) AS completed_at, points, wholesale_amount,
        wholesale_currency, source, id FROM usage_events WHERE points IS NOT NULL ORDER BY hash(id) LIMIT {RATED_MOST}"""
    for row in events.select(query):
        named = dict(zip([*texts, *CLASSES], row, strict=False))
        completed, points, amount, currency, *identity = row[len(texts) + len(CLASSES) :]
        usage = {column: named.pop(column) for column in CLASSES}
        event = {key: value for key, value in named.items() if value is not None}
        expect = rating_oracle.rate(event | {"usage": usage, "completed_at": completed}, None)
        # Suspended by the oracle: a model or a class whose price nobody published.
        if expect["suspense"] is None:
            check.equal(f"price of {identity}", f"{amount:.12f} {currency}",
                        f"{expect['wholesale_amount']} {expect['wholesale_currency']}")  # fmt: skip
            check.equal(f"points of {identity}", str(int(points * 10**6)), expect["points_micro"])


def check_suspense(check: Check, suspense: Table, truth: dict) -> None:
    """Open held-back events by reason are those of the truth."""
    found = dict(suspense.select("SELECT reason, count(*) FROM suspense WHERE status = 'open' GROUP BY ALL"))
    wanted = truth.get("suspended", found)
    for reason in sorted(found.keys() | wanted.keys()):
        check.equal(f"suspense {reason}", found.get(reason, 0), wanted.get(reason, 0))


def check_ledger(check: Check, store: Store, tables: dict[str, Table]) -> int:
    """Readers see the files that the ledger lists, and no others (I10); offsets leave no gap (I3). The entries read."""
    numbers = defaultdict(list)
    moved_to = {path.split("/")[1] for path in store.paths("ledger") if path.endswith("/decision.json")}
    for path in sorted(store.paths("ledger")):
        # A topic that a stream was moved to has no ledger of its own name.
        if (match := re.fullmatch(r"ledger/([^/]+)(/\d+)/(\d{20})\.json", path)) and match[1] not in moved_to:
            numbers[match[1] + match[2]].append((int(match[3]), path))
    listed: dict[str, dict[str, int]] = defaultdict(dict)
    # The highest offset of each topic that a ledger had, by where the topic's offsets begin.
    last_of_topic: dict[str, dict[int, int]] = defaultdict(lambda: defaultdict(int))
    complete = True
    for partition, entries in numbers.items():
        first = entries[0][0]
        complete &= first == 0
        check.equal(f"ledger {partition}: numbers", [n for n, _ in entries], [*range(first, first + len(entries))])
        end = None
        for (n, _), body in zip(entries, store.read([path for _, path in entries]), strict=True):
            entry = json.loads(body)
            begins = entry.get("log", {}).get("first_offset", 0)
            if entry["kind"] == "moved" or end is not None:
                wanted = begins if entry["kind"] == "moved" else end
                check.equal(f"ledger {partition} entry {n}: from", entry["from"], wanted)
            end = entry["to"]
            last_of_topic[entry["topic"]][begins] = max(end, last_of_topic[entry["topic"]][begins])
            for file in entry["files"]:
                of_table = listed[file["table"]]
                check.equal(f"{file['table']}: {file['path']} listed before", file["path"] in of_table, False)
                of_table[file["path"]] = file["rows"]
    for name, ends in last_of_topic.items():
        begun = sorted(ends)
        for before, begins in zip(begun, begun[1:]):
            check.equal(f"ledger {name}: offsets from {begins} on are above", ends[before] < begins, True)
    if not complete:
        print("the ledger's oldest entries were cleaned up: files are not compared")
        return sum(map(len, numbers.values()))
    for name, table in tables.items():
        in_ledger, in_delta = listed[name], table.rows_by_file
        check.equal(f"{name}: rows in live files, beside the ledger's", sum(in_delta.values()), sum(in_ledger.values()))
        if not table.compacted:
            foreign, unpublished = in_delta.keys() - in_ledger.keys(), in_ledger.keys() - in_delta.keys()
            differing = [path for path in in_ledger.keys() & in_delta.keys() if in_ledger[path] != in_delta[path]]
            check.none(f"{name}: files that the ledger does not list", sorted(foreign))
            check.none(f"{name}: files of the ledger that are not published", sorted(unpublished))
            check.none(f"{name}: files with other row counts", sorted(differing))
    return sum(map(len, numbers.values()))


def run(url: str, truth: dict, windows_closed: bool, rated: bool = True) -> list[str]:
    """Every check over one store, after a short table of what was read; what failed, one line each. `rated` is
    False only for a store whose events were counted and not priced."""
    check = Check()
    with tempfile.TemporaryDirectory() as scratch:
        store = Store(url, Path(scratch))
        database = duckdb.connect(config={"temp_directory": scratch})
        tables = {name: Table(store, name, database) for name in TABLES}
        print(f"{'table':<20} {'version':>8} {'files':>8} {'rows':>12}")
        for name, table in tables.items():
            rows = next(iter(table.select(f"SELECT count(*) FROM {name}")), (0,))[0]
            version = "absent" if table.version is None else table.version
            print(f"{name:<20} {version:>8} {len(table.rows_by_file):>8} {rows:>12}")
            check.equal(f"{name}: rows in the files, beside the Delta log's", rows, sum(table.rows_by_file.values()))
        check_events(check, tables["usage_events"], truth)
        print(f"{'filters asked':<20} {check_filters(check, tables['usage_events']):>30}")
        check_windows(check, tables, windows_closed)
        check_suspense(check, tables["suspense"], truth)
        if rated:
            totals = check_amounts(check, tables, windows_closed)
            print(f"{'events rated again':<20} {totals.rated:>30}")
            for currency, pico in sorted(totals.pico.items()):
                print(f"{'wholesale ' + currency:<20} {Decimal(pico).scaleb(-12):>30.12f}")
            print(f"{'prices of offers':<20} {check_offers(check, tables['quota_ledger']):>30}")
            check_charges(check, tables["usage_events"], tables["quota_ledger"])
            print(f"{'buckets':<20} {check_buckets(check, tables['quota_ledger']):>30}")
        print(f"{'ledger entries':<20} {check_ledger(check, store, tables):>30}")
    return check.failures


def main() -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store", metavar="STORE")
    parser.add_argument("--truth", type=Path, required=True, help="the JSON file that `tally generate --truth` wrote")
    parser.add_argument("--windows-closed", action="store_true", help="no subscriber window is open any more")
    options = parser.parse_args()
    failures = run(options.store, json.loads(options.truth.read_text()), options.windows_closed)
    for failure in failures:
        print(f"FAILED {failure}")
    kinds = Counter(failure.split(" ")[0].rstrip(",:") for failure in failures)
    print(f"{len(failures)} failures in {', '.join(kinds)}" if failures else "the tables equal the truth")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
