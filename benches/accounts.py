"""What an event costs with more and more accounts known: each has bought a package, events come from all of them.

accounts.py TALLY KAFKA FOLDER OUT.jsonl SELL     1 M and 50 M accounts (ACCOUNTS, comma-separated), 3 M JSON events
each. The buckets of all begin at one instant, so gateways are told of every account then: that is measured by itself, with
the first events after it, and is no part of what an event costs. The CPU time of a start without anything new, which reads
the stored state, is taken off. Every account must have its grant and every event its row, or there is no figure.
"""

import json
import os
import resource
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

from lab import measured, record

EVENTS = 3_000_000
# 2026-11-21T22:00:00Z, two hours before the first event: who takes over tells again what turned within an hour of the newest.
SOLD_AT_MS = 1_795_298_400_000
FIRST_EVENTS = 10_000


def drain(tally: str, env: dict[str, str]) -> tuple[float, float, int]:
    """Seconds and CPU seconds of a run to the end of the log, and its peak memory in MiB."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    begin = time.monotonic()
    process = subprocess.Popen([tally, "aggregate", "--until-end"], env={**os.environ, **env})
    peak = 0

    def watch() -> None:
        nonlocal peak
        while process.poll() is None:
            try:
                status = Path(f"/proc/{process.pid}/status").read_text()
                peak = max(peak, *(int(line.split()[1]) // 1024 for line in status.splitlines() if line.startswith("VmHWM")))
            except (OSError, TypeError):
                pass
            time.sleep(0.2)

    watching = threading.Thread(target=watch)
    watching.start()
    if process.wait() != 0:
        raise RuntimeError(f"the stream ended with {process.returncode}")
    watching.join()
    seconds = time.monotonic() - begin
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, peak


def expect(tally: str, env: dict[str, str], sql: str, wanted: int) -> None:
    rows = json.loads(measured([tally, "sql", sql, "--format", "json"], env)[3])
    if int(rows[0]["n"]) != wanted:
        raise SystemExit(f"{sql}: {rows[0]['n']}, not {wanted}")


def generate(tally: str, env: dict[str, str], events: int, accounts: int, span: str, start: str) -> None:
    # Another seed for each, so that no event of one is a resend of the other's.
    subprocess.run([tally, "generate", "--events", str(events), "--seed", str(events % 1_009), "--accounts", str(accounts), "--span", span,
                    "--start", start, "--out", "kafka"], env={**os.environ, **env}, check=True)


def main() -> None:
    tally, kafka, folder, out, sell = sys.argv[1], sys.argv[2], Path(sys.argv[3]), sys.argv[4], sys.argv[5]
    folder.mkdir(parents=True, exist_ok=True)
    for accounts in map(int, os.environ.get("ACCOUNTS", "1000000,50000000").split(",")):
        topic, store = f"accounts.{accounts}.{os.getpid()}", folder / "accounts"
        shutil.rmtree(store, ignore_errors=True)
        env = {"TALLY_LOG__KAFKA": kafka, "TALLY_LOG__TOPIC": topic, "TALLY_LOG__PARTITIONS": "4", "RUST_LOG": "warn",
               "TALLY_LOG__GROUP": topic, "TALLY_STORE__URL": str(store)}
        subprocess.run([sell, kafka, topic, "4", str(accounts), str(SOLD_AT_MS)], check=True)
        sold_s, sold_cpu_s, sold_mib = drain(tally, env)
        expect(tally, env, "SELECT count(*) AS n FROM quota_ledger WHERE kind = 'grant'", accounts)
        generate(tally, env, FIRST_EVENTS, accounts, "1m", "2026-11-22T00:00:00Z")
        told_s, told_cpu_s, told_mib = drain(tally, env)
        idle_s, idle_cpu_s, idle_mib = drain(tally, env)
        generate(tally, env, EVENTS, accounts, "50m", "2026-11-22T00:05:00Z")
        seconds, cpu_s, peak_mib = drain(tally, env)
        expect(tally, env, "SELECT count(*) AS n FROM usage_events", FIRST_EVENTS + EVENTS)
        state = sum(path.stat().st_size for path in (store / "state").rglob("*") if path.is_file())
        record(out, what="accounts", accounts=accounts, events=EVENTS, sold_s=round(sold_s, 1),
               sold_cpu_s=round(sold_cpu_s, 1), sold_peak_mib=sold_mib, told_s=round(told_s - idle_s, 1),
               told_cpu_s=round(told_cpu_s - idle_cpu_s, 1), told_peak_mib=told_mib, read_s=round(idle_s, 1),
               read_cpu_s=round(idle_cpu_s, 1), read_peak_mib=idle_mib, seconds=round(seconds - idle_s, 2),
               cpu_s_per_million=round((cpu_s - idle_cpu_s) / EVENTS * 1e6, 2), peak_mib=peak_mib,
               stored_state_mib=state >> 20)


main()
