"""How long alerts take at half of the largest load, and through a kill -9 with a takeover.

alerts.py TALLY PROBE SELL KAFKA FOLDER OUT.jsonl RATE SECONDS     a million accounts buy a package each; then RATE events
a second of theirs go through the stream as batches, which is how the door sends them, while the probe's own events cause
alerts; times are the broker's. The second run kills the process in its middle; another one that stands by takes its partitions over.
"""

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

from lab import Running, record

TOPIC = "latency.events"
PROBES_A_SECOND = 100
ACCOUNTS = "1000000"


def run(tally: str, probe: str, sell: str, kafka: str, folder: Path, out: str, rate: int, seconds: int, kill: bool) -> None:
    name = f"alerts-{os.getpid()}-{int(kill)}"
    topic = f"{TOPIC}.{name}"
    env = {
        "TALLY_LOG__KAFKA": kafka, "TALLY_LOG__TOPIC": topic, "TALLY_LOG__PARTITIONS": "4",
        "TALLY_LOG__GROUP": name, "TALLY_STORE__URL": str(folder / name), "RUST_LOG": "warn",
    }
    log = folder / "alerts.log"
    sold_at_ms = str(int(time.time() * 1000) - 86_400_000)
    subprocess.run([sell, kafka, topic, "4", ACCOUNTS, sold_at_ms], check=True, stderr=subprocess.DEVNULL)
    subprocess.run([tally, "generate", "--events", "4000000", "--seed", "3", "--accounts", ACCOUNTS, "--batch", "500",
                    "--out", "kafka"], env={**os.environ, **env}, check=True, stdout=subprocess.DEVNULL)
    subprocess.run([tally, "aggregate", "--until-end"], env={**os.environ, **env}, check=True,
                   stdout=subprocess.DEVNULL)
    streams = [Running([tally, "aggregate"], env, log)]
    time.sleep(5)
    load = subprocess.Popen(
        [tally, "generate", "--events", str(rate * (seconds + 20)), "--rate", str(rate), "--seed", "9", "--accounts",
         ACCOUNTS, "--batch", "500", "--out", "kafka"], env={**os.environ, **env}, stdout=subprocess.DEVNULL)
    time.sleep(5)
    if kill:
        streams.append(Running([tally, "aggregate"], env, log))
        time.sleep(10)
        threading.Timer(seconds / 2, lambda: streams[0].end(kill=True)).start()
    probed = subprocess.run([probe, kafka, topic, "usage.alerts", str(PROBES_A_SECOND), str(seconds)],
                            stdout=subprocess.PIPE, text=True)
    record(out, **json.loads(probed.stdout), rate=rate, killed=kill, exit=probed.returncode)
    load.kill()
    load.wait()
    for stream in streams:
        if stream.process.poll() is None:
            stream.end()


def main() -> None:
    tally, probe, sell, kafka, folder, out, rate, seconds = sys.argv[1:9]
    for kill in [False, True]:
        run(tally, probe, sell, kafka, Path(folder), out, int(rate), int(seconds), kill)


main()
