"""Shows that `check_tables.py` accepts a good store and notices each way in which one can be wrong."""

import contextlib
import copy
import io
import json
import tempfile
import unittest
from pathlib import Path
from types import SimpleNamespace

import check_tables
import duckdb
from arro3.core import Array, DataType, Table
from check_tables import CLASSES
from deltalake import BloomFilterProperties, ColumnProperties, DeltaTable, WriterProperties, write_deltalake

FILTERED = WriterProperties(
    column_properties={"account": ColumnProperties(bloom_filter_properties=BloomFilterProperties(True))}
)

MODELS = [("deepseek-v4-flash", "deepseek"), ("qwen-max", "bailian")]


def rows_of_events() -> list[dict]:
    """Twenty events on two partitions, whose counts all differ."""
    return [
        {"source": "gw", "id": f"r{i}", "model": MODELS[i % 2][0], "vendor": MODELS[i % 2][1],
         "day": f"2026-11-{22 + i // 10}", "kafka_partition": i % 2, "kafka_offset": i // 4, "batch_index": i // 2 % 2,
         "account": f"A{i % 7}"}
        | {column: i * (k + 1) for k, column in enumerate(CLASSES)}
        for i in range(20)
    ]  # fmt: skip


def rows_of_windows(events: list[dict]) -> list[dict]:
    """One window a model."""
    return [
        {"model": model, "vendor": vendor}
        | {column: sum(row[column] for row in events if row["model"] == model) for column in CLASSES}
        for model, vendor in MODELS
    ]


def truth_of(events: list[dict]) -> dict:
    """The truth file of these events."""
    def tokens(rows: list[dict]) -> dict[str, str]:
        return {column: str(sum(row[column] for row in rows)) for column in CLASSES}

    by_model = []
    for model, vendor in MODELS:
        rows = [row for row in events if row["model"] == model]
        by_model.append({"model": model, "vendor": vendor, "events": len(rows), "tokens": tokens(rows)})
    suspended = {"unknown_model": 2, "no_price": 1}
    return {"sent": 25, "accepted": 20, "duplicates": 2, "suspended": suspended,
            "tokens": tokens(events), "by_model": by_model}  # fmt: skip


class CheckTables(unittest.TestCase):
    """Each test makes a store in a folder, breaks one thing and expects the failure that names it."""

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.store = Path(folder.name)
        self.events = rows_of_events()
        windows = rows_of_windows(self.events)
        self.tables = {
            "usage_events": self.events,
            "usage_by_model": windows,
            "usage_by_subscriber": copy.deepcopy(windows),
            "suspense": [{"reason": r, "status": "open"} for r in ["unknown_model", "unknown_model", "no_price"]],
        }
        self.truth = truth_of(self.events)

    def write(self, name: str, rows: list[dict], **options: object) -> None:
        types = {int: DataType.int64(), str: DataType.string()}
        columns = {
            column: Array([row[column] for row in rows], types[type(value)]) for column, value in rows[0].items()
        }
        if name == "usage_events":
            options = {"writer_properties": FILTERED} | options
        write_deltalake(self.store / "tables" / name, Table(columns), **options)

    def write_ledger(self, partition: int, n: int, entry: dict) -> None:
        path = self.store / "ledger" / "usage.events" / str(partition) / f"{n:020}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(entry))

    def lay(self) -> None:
        """Writes the tables, and a ledger of three entries of which the second lists every file."""
        for name, rows in self.tables.items():
            self.write(name, rows, partition_by=["day"] if name == "usage_events" else None)
        files = []
        for name in self.tables:
            adds = DeltaTable(self.store / "tables" / name).get_add_actions(flatten=True)
            for path, rows in zip(adds["path"].to_pylist(), adds["num_records"].to_pylist(), strict=True):
                files.append({"table": name, "path": path, "rows": rows})
        for n, listed in enumerate([[], files, []]):
            self.write_ledger(0, n, {"kind": "epoch", "topic": "usage.events", "from": 5 * (n > 1), "to": 5 * (n > 0), "files": listed})

    def failures(self, windows_closed: bool = True) -> str:
        with contextlib.redirect_stdout(io.StringIO()):
            return "\n".join(check_tables.run(str(self.store), self.truth, windows_closed, rated=False))

    def test_accepts_a_good_store(self) -> None:
        self.lay()
        self.assertEqual(self.failures(), "")

    def test_notices_an_identity_twice(self) -> None:
        self.events[7]["id"] = self.events[3]["id"]
        self.lay()
        self.assertRegex(self.failures(), r"^identity .*: 1, such as \('gw', 'r3', 2\)$")

    def test_notices_a_position_twice(self) -> None:
        self.events[6]["batch_index"] = 0
        self.lay()
        self.assertRegex(self.failures(), r"^position .*: 1, such as \(0, 1, 0, 2\)$")

    def test_notices_a_lost_event(self) -> None:
        del self.events[4]
        self.lay()
        self.assertIn("usage_events, total events: found 19, should be 20", self.failures())

    def test_notices_one_token_of_one_model(self) -> None:
        self.events[4]["reasoning"] += 1
        self.lay()
        model = "deepseek-v4-flash deepseek"
        self.assertIn(f"usage_events, model {model} reasoning: found 541, should be 540", self.failures())
        self.assertIn(f"usage_by_model {model} reasoning: found 540, should be 541", self.failures())

    def test_lets_open_windows_hold_a_part(self) -> None:
        del self.tables["usage_by_subscriber"][1]
        self.lay()
        self.assertEqual(self.failures(windows_closed=False), "")
        self.assertIn("usage_by_subscriber qwen-max bailian input", self.failures())

    def test_notices_windows_above_the_events(self) -> None:
        self.tables["usage_by_subscriber"][1]["output"] += 1
        self.lay()
        self.assertRegex(self.failures(windows_closed=False), r"^usage_by_subscriber .* found {'output': 501}")

    def test_notices_another_reason(self) -> None:
        self.tables["suspense"][2]["reason"] = "malformed"
        self.lay()
        self.assertIn("suspense malformed: found 1, should be 0", self.failures())
        self.assertIn("suspense no_price: found 0, should be 1", self.failures())

    def test_notices_a_file_that_the_ledger_does_not_list(self) -> None:
        self.lay()
        self.write("suspense", [{"reason": "no_price", "status": "open"}], mode="append")
        self.assertIn("suspense: files that the ledger does not list: 1", self.failures())

    def test_notices_an_unpublished_file(self) -> None:
        self.lay()
        self.write_ledger(0, 3, {"kind": "epoch", "topic": "usage.events", "from": 5, "to": 6, "files": [{"table": "suspense", "path": "x.parquet", "rows": 1}]})
        self.assertIn("suspense: files of the ledger that are not published: 1, such as x.parquet", self.failures())

    def test_notices_gaps_in_the_ledger(self) -> None:
        self.lay()
        self.write_ledger(0, 4, {"kind": "epoch", "topic": "usage.events", "from": 6, "to": 6, "files": []})
        self.assertIn("ledger usage.events/0: numbers", self.failures())
        self.assertIn("entry 4: from: found 6, should be 5", self.failures())

    def test_notices_files_without_filters(self) -> None:
        self.lay()
        self.write("usage_events", self.events, mode="overwrite", partition_by=["day"], writer_properties=None)
        self.assertRegex(self.failures(), r"^filters of .*: found 0, should be 1\n")

    def test_accepts_compaction_that_keeps_the_rows(self) -> None:
        self.lay()
        self.write("usage_events", self.events, mode="overwrite", partition_by=["day"])
        self.assertEqual(self.failures(), "")
        self.write("usage_events", self.events[1:], mode="overwrite", partition_by=["day"])
        self.assertIn("usage_events: rows in live files, beside the ledger's: found 19, should be 20", self.failures())


class CheckFilters(unittest.TestCase):
    """Filters as somebody else writes them, whole and emptied."""

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.file = Path(folder.name) / "events.parquet"
        self.database = duckdb.connect()
        rows = "SELECT 'A' || i % 100 AS account, i AS input FROM range(5000) rows(i)"
        self.database.execute(f"COPY ({rows}) TO '{self.file}' (FORMAT parquet)")

    def failures(self) -> str:
        check = check_tables.Check()
        events = SimpleNamespace(files=[str(self.file)], database=self.database)
        self.assertEqual(check_tables.check_filters(check, events), 1)
        return "\n".join(check.failures)

    def test_accepts_filters_that_have_every_account(self) -> None:
        self.assertEqual(self.failures(), "")

    def test_notices_a_filter_without_the_accounts(self) -> None:
        places = "SELECT bloom_filter_offset, bloom_filter_length FROM parquet_metadata(?) WHERE path_in_schema = 'account'"
        [(offset, length)] = self.database.execute(places, [str(self.file)]).fetchall()
        content = bytearray(self.file.read_bytes())
        # Behind a short header.
        content[offset + 32 : offset + length] = bytes(length - 32)
        self.file.write_bytes(content)
        self.assertIn("accounts that the filter of events.parquet denies", self.failures())


class CheckAmounts(unittest.TestCase):
    """The amounts of three tables that belong together, one of them broken at a time."""

    def tables(self, **broken: str) -> dict:
        """A million cached tokens of V4-Pro off-peak, and nothing at all of flash."""
        values = {"points": "1000000", "amount": "0.15", "window": "0.15", "charged": "1000000", "paid": "0"} | broken
        database = check_tables.duckdb.connect()
        counts = ", ".join(f"CASE WHEN n = 0 THEN {10**6 if c == 'cached_input' else 0} ELSE 0 END AS {c}" for c in CLASSES)
        database.execute(f"""CREATE TABLE usage_events AS SELECT 'gw' AS source, 'r' || n AS id, model, model AS billed_model,
            'deepseek' AS vendor, 'deepseek' AS supplier, 'standard' AS service_tier, NULL AS product, {counts},
            TIMESTAMPTZ '2026-11-21 10:00:00+08' AS completed_at,
            CAST(CASE WHEN n = 0 THEN {values["points"]} ELSE 0 END AS DECIMAL(38, 6)) AS points,
            CAST(0 AS DECIMAL(38, 12)) AS retail_amount, 'CNY' AS wholesale_currency,
            CAST(CASE WHEN n = 0 THEN {values["amount"]} ELSE 0 END AS DECIMAL(38, 12)) AS wholesale_amount
            FROM (VALUES (0, 'deepseek-v4-pro'), (1, 'deepseek-flash')) AS models(n, model)""")
        for window in ["usage_by_model", "usage_by_subscriber"]:
            database.execute(f"""CREATE TABLE {window} AS SELECT * REPLACE (CAST(CASE WHEN points > 0
                THEN {values["window"]} ELSE 0 END AS DECIMAL(38, 12)) AS wholesale_amount) FROM usage_events""")
        database.execute(f"""CREATE TABLE quota_ledger AS SELECT 'overrun' AS kind,
            CAST(-{values["charged"]} AS DECIMAL(38, 6)) AS points, CAST(0.15 AS DECIMAL(38, 12)) AS amount
            UNION ALL SELECT 'payg', 0, {values["paid"]}""")
        tables = {}
        for name in ["usage_events", "usage_by_model", "usage_by_subscriber", "quota_ledger"]:
            tables[name] = check_tables.Table.__new__(check_tables.Table)
            tables[name].name, tables[name].database, tables[name].rows_by_file = name, database, {"file": 2}
        return tables

    def failures(self, **broken: str) -> tuple[int, str]:
        check = check_tables.Check()
        totals = check_tables.check_amounts(check, self.tables(**broken), True)
        return totals.rated, "\n".join(check.failures)

    def test_accepts_good_amounts(self) -> None:
        self.assertEqual(self.failures(), (2, ""))

    def test_notices_rows_that_nobody_rated(self) -> None:
        tables = self.tables()
        tables["usage_events"].database.execute("UPDATE usage_events SET points = NULL WHERE id = 'r1'")
        check = check_tables.Check()
        self.assertEqual(check_tables.check_amounts(check, tables, True).rated, 1)
        self.assertIn("usage_events: rows that were rated, of all: found 1, should be 2", check.failures)

    def test_notices_rows_that_nobody_can_rate_again(self) -> None:
        for where, unknown in [("id = 'r1'", 1), ("true", 2)]:
            with self.subTest(where):
                tables = self.tables()
                for name in ["usage_events", "usage_by_model", "usage_by_subscriber"]:
                    tables[name].database.execute(f"UPDATE {name} SET billed_model = 'acme-1' WHERE {where}")
                check = check_tables.Check()
                check_tables.check_amounts(check, tables, True)
                self.assertEqual(check.failures, [
                    f"usage_events: rows of models that no list has: found {unknown}, should be 0",
                    f"usage_events: rows that were rated, of all: found {2 - unknown}, should be 2",
                ])  # fmt: skip

    def test_notices_each_wrong_amount(self) -> None:
        for broken, words in [
            ({"amount": "0.30", "window": "0.30"}, "price of ['gw', 'r0']: found 0.300000000000 CNY, should be 0.150"),
            ({"points": "999999", "charged": "999999"}, "points of ['gw', 'r0']: found 999999000000"),
            ({"amount": "0.30", "window": "0.30"}, "wholesale of every row in CNY, pico: found 300000000000, should be"),
            ({"points": "999999", "charged": "999999"}, "points of 1 rows of deepseek-v4-pro deepseek"),
            ({"window": "0.150000000001"}, "usage_by_model: amounts"),
            ({"window": "0.150000000001"}, "usage_by_subscriber: amounts"),
            ({"charged": "999999.999999"}, "quota_ledger: points of usage"),
            ({"paid": "0.000000000001"}, "quota_ledger: paid for usage"),
        ]:
            with self.subTest(words):
                self.assertIn(words, self.failures(**broken)[1])


class CheckBuckets(unittest.TestCase):
    """The rows of three buckets and the events that were charged to them, broken in one place at a time."""

    # Account, bucket, kind, points, amount, what is left, event, offset: used and closed; used up; raised and used.
    ROWS = """('A', 'b', 'grant', 10, 9.9, 10, NULL, 0), ('A', 'b', 'debit', -3, 2.97, 7, 'e1', 1),
        ('A', 'b', 'expire', -7, 0, 0, NULL, 9), ('A', 'b', 'breakage', 0, 6.93, 0, NULL, 9),
        ('B', 'b', 'grant', 3, 0.000000000001, 3, NULL, 2), ('B', 'b', 'debit', -2, 0, 1, 'e2', 3),
        ('B', 'b', 'debit', -1, 0.000000000001, 0, 'e3', 4), (NULL, NULL, 'overrun', -1, 5, NULL, 'e3', 4),
        ('C', 'b', 'grant', 10, 10, 10, NULL, 5), ('C', 'b', 'top_up', 10, 2, 20, NULL, 6),
        ('C', 'b', 'debit', -5, 3, 15, 'e4', 7)"""

    def failures(self, broken: str) -> str:
        database = check_tables.duckdb.connect()
        database.execute(f"""CREATE TABLE quota_ledger AS SELECT account, bucket, kind, 'CNY' AS currency,
            CAST(points AS DECIMAL(38, 6)) AS points, CAST(amount AS DECIMAL(38, 12)) AS amount,
            CAST(balance AS DECIMAL(38, 6)) AS balance_after, 'gw' AS event_source, event_id, 0 AS kafka_partition,
            kafka_offset, 0 AS batch_index FROM (VALUES {self.ROWS})
            AS rows(account, bucket, kind, points, amount, balance, event_id, kafka_offset)""")
        database.execute("""CREATE TABLE usage_events AS SELECT 'gw' AS source, id,
            CAST(points AS DECIMAL(38, 6)) AS points, CAST(amount AS DECIMAL(38, 12)) AS retail_amount
            FROM (VALUES ('e0', 0, 0), ('e1', 3, 2.97), ('e2', 2, 0), ('e3', 2, 0.000000000001), ('e4', 5, 3))
            AS rows(id, points, amount)""")
        database.execute(broken)
        tables = []
        for name in ["usage_events", "quota_ledger"]:
            table = check_tables.Table.__new__(check_tables.Table)
            table.name, table.database, table.rows_by_file = name, database, {"file": 1}
            tables.append(table)
        check = check_tables.Check()
        check_tables.check_charges(check, *tables)
        self.assertGreater(check_tables.check_buckets(check, tables[1]), 0)
        return "\n".join(check.failures)

    def test_accepts_good_buckets(self) -> None:
        self.assertEqual(self.failures("SELECT 1"), "")

    def test_notices_each_wrong_row(self) -> None:
        ledger = "UPDATE quota_ledger SET"
        for broken, words in [
            (f"{ledger} amount = 6.930000000001 WHERE kind = 'breakage'", "bucket b of A: allocated and written off"),
            (f"{ledger} amount = 0 WHERE event_id = 'e3'", "bucket b of B: allocated when used up"),
            (f"{ledger} amount = 0.000000000001 WHERE event_id = 'e2'", "bucket b of B: allocated, of the 1 that were"),
            (f"{ledger} amount = 2.970000000001 WHERE event_id = 'e1'", "bucket b of A: allocated: found"),
            (f"{ledger} amount = 13 WHERE event_id = 'e4'", "bucket b of C: allocated, of the"),
            (f"{ledger} balance_after = 8 WHERE event_id = 'e1'", "balances that are not grants less uses"),
            (f"{ledger} points = 9 WHERE kind = 'top_up'", "balances that are not grants less uses"),
            (f"{ledger} balance_after = NULL WHERE event_id = 'e4'", "balances that are not grants less uses"),
            (f"{ledger} points = -4 WHERE event_id = 'e3' AND kind = 'debit'", "balances that are not grants less"),
            ("DELETE FROM quota_ledger WHERE kind = 'grant' AND account = 'C'", "bucket b of C: grants"),
            ("DELETE FROM quota_ledger WHERE kind = 'overrun'", "events that are charged otherwise"),
            (f"{ledger} event_id = 'e0' WHERE event_id = 'e1'", "events that are charged otherwise than they are"),
            ("UPDATE usage_events SET retail_amount = 3.000001 WHERE id = 'e4'", "events that are charged otherwise"),
        ]:
            with self.subTest(broken):
                self.assertIn(words, self.failures(broken))


if __name__ == "__main__":
    unittest.main()
