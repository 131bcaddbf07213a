"""Sells packages to the synthetic subscribers of the demo: account commands over HTTP.

    sell.py HOST:PORT ACCOUNTS     the packages that ship with Tally, by the number of the account
"""

import http.client
import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor

HOUR_MS = 3_600_000
THREADS = 8


# By the last two digits of the account's number: its region, what it buys, and what it pays by where that is used up.
# Everything that ships is sold; whom nothing is said of buys the small package.
OFFERS = {
    3: ("sh", ["telecom-10m"], "sh-telecom-payg"),
    13: ("sh", ["telecom-10m"], "sh-mobile-payg"),
    23: ("sh", ["sh-telecom-trial-25m", "telecom-10m"], "sh-telecom-payg"),
    33: ("sh", ["unicom-opc-30m"], None),
    43: ("sh", ["telecom-10m"], "sh-telecom-payg"),
    53: ("bj", ["bj-mobile-20m"], None),
    63: ("hb", ["hb-mobile-30m"], None),
    73: ("ha", ["ha-mobile-50m"], None),
    4: (None, ["telecom-80m"], None),
    14: (None, ["telecom-dev-70m"], None),
    24: (None, ["telecom-dev-150m"], None),
}
# By the last digit of the others'.
MANY = {0: ["mobile-gift-500k", "telecom-10m"], 1: ["telecom-dev-15m"], 2: ["telecom-40m"]}


def commands(number: int, bought_at: int) -> list[dict]:
    """What the account of a number buys: most of them the small package, some more or another."""
    otherwise = (None, MANY.get(number % 10, ["telecom-10m"]), None)
    region, packages, tariff = OFFERS.get(number % 100, otherwise)
    said = []
    if region:
        # Before the purchases: packages of a region are sold to its accounts only.
        flags = {"region": region} | ({"overflow": tariff} if tariff else {})
        said.append({"command": "set_flags", "id": f"flags-{number}", "at": bought_at, "flags": flags})
    for package in packages:
        bought = {"command": "purchase", "id": f"buy-{number}-{package}", "at": bought_at, "package": package}
        said.append(bought)
    return said


def sell(address: str, numbers: range, bought_at: int, refused: list[str]) -> None:
    """Posts the commands of some accounts over one connection."""
    connection = http.client.HTTPConnection(address)
    for number in numbers:
        for command in commands(number, bought_at):
            body = json.dumps(command)
            connection.request("POST", f"/v1/accounts/A{number:09}/commands", body, {"content-type": "application/json"})
            answer = connection.getresponse()
            text = answer.read()
            if answer.status != 202:
                refused.append(f"{answer.status} {text.decode()}")


def main() -> int:
    address, accounts = sys.argv[1], int(sys.argv[2])
    began = time.monotonic()
    bought_at = int(time.time() * 1000) - 2 * HOUR_MS
    refused: list[str] = []
    with ThreadPoolExecutor(THREADS) as pool:
        selling = [pool.submit(sell, address, range(first, accounts, THREADS), bought_at, refused) for first in range(THREADS)]
    for part in selling:
        part.result()  # raises what ended a thread, such as a door that does not answer
    for line in refused[:5]:
        print(line, file=sys.stderr)
    sold = sum(len(commands(number, bought_at)) for number in range(accounts))
    print(f"{sold - len(refused)} commands of {accounts} accounts in {time.monotonic() - began:.1f} s")
    return 1 if refused else 0


if __name__ == "__main__":
    sys.exit(main())
