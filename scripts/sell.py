"""Sells packages to the synthetic subscribers of the demo: account commands over HTTP.

    sell.py HOST:PORT ACCOUNTS     the packages that ship with Tally, by the number of the account
"""

import http.client
import json
import sys
import threading
import time

HOUR_MS = 3_600_000
THREADS = 8


def commands(number: int, bought_at: int) -> list[dict]:
    """What the account of a number buys: most of them the small package, some more or another."""
    named = {0: ["mobile-gift-500k", "telecom-10m"], 1: ["telecom-dev-15m"], 2: ["telecom-40m"]}
    packages = named.get(number % 10, ["telecom-10m"])
    bought = [{"command": "purchase", "id": f"buy-{number}-{package}", "at": bought_at, "package": package}
              for package in packages]  # fmt: skip
    if number % 20 == 3:
        flags = {"region": "sh", "overflow": "sh-telecom-payg"}
        bought.append({"command": "set_flags", "id": f"flags-{number}", "at": bought_at, "flags": flags})
    return bought


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
    threads = [
        threading.Thread(target=sell, args=(address, range(first, accounts, THREADS), bought_at, refused))
        for first in range(THREADS)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for line in refused[:5]:
        print(line, file=sys.stderr)
    sold = sum(len(commands(number, bought_at)) for number in range(accounts))
    print(f"{sold - len(refused)} commands of {accounts} accounts in {time.monotonic() - began:.1f} s")
    return 1 if refused else 0


if __name__ == "__main__":
    sys.exit(main())
