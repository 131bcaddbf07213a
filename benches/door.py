"""The door on real Kafka: alone as `tally ingest`, and in `tally up`, whose stream and SQL share the cores with it.

door.py TALLY DOOR_LOAD KAFKA FOLDER OUT.jsonl     each on a topic of its own: batches, then single events (door_load), and before
those of `tally ingest` the same singles without a door. Beside `tally up` a question a second is asked of SQL. What the
load sent must come out of `usage_events` in the end, each event once and none held back: a load whose ids repeat, or that the
stream did not count, is an error and no figure.
"""

import json
import os
import shutil
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path

from lab import Running, record

# What door_load sends.
EVENTS = 2_000_000 + 20_000
QUESTION = "SELECT vendor, model, sum(input) AS input, sum(output) AS output FROM usage_by_model GROUP BY vendor, model"
COUNT = "SELECT (SELECT count(*) FROM usage_events) AS events, (SELECT count(*) FROM suspense) AS held"
PATIENCE_S = 300


class Asking:
    """Asks SQL once a second, while it is used as a context."""

    def __init__(self, address: str) -> None:
        self.url, self.answers, self.enough = f"http://{address}/v1/sql", 0, threading.Event()
        self.failed: list[OSError] = []
        self.thread = threading.Thread(target=self.ask)

    def ask(self) -> None:
        while not self.enough.wait(1):
            try:
                rows_of(self.url, QUESTION)
                self.answers += 1
            except OSError as error:
                self.failed.append(error)

    def __enter__(self) -> "Asking":
        self.thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.enough.set()
        self.thread.join()
        if self.failed or not self.answers:
            raise SystemExit(f"{self.answers} questions were answered, and these were not: {self.failed}")


def rows_of(url: str, sql: str) -> list[dict]:
    request = urllib.request.Request(url, json.dumps({"query": sql}).encode(), {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.loads(answer.read())


def environment(kafka: str, store: Path, role: str) -> dict[str, str]:
    topic = f"door.{os.getpid()}.{role}"
    return {
        "TALLY_LOG__KAFKA": kafka, "TALLY_LOG__TOPIC": topic, "TALLY_LOG__PARTITIONS": "4", "TALLY_LOG__GROUP": topic,
        "TALLY_LOG__DATA": str(store / f"data-{role}"), "TALLY_STORE__URL": str(store), "TALLY_ALERTS__TOPIC": f"{topic}.alerts",
        "TALLY_BUDGETS__TOPIC": f"{topic}.models", "TALLY_QUOTA__TOPIC": f"{topic}.status",
        "TALLY_QUERY__PG_LISTEN": "127.0.0.1:0", "TALLY_QUERY__FLIGHT_LISTEN": "127.0.0.1:0", "RUST_LOG": "warn",
    }


def loaded(load: str, address: str, *without_door: str) -> list[dict]:
    said = subprocess.run([load, address, *without_door], stdout=subprocess.PIPE, text=True, check=True).stdout
    return [json.loads(line) for line in said.splitlines()]


def came_out(url: str, expected: int, began: float) -> float:
    """Seconds since then until everything is counted; an error where it is not what was sent."""
    while True:
        counted = {name: int(value) for name, value in rows_of(url, COUNT)[0].items()}
        if counted == {"events": expected, "held": 0}:
            return time.monotonic() - began
        if counted["held"] or counted["events"] > expected or time.monotonic() - began > PATIENCE_S:
            raise SystemExit(f"{counted} of {expected} events came out")
        time.sleep(0.5)


def alone(load: str, address: str, env: dict[str, str], out: str) -> None:
    for line in loaded(load, address, env["TALLY_LOG__KAFKA"], env["TALLY_LOG__TOPIC"]):
        record(out, role="ingest", **line)


def beside_everything(load: str, address: str, out: str) -> None:
    began = time.monotonic()
    with Asking(address) as asking:
        lines = loaded(load, address)
    seconds = came_out(asking.url, EVENTS, began)
    for line in lines:
        record(out, role="up", **line)
    record(out, role="up", what="everything counted", events=EVENTS, seconds=round(seconds, 1), questions=asking.answers)


def main() -> None:
    tally, load, kafka, folder, out = sys.argv[1], sys.argv[2], sys.argv[3], Path(sys.argv[4]), sys.argv[5]
    store = folder / "door"
    shutil.rmtree(store, ignore_errors=True)
    for role in ["ingest", "up"]:
        env = environment(kafka, store, role)
        process = Running([tally, role, "--listen", "127.0.0.1:0"], env, folder / "door.log")
        try:
            address = process.address()
            alone(load, address, env, out) if role == "ingest" else beside_everything(load, address, out)
        finally:
            process.end()
    shutil.rmtree(store)


if __name__ == "__main__":
    main()
