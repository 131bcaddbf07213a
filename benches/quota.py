"""What asking for quotas costs the stream: the same backlog alone, and with a load of requests, in turn.

quota.py TALLY KAFKA FOLDER OUT.jsonl QUOTA_LOAD     3 M JSON events of 20,000 accounts that have bought packages. Only
the ratio of two runs beside each other means anything: broker, stream and the asking client share the cores.

QUOTA_EVENTS, QUOTA_ACCOUNTS, QUOTA_ROUNDS, QUOTA_RATE (3000000, 20000, 3, 10000)
"""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

from lab import Running, record

TOPIC = "quota.bench.events"
EVENTS, ACCOUNTS, ROUNDS, RATE = (
    int(os.environ.get(f"QUOTA_{name}", default))
    for name, default in [("EVENTS", 3_000_000), ("ACCOUNTS", 20_000), ("ROUNDS", 3), ("RATE", 10_000)])
SELL = Path(__file__).resolve().parent.parent / "scripts" / "sell.py"


def fill(tally: str, env: dict[str, str], folder: Path) -> None:
    """Sells packages to every account, then sends the events."""
    door = Running([tally, "ingest", "--listen", "127.0.0.1:0"], env, folder / "quota-door.log")
    subprocess.run([sys.executable, str(SELL), door.address(), str(ACCOUNTS)], check=True)
    door.end()
    begin = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - 3_600))
    subprocess.run([tally, "generate", "--events", str(EVENTS), "--seed", "12", "--accounts", str(ACCOUNTS), "--span",
                    "50m", "--start", begin, "--out", "kafka"], env={**os.environ, **env}, check=True)


def drain(tally: str, env: dict[str, str], load: str | None) -> tuple[float, dict]:
    """Seconds from the start of the stream to its end, and what the load saw."""
    begin = time.monotonic()
    stream = subprocess.Popen([tally, "aggregate", "--until-end", "--listen", "127.0.0.1:0"],
                              env={**os.environ, **env}, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    asking = None
    for line in stream.stderr:
        if load and asking is None and (found := re.search(r"http://([0-9.:]+)", line)):
            asking = subprocess.Popen([load, found[1], str(RATE), "600", str(ACCOUNTS)], stdout=subprocess.PIPE, text=True)
    if stream.wait() != 0:
        raise RuntimeError(f"the stream ended with {stream.returncode}")
    seconds = time.monotonic() - begin
    return seconds, json.loads(asking.communicate()[0]) if asking else {}


def main() -> None:
    tally, kafka, folder, out, load = sys.argv[1], sys.argv[2], Path(sys.argv[3]), sys.argv[4], sys.argv[5]
    folder.mkdir(parents=True, exist_ok=True)
    base = {"TALLY_LOG__KAFKA": kafka, "TALLY_LOG__TOPIC": TOPIC, "TALLY_LOG__PARTITIONS": "4", "RUST_LOG": "warn"}
    fill(tally, base, folder)
    for round_ in range(ROUNDS):
        # The other one first in every second round: what runs first finds colder caches.
        for asked in [False, True] if round_ % 2 == 0 else [True, False]:
            store = folder / "quota"
            shutil.rmtree(store, ignore_errors=True)
            env = {**base, "TALLY_STORE__URL": str(store), "TALLY_LOG__GROUP": f"quota-{os.getpid()}-{round_}-{asked}"}
            seconds, seen = drain(tally, env, load if asked else None)
            record(out, what="asked" if asked else "alone", round=round_, events=EVENTS, seconds=round(seconds, 2), **{
                key: seen[key] for key in ["asked_s", "answered_s", "ok", "unknown", "other", "p50_ms", "p99_ms"] if seen})


main()
