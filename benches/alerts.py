"""How long alerts take at half of the largest load, and through a kill -9 with a takeover.

alerts.py TALLY PROBE SELL KAFKA FOLDER OUT.jsonl RATE SECONDS     a million accounts buy a package each; a backlog of
4 M events of theirs, in batches, which is how the door sends them, says how many the stream rates and charges a second; then
RATE of them a second (`half`: of what was just measured) go through it while the probe's own events cause alerts; times are the
broker's. The second run kills the process in its middle; another one that stands by takes its partitions over.
"""

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

from lab import Running, measured, record

TOPIC = "latency.events"
PROBES_A_SECOND = 100
ACCOUNTS = "1000000"
BACKLOG = 4_000_000


def drained_s(tally: str, env: dict[str, str]) -> float:
    """Seconds of a run to the end of the log."""
    return measured([tally, "aggregate", "--until-end"], env)[0]


def largest_rate(tally: str, env: dict[str, str]) -> int:
    """Events a second of a backlog of batches, rated and charged, without the time in which a start reads the stored state."""
    purchases_s, start_s = drained_s(tally, env), drained_s(tally, env)
    print(f"purchases {purchases_s:.1f} s, a start {start_s:.1f} s", flush=True)
    subprocess.run([tally, "generate", "--events", str(BACKLOG), "--seed", "3", "--accounts", ACCOUNTS, "--batch", "500",
                    "--out", "kafka"], env={**os.environ, **env}, check=True, stdout=subprocess.DEVNULL)
    seconds = drained_s(tally, env) - start_s
    # What has no price is held back, and has no row here.
    sql = "SELECT count(*) AS n FROM usage_events"
    rated = int(json.loads(measured([tally, "sql", sql, "--format", "json"], env)[3])[0]["n"])
    if rated != BACKLOG or seconds <= 0:
        raise SystemExit(f"{rated} events of {BACKLOG} were rated in {seconds:.1f} s")
    return round(BACKLOG / seconds)


def run(tally: str, probe: str, sell: str, kafka: str, folder: Path, out: str, rate: str, seconds: int, kill: bool) -> None:
    name = f"alerts-{os.getpid()}-{int(kill)}"
    topic = f"{TOPIC}.{name}"
    env = {
        "TALLY_LOG__KAFKA": kafka, "TALLY_LOG__TOPIC": topic, "TALLY_LOG__PARTITIONS": "4",
        "TALLY_LOG__GROUP": name, "TALLY_STORE__URL": str(folder / name), "RUST_LOG": "warn",
    }
    log = folder / "alerts.log"
    sold_at_ms = str(int(time.time() * 1000) - 86_400_000)
    subprocess.run([sell, kafka, topic, "4", ACCOUNTS, sold_at_ms], check=True, stderr=subprocess.DEVNULL)
    max_events_s = largest_rate(tally, env)
    asked_s = max_events_s // 2 if rate == "half" else int(rate)
    events = asked_s * (seconds + 20)
    streams = [Running([tally, "aggregate"], env, log)]
    time.sleep(5)
    began, ended = time.monotonic(), []
    load = subprocess.Popen(
        [tally, "generate", "--events", str(events), "--rate", str(asked_s), "--seed", "9", "--accounts",
         ACCOUNTS, "--batch", "500", "--out", "kafka"], env={**os.environ, **env}, stdout=subprocess.DEVNULL)

    def note_end() -> None:
        load.wait()
        ended.append(time.monotonic())

    noting = threading.Thread(target=note_end)
    noting.start()
    time.sleep(5)
    if kill:
        streams.append(Running([tally, "aggregate"], env, log))
        time.sleep(10)
        threading.Timer(seconds / 2, lambda: streams[0].end(kill=True)).start()
    probed = subprocess.run([probe, kafka, topic, "usage.alerts", str(PROBES_A_SECOND), str(seconds)],
                            stdout=subprocess.PIPE, text=True)
    # The generator may not keep up with the rate that was asked for.
    noting.join()
    record(out, **json.loads(probed.stdout), rate=round(events / (ended[0] - began)), asked_s=asked_s,
           max_events_s=max_events_s, killed=kill, exit=probed.returncode or load.returncode)
    for stream in streams:
        if stream.process.poll() is None:
            stream.end()


def main() -> None:
    tally, probe, sell, kafka, folder, out, rate, seconds = sys.argv[1:9]
    for kill in [False, True]:
        run(tally, probe, sell, kafka, Path(folder), out, rate, int(seconds), kill)


main()
