"""Reads a store whose tables gained columns, without any of Tally's code.

delta-rs reads through the Delta log, which adds the columns that old files lack; DuckDB reads the live files themselves.

    check_evolution.py STORE EVENTS RATED INPUT POINTS     what usage_events must have; exit code 1 where it has not
"""

import sys
from decimal import Decimal
from pathlib import Path
from urllib.parse import unquote

import duckdb
from deltalake import DeltaTable, QueryBuilder

SUMS = "count(*), count(points), sum(input), sum(points), count(wholesale_currency)"
WINDOWS = "sum(events), sum(input), sum(points)"
TABLES = ["usage_events", "usage_by_model", "usage_by_subscriber", "suspense"]
RATED = ["points", "retail_amount", "wholesale_amount", "retail_currency", "wholesale_currency"]


def by_delta(table: DeltaTable, query: str) -> list:
    """The only row of a query, as delta-rs answers it."""
    batches = QueryBuilder().register("t", table).execute(query)
    [row] = [list(row) for batch in batches for row in zip(*(column.to_pylist() for column in batch.columns), strict=True)]
    return row


def by_duckdb(root: Path, table: DeltaTable, query: str) -> list:
    """The only row of a query over the live files, as DuckDB answers it."""
    paths = [unquote(path) for path in table.get_add_actions(flatten=True)["path"].to_pylist()]
    database = duckdb.connect()
    files = [str(root / path) for path in paths]
    database.read_parquet(files, union_by_name=True, hive_partitioning=False).create_view("t")
    return list(database.execute(query).fetchone())


def main() -> int:
    """The exit code."""
    root = Path(sys.argv[1])
    events, rated, tokens, points = map(int, sys.argv[2:])
    wanted = [events, rated, tokens, Decimal(points), rated]
    failures = []
    for name in TABLES:
        folder = root / "tables" / name
        table = DeltaTable(str(folder))
        fields = {field.name: field for field in table.schema().fields}
        if name != "suspense":
            failures += [f"{name}.{column}" for column in RATED if not (column in fields and fields[column].nullable)]
        if name == "usage_events":
            for how, found in [("delta-rs", by_delta(table, f"SELECT {SUMS} FROM t")),
                               ("DuckDB", by_duckdb(folder, table, f"SELECT {SUMS} FROM t"))]:  # fmt: skip
                if found != wanted:
                    failures.append(f"{how}: found {found}, should be {wanted}")
            table.load_as_version(1)
            found = by_delta(table, "SELECT count(*), count(account) FROM t")
            if found != [events - rated] * 2:
                failures.append(f"version 1 of {name}: found {found}, should be {events - rated} twice")
        if name == "usage_by_model":
            for how, found in [("delta-rs", by_delta(table, f"SELECT {WINDOWS} FROM t")),
                               ("DuckDB", by_duckdb(folder, table, f"SELECT {WINDOWS} FROM t"))]:  # fmt: skip
                if found != [events, tokens, Decimal(points)]:
                    failures.append(f"{name} by {how}: found {found}")
    print("\n".join(failures) or "the tables are as they should be")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
