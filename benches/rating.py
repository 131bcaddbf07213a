"""What rating and charging cost: the same backlog with and without them, in turn.

rating.py TALLY KAFKA FOLDER OUT.jsonl     3 M JSON events of 200,000 accounts that have bought nothing, so that each
event is an overrun; each way twice. Only the ratio of two runs beside each other means anything.
"""

import os
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path

from lab import record

TOPIC = "rating.events"
EVENTS, ACCOUNTS = 3_000_000, 200_000


def main() -> None:
    tally, kafka, folder, out = sys.argv[1], sys.argv[2], Path(sys.argv[3]), sys.argv[4]
    base = {"TALLY_LOG__KAFKA": kafka, "TALLY_LOG__TOPIC": TOPIC, "TALLY_LOG__PARTITIONS": "4", "RUST_LOG": "warn"}
    store = folder / "rating"
    subprocess.run([tally, "generate", "--events", str(EVENTS), "--seed", "11", "--accounts", str(ACCOUNTS), "--span",
                    "50m", "--start", "2026-11-22T00:05:00Z", "--out", "kafka"], env={**os.environ, **base}, check=True)
    for round_ in range(2):
        for rate in ["false", "true"]:
            shutil.rmtree(store, ignore_errors=True)
            env = {**os.environ, **base, "TALLY_STORE__URL": str(store), "TALLY_AGGREGATE__RATE": rate,
                   "TALLY_LOG__GROUP": f"rating-{os.getpid()}-{round_}-{rate}"}
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            begin = time.monotonic()
            subprocess.run([tally, "aggregate", "--until-end"], env=env, check=True)
            seconds = time.monotonic() - begin
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
            size = sum(path.stat().st_size for path in (store / "tables").rglob("*.parquet"))
            record(out, what="rating" if rate == "true" else "counting", round=round_, events=EVENTS,
                   seconds=round(seconds, 2), cpu_s_per_million=round(cpu / EVENTS * 1e6, 2),
                   bytes_an_event=round(size / EVENTS, 1))


main()
