"""Reads over Arrow Flight SQL, with TLS, by the ADBC driver of the Arrow project, as finance and as a vendor.

The process has three events, two of them of the vendor zhipu; who asks, and with what, is the environment's:
FINANCE_TOKEN, VENDOR_TOKEN (of vendor:zhipu) and GATEWAY_TOKEN. Exit codes: 0 all holds, 1 a check failed.

    check_flight.py PORT CERTIFICATE
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from adbc_driver_flightsql import DatabaseOptions, dbapi
from adbc_driver_manager import AdbcStatusCode
from arro3.core import Array, DataType, Field, RecordBatch, Schema, Table

COUNT = "SELECT count(*) AS n FROM usage_events"


class CheckFailed(Exception):
    """What was found is not what was wanted."""


class Door:
    """Where it is, and which certificate it must have."""

    def __init__(self, port: str, certificate: str) -> None:
        self.uri = f"grpc+tls://localhost:{port}"
        self.trusted = {DatabaseOptions.TLS_ROOT_CERTS.value: certificate}

    @contextmanager
    def cursor(self, **credentials: str) -> Iterator[dbapi.Cursor]:
        # There are no transactions: without autocommit the driver would ask for one.
        with (
            dbapi.connect(self.uri, db_kwargs=self.trusted | credentials, autocommit=True) as connection,
            connection.cursor() as cursor,
        ):
            yield cursor

    def column(self, credentials: dict[str, str], sql: str, name: str, parameters: Any = None) -> list:
        """One column of an answer."""
        with self.cursor(**credentials) as cursor:
            cursor.execute(sql, parameters)
            return Table.from_arrow(cursor.fetch_arrow())[name].to_pylist()

    def refuses(self, credentials: dict[str, str], sql: str, status: AdbcStatusCode, words: str = "") -> None:
        try:
            found = self.column(credentials, sql, "n")
        except dbapi.Error as error:
            if error.status_code != status or words not in str(error):
                raise CheckFailed(f"{sql}: {error!r}, wanted {status} with {words!r}") from error
            return
        raise CheckFailed(f"{sql}: answered with {found}")


def bearer(token: str) -> dict[str, str]:
    return {DatabaseOptions.AUTHORIZATION_HEADER.value: f"Bearer {token}"}


def expect(found: object, wanted: object, what: str) -> None:
    if found != wanted:
        raise CheckFailed(f"{what}: {found}, wanted {wanted}")


def check(door: Door, finance: str, vendor: str, gateway: str) -> None:
    expect(door.column(bearer(finance), COUNT, "n"), [3], "events that finance sees")
    sql = "SELECT vendor, count(*) AS n FROM usage_events GROUP BY vendor ORDER BY vendor"
    expect(door.column(bearer(finance), sql, "vendor"), ["qwen", "zhipu"], "vendors that finance sees")
    # The token as the password, in the handshake that drivers begin with who know nothing else.
    password = {"username": "amy", "password": finance}
    expect(door.column(password, COUNT, "n"), [3], "events that finance sees with a password")
    schema = Schema([Field("$1", DataType.string())])
    row = RecordBatch.from_arrays([Array(["qwen"], DataType.string())], schema=schema)
    sql = f"{COUNT} WHERE vendor = $1"
    expect(door.column(bearer(finance), sql, "n", row), [1], "events of the vendor that is a parameter")

    expect(door.column(bearer(vendor), COUNT, "n"), [2], "events that the vendor sees")
    sql = "SELECT DISTINCT vendor FROM usage_events"
    expect(door.column(bearer(vendor), sql, "vendor"), ["zhipu"], "vendors that the vendor sees")
    door.refuses(bearer(vendor), "SELECT * FROM quota_ledger", AdbcStatusCode.INVALID_ARGUMENT, "not found")

    door.refuses(bearer(finance), "DELETE FROM usage_events", AdbcStatusCode.INVALID_ARGUMENT)
    door.refuses(bearer(gateway), COUNT, AdbcStatusCode.UNAUTHORIZED)
    for wrong in (bearer("tally_nonsense"), bearer(finance[:-1]), {}, password | {"password": "nonsense"}):
        door.refuses(wrong, COUNT, AdbcStatusCode.UNAUTHENTICATED)


def main(arguments: list[str]) -> int:
    port, certificate = arguments
    tokens = (os.environ[f"{name}_TOKEN"] for name in ("FINANCE", "VENDOR", "GATEWAY"))
    try:
        check(Door(port, Path(certificate).read_text(encoding="ascii")), *tokens)
    except CheckFailed as failure:
        print(failure, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
