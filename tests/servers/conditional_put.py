"""Shows that the S3 server of the tests decides a race of conditional writes, as the epoch ledger needs.

Many clients create the same object with If-None-Match at once, round after round. One of them must win each
round, the others must be told that the object exists, and the object must hold the winner's body.

    conditional_put.py [--rounds 100] [--clients 16]        (with the AWS_… lines of scripts/s3.sh)
"""

import argparse
import sys
import uuid
from concurrent.futures import ThreadPoolExecutor

import obstore
from obstore.exceptions import AlreadyExistsError
from obstore.store import S3Store


def body_of(client: int) -> bytes:
    """What a client writes."""
    return f"client {client} ".encode() * 50


def create(store: S3Store, path: str, client: int) -> bool:
    """Whether this client was the one who created `path`."""
    try:
        obstore.put(store, path, body_of(client), mode="create")
    except AlreadyExistsError:
        return False
    return True


def race(rounds: int, clients: int) -> list[str]:
    """Runs every round in a folder of its own; what went wrong, one line each."""
    store = S3Store("tally", prefix=f"race-{uuid.uuid4()}", client_options={"allow_http": True})
    failures = []
    with ThreadPoolExecutor(clients) as pool:
        for number in range(rounds):
            path = f"ledger/{number:020}.json"
            won = list(pool.map(lambda client, path=path: create(store, path, client), range(clients)))
            if won.count(True) != 1:
                failures.append(f"round {number}: {won.count(True)} winners")
            elif bytes(obstore.get(store, path).bytes()) != body_of(won.index(True)):
                failures.append(f"round {number}: the object does not hold what its creator wrote")
    return failures


def main() -> int:
    """The exit code: 0 when every round had one winner, 1 otherwise."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--rounds", type=int, default=100)
    arguments.add_argument("--clients", type=int, default=16)
    options = arguments.parse_args()
    failures = race(options.rounds, options.clients)
    for failure in failures:
        print(failure)
    print(f"{options.rounds - len(failures)} of {options.rounds} races of {options.clients} clients had one winner")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
