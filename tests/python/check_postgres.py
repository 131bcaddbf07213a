"""Reads over the PostgreSQL wire as a BI tool does, by psycopg: with parameters, as text and binary, with statements
prepared and transactions begun, and by what the catalogs say.

The store has EVENTS events, of them OF_DAY of vendor-0 on 2026-11-21 with INPUT tokens of input. Exit codes: 0 all
holds, 1 a check failed.

    check_postgres.py HOST PORT EVENTS OF_DAY INPUT
"""

import sys
from datetime import UTC, date, datetime
from decimal import Decimal

import psycopg
from psycopg.rows import dict_row

# Type ids of PostgreSQL, by which a client chooses its own types.
TYPE_IDS = {"bigint": 20, "numeric": 1700, "date": 1082, "timestamp with time zone": 1184}
DAY = date(2026, 11, 21)
OF_DAY = "SELECT count(*), sum(input) FROM usage_events WHERE vendor = %s AND day = %s AND input >= %s"


class CheckFailed(Exception):
    """What was found is not what was wanted."""


def equal(what: str, found: object, wanted: object) -> None:
    if found != wanted:
        raise CheckFailed(f"{what}: found {found!r}, should be {wanted!r}")


def check_parameters(connection: psycopg.Connection, of_day: int, tokens: int) -> None:
    """The same answer however parameters and rows travel."""
    for binary in (False, True):
        with connection.cursor(binary=binary) as cursor:
            # More often than psycopg waits for before it prepares, and prepared at once.
            for prepare in (None, None, True, None, None, None, None, False):
                cursor.execute(OF_DAY, ("vendor-0", DAY, 0), prepare=prepare)
                equal(f"of a day, binary {binary}, prepare {prepare}", cursor.fetchall(), [(of_day, tokens)])
            cursor.execute(OF_DAY, ("nobody's 'vendor' \\ 电信", DAY, 0))
            equal("of nobody", cursor.fetchall(), [(0, None)])
    with connection.cursor(row_factory=dict_row) as cursor:
        cursor.execute(
            "SELECT vendor, count(*) AS events FROM usage_events WHERE vendor = ANY(%s) GROUP BY vendor ORDER BY vendor",
            (["vendor-0", "vendor-2"],),
        )
        equal("vendors", [row["vendor"] for row in cursor], ["vendor-0", "vendor-2"])


def check_types(connection: psycopg.Connection) -> None:
    """Values and columns have the types that a client makes numbers and times of."""
    query = """SELECT max(input) AS input, CAST('0.5' AS DECIMAL(38, 12)) AS amount, min(completed_at) AS first,
        max(day) AS last, NULL AS nothing, count(*) > 0 AS any FROM usage_events"""
    for binary in (False, True):
        with connection.cursor(binary=binary) as cursor:
            cursor.execute(query)
            ids = {column.name: column.type_code for column in cursor.description}
            wanted = {"input": "bigint", "amount": "numeric", "first": "timestamp with time zone", "last": "date"}
            equal("types", {name: ids[name] for name in wanted}, {name: TYPE_IDS[of] for name, of in wanted.items()})
            [(tokens, amount, first, last, nothing, any_)] = cursor.fetchall()
            equal("amount", (amount, str(amount)), (Decimal("0.5"), "0.500000000000"))
            equal("first", first, datetime(2026, 11, 20, 6, 0, 1, 500_000, tzinfo=UTC))
            equal("others", (isinstance(tokens, int), last, nothing, any_), (True, date(2026, 11, 22), None, True))


def check_catalogs(connection: psycopg.Connection) -> None:
    """What a tool asks before it shows a tree of tables."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT table_name FROM information_schema.tables WHERE table_schema = %s ORDER BY table_name", ("public",)
        )
        tables = [name for (name,) in cursor]
        equal("tables", {"usage_events", "usage_by_model", "suspense", "quota_ledger"} - set(tables), set())
        cursor.execute(
            """SELECT column_name, data_type, is_nullable FROM information_schema.columns
            WHERE table_schema = %s AND table_name = %s ORDER BY ordinal_position""",
            ("public", "usage_events"),
        )
        columns = {name: nullable for name, _, nullable in cursor}
        equal("columns", list(columns)[:2], ["source", "id"])
        equal("may be null", (columns["source"], columns["region"]), ("NO", "YES"))
        cursor.execute(
            """SELECT n.nspname, c.relname FROM pg_catalog.pg_class c
            JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.relname = %s""",
            ("usage_events",),
        )
        equal("pg_class", cursor.fetchall(), [("public", "usage_events")])
        cursor.execute("SELECT current_schema(), current_database()")
        equal("where", cursor.fetchall(), [("public", "tally")])
        for setting, wanted in [
            ("standard_conforming_strings", "on"),
            ("transaction_read_only", "on"),
            ("TRANSACTION ISOLATION LEVEL", "read committed"),
            ("search_path", "public"),
        ]:
            cursor.execute(f"SHOW {setting}")
            equal(setting, cursor.fetchall(), [(wanted,)])


def check_refusals(connection: psycopg.Connection) -> None:
    """Nothing is written, and no setting is made up; an error ends its statement, and after a rollback the connection goes on."""
    for statement in [
        "INSERT INTO usage_events SELECT * FROM usage_events",
        "CREATE TEMPORARY TABLE mine AS SELECT 1",
        "UPDATE usage_events SET input = 0",
        "SHOW shared_buffers",
    ]:
        try:
            connection.execute(statement)
        except psycopg.Error as error:
            if error.sqlstate is None or not any(words in str(error) for words in ("not allowed", "unrecognized")):
                raise CheckFailed(f"{statement}: {error.sqlstate} {error}") from error
        else:
            raise CheckFailed(f"{statement}: was taken")
        connection.rollback()
        equal("after it", connection.execute("SELECT 1").fetchall(), [(1,)])


def main(host: str, port: str, events: str, of_day: str, tokens: str) -> int:
    """The exit code."""
    try:
        # As a tool connects: a transaction is begun with the first statement.
        with psycopg.connect(host=host, port=port, user="tally", dbname="tally", connect_timeout=10) as connection:
            equal("events", connection.execute("SELECT count(*) FROM usage_events").fetchall(), [(int(events),)])
            check_parameters(connection, int(of_day), int(tokens))
            check_types(connection)
            check_catalogs(connection)
            connection.commit()
            check_refusals(connection)
    except (CheckFailed, psycopg.Error) as failure:
        print(f"{type(failure).__name__}: {failure}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
