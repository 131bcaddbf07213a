"""Time from the start after a kill -9 to the first new commit, with a large state.

recovery.py TALLY SELL KAFKA FOLDER OUT.jsonl     a million accounts that have each bought a package, and 24 M events of
theirs; the stream reads 20 M with every id still in open buckets, is killed, and starts again. So twice: as a member of the
group that has a name of its own, as a StatefulSet gives it, whose dead predecessor the group does not wait for, and as one
without. The backlog left fills an epoch at once, so that no wait for the freshness limit is measured.
"""

import os
import subprocess
import sys
from pathlib import Path

from lab import Running, committed, entries, is_epoch, measured, record, wait_until

ACCOUNTS, EVENTS, STATE_IDS, PARTITIONS, BATCH = 1_000_000, 24_000_000, 20_000_000, 4, 500
# Five minutes before the first event.
SOLD_AT_MS = 1_795_305_600_000


class Stream:
    """The aggregator over one store."""

    def __init__(self, tally: str, env: dict[str, str], folder: Path) -> None:
        self.tally, self.env, self.folder = tally, env, folder
        self.store, self.topic = Path(env["TALLY_STORE__URL"]), env["TALLY_LOG__TOPIC"]

    def start(self, **env: str) -> Running:
        return Running([self.tally, "aggregate"], {**self.env, **env}, self.folder / "recovery.log")

    def stored_mib(self) -> int:
        return sum(path.stat().st_size for path in (self.store / "state").rglob("*") if path.is_file()) >> 20

    def first_commit(self, **env: str) -> tuple[Running, float]:
        """A process that has just committed its first epoch, and how long that took."""
        known = entries(self.store, self.topic)
        process = self.start(**env)
        return process, wait_until(lambda: any(is_epoch(e) for e in entries(self.store, self.topic) - known), 120)


def main() -> None:
    tally, sell, kafka, folder, out = sys.argv[1], sys.argv[2], sys.argv[3], Path(sys.argv[4]), sys.argv[5]
    topic = f"recovery.{os.getpid()}"
    env = {
        "TALLY_LOG__KAFKA": kafka, "TALLY_LOG__TOPIC": topic, "TALLY_LOG__PARTITIONS": str(PARTITIONS),
        "TALLY_LOG__GROUP": topic, "TALLY_STORE__URL": str(folder / "recovery"), "RUST_LOG": "warn",
        "TALLY_AGGREGATE__DEDUPE_OPEN_MS": "86400000", "TALLY_AGGREGATE__LATENESS_MS": "60000",
    }
    named = {"TALLY_LOG__KAFKA_OPTIONS__GROUP_INSTANCE_ID": "recovery-0"}
    subprocess.run([sell, kafka, topic, str(PARTITIONS), str(ACCOUNTS), str(SOLD_AT_MS)], check=True)
    subprocess.run([tally, "generate", "--events", str(EVENTS), "--seed", "7", "--accounts", str(ACCOUNTS), "--span", "50m",
                    "--start", "2026-11-22T00:05:00Z", "--batch", str(BATCH), "--out", "kafka"], env={**os.environ, **env}, check=True)
    stream = Stream(tally, env, folder)
    before = stream.start(**named)
    # A purchase is a record, as a batch is.
    wait_until(lambda: (committed(stream.store, topic) - ACCOUNTS) * BATCH > STATE_IDS, 900, 0.05)
    for member, more in [("named", named), ("without a name", {"TALLY_LOG__GROUP": f"{topic}.nameless"})]:
        if member != "named":
            before, _ = stream.first_commit(**more)
        memory = before.status_mib("VmHWM")
        before.end(kill=True)
        after, seconds = stream.first_commit(**more)
        record(out, what="recovery", member=member, seconds_to_first_commit=round(seconds, 2), cpu_s=round(after.cpu_s(), 1),
               committed_records=committed(stream.store, topic), stored_state_mib=stream.stored_mib(), peak_mib_before=memory,
               peak_mib_after=after.status_mib("VmHWM"))
        after.end(kill=True)
    sold = measured([tally, "sql", "SELECT count(DISTINCT account) AS n FROM quota_ledger WHERE kind = 'grant'", "--format", "csv"], env)[3]
    if int(sold.split()[-1]) != ACCOUNTS:
        raise SystemExit(f"{sold.decode()} accounts have their package, not {ACCOUNTS}")


main()
