"""What rating and charging cost: the same backlog read and only counted, counted in full, and rated, in turn.

rating.py TALLY SELL KAFKA FOLDER OUT.jsonl     3 M JSON events of 200,000 accounts, twice each way

null: the peer kit's consumer, which only counts messages. counting: dedupe, windows and tables without rating. overrun:
rated and charged where nobody has bought anything, so that each event is an overrun. packages: each account has bought the
gift before, which most of the events are charged to. Only ratios within a round mean anything.
"""

import os
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path

from lab import record

EVENTS, ACCOUNTS, PARTITIONS, ROUNDS = 3_000_000, 200_000, 4, 2
# Five minutes before the first event.
SOLD_AT_MS = 1_795_305_600_000


def main() -> None:
    tally, sell, kafka, folder, out = sys.argv[1], sys.argv[2], sys.argv[3], Path(sys.argv[4]), sys.argv[5]
    null_consumer = Path(os.environ["KIT"]) / "null_consumer.py"
    store, run = folder / "rating", os.getpid()
    of_topic = lambda name: {**os.environ, "TALLY_LOG__KAFKA": kafka, "TALLY_LOG__TOPIC": f"rating.{run}.{name}",
                             "TALLY_LOG__PARTITIONS": str(PARTITIONS), "TALLY_STORE__URL": str(store), "RUST_LOG": "warn"}
    subprocess.run([sell, kafka, f"rating.{run}.sold", str(PARTITIONS), str(ACCOUNTS), str(SOLD_AT_MS)], check=True)
    for name in ["plain", "sold"]:
        subprocess.run([tally, "generate", "--events", str(EVENTS), "--seed", "11", "--accounts", str(ACCOUNTS), "--span",
                        "50m", "--start", "2026-11-22T00:05:00Z", "--out", "kafka"], env=of_topic(name), check=True)
    ways = {
        "null": ("plain", [sys.executable, str(null_consumer)], {"PEERS_BOOTSTRAP": kafka, "PEERS_TOPIC": f"rating.{run}.plain"}),
        "counting": ("plain", [tally, "aggregate", "--until-end"], {"TALLY_AGGREGATE__RATE": "false"}),
        "overrun": ("plain", [tally, "aggregate", "--until-end"], {}),
        "packages": ("sold", [tally, "aggregate", "--until-end"], {}),
    }
    for round_ in range(ROUNDS):
        for what, (topic, command, more) in ways.items():
            shutil.rmtree(store, ignore_errors=True)
            env = {**of_topic(topic), "TALLY_LOG__GROUP": f"rating-{run}-{round_}-{what}", **more}
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            begin = time.monotonic()
            subprocess.run(command, env=env, check=True)
            seconds = time.monotonic() - begin
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
            size = sum(path.stat().st_size for path in (store / "tables").rglob("*.parquet"))
            record(out, what=what, round=round_, events=EVENTS, seconds=round(seconds, 2),
                   cpu_s_per_million=round(cpu / EVENTS * 1e6, 2), bytes_an_event=round(size / EVENTS, 1))


main()
