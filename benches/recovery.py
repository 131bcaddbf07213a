"""Time from the start after a kill -9 to the first new commit, with a large state.

recovery.py TALLY KAFKA FOLDER OUT.jsonl     fills a topic with 23 M events of 1 M accounts, lets the stream read 20 M
with every id still in open buckets, kills it, and starts it again. The backlog left fills an epoch at once, so that no
wait for the freshness limit is measured.
"""

import os
import subprocess
import sys
from pathlib import Path

from lab import Running, committed, entries, is_epoch, record, wait_until

TOPIC = "recovery.events"
EVENTS, STATE_IDS = 23_000_000, 20_000_000


def main() -> None:
    tally, kafka, folder, out = sys.argv[1], sys.argv[2], Path(sys.argv[3]), sys.argv[4]
    store = folder / "recovery"
    env = {
        "TALLY_LOG__KAFKA": kafka, "TALLY_LOG__TOPIC": TOPIC, "TALLY_LOG__PARTITIONS": "4",
        "TALLY_LOG__GROUP": f"recovery-{os.getpid()}", "TALLY_STORE__URL": str(store), "RUST_LOG": "warn",
        "TALLY_AGGREGATE__DEDUPE_OPEN_MS": "86400000", "TALLY_AGGREGATE__LATENESS_MS": "60000",
        # A member with a name of its own, as a StatefulSet gives it: the group does not wait for the dead one.
        "TALLY_LOG__KAFKA_OPTIONS__GROUP_INSTANCE_ID": "recovery-0",
    }
    subprocess.run([tally, "generate", "--events", str(EVENTS), "--seed", "7", "--accounts", "1000000",
                    "--span", "50m", "--start", "2026-11-22T00:05:00Z", "--batch", "500", "--out", "kafka"],
                   env={**os.environ, **env}, check=True)
    log = folder / "recovery.log"
    before = Running([tally, "aggregate"], env, log)
    wait_until(lambda: committed(store, TOPIC) * 500 > STATE_IDS, 600, 0.05)
    memory = before.status_mib("VmHWM")
    before.end(kill=True)
    known = entries(store, TOPIC)
    bases = sum(path.stat().st_size for path in (store / "state").rglob("*") if path.is_file())
    after = Running([tally, "aggregate"], env, log)
    seconds = wait_until(lambda: any(is_epoch(e) for e in entries(store, TOPIC) - known), 120)
    record(out, what="recovery", seconds_to_first_commit=round(seconds, 2), cpu_s=round(after.cpu_s(), 1),
           committed_records=committed(store, TOPIC), stored_state_mib=bases >> 20,
           peak_mib_before=memory, peak_mib_after=after.status_mib("VmHWM"))
    after.end()


main()
