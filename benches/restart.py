"""A rolling restart of all aggregators under half load, and how long a start takes.

restart.py TALLY PROBE KAFKA FOLDER OUT.jsonl RATE SECONDS

Restart: two aggregators on four partitions; RATE events a second as batches, and the probe's own events, each of which
causes an alert, for SECONDS. A third in, one aggregator is asked to end and started anew, and the other when the first
owns partitions again, as a Deployment does it. Measured: the longest time without an alert, of any partition and of one,
by the broker's clock; the time from the last start until the lag is again what it was in the ten seconds before. What
was sent must be in usage_events, to the token by model, with `tally verify` holding: lost or doubled events are none.
Lag is the log's end, as the broker says it, less what the ledger has committed; it counts records.

Start: `tally up` on an empty folder until `/readyz` answers 200; an aggregator on Kafka, on a topic and a store that are not
there yet, until `/readyz` answers 200 and until it owns its partitions; each five times, from the start of the process.
"""

import json
import os
import shutil
import statistics
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

from confluent_kafka import Consumer, TopicPartition

from lab import Running, committed, differences, free_port, measured, metrics, record, wait_until

PARTITIONS, PROBES_A_SECOND, STARTS = 4, 100, 5
# The lag is back when it has stayed as low for so long.
QUIET_S, PATIENCE_S = 5, 180


class Lag:
    """Records behind, sampled twice a second."""

    def __init__(self, kafka: str, topic: str, store: Path) -> None:
        self.consumer = Consumer({"bootstrap.servers": kafka, "group.id": f"lag-{os.getpid()}"})
        self.topic, self.store = topic, store
        self.samples: list[tuple[float, int]] = []
        self.enough = threading.Event()
        self.thread = threading.Thread(target=self.watch)
        self.thread.start()

    def watch(self) -> None:
        while not self.enough.wait(0.5):
            ends = [self.consumer.get_watermark_offsets(TopicPartition(self.topic, p), timeout=10)[1] for p in range(PARTITIONS)]
            try:
                self.samples.append((time.monotonic(), sum(ends) - committed(self.store, self.topic)))
            except (ValueError, OSError):
                pass  # an entry is just being written

    def between(self, begin: float, end: float) -> list[int]:
        return [lag for at, lag in self.samples if begin <= at < end]

    def back_at(self, since: float, level: int) -> float | None:
        """The first time from which on the lag was at most this for QUIET_S."""
        calm = None
        for at, lag in self.samples:
            if at < since or lag > level:
                calm = None
            else:
                calm = calm or at
                if at - calm >= QUIET_S:
                    return calm
        return None

    def end(self) -> None:
        self.enough.set()
        self.thread.join()
        self.consumer.close()


def ready(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5) as answer:
            return answer.status == 200
    except (OSError, urllib.error.URLError):
        return False


def owns(port: int) -> float:
    return (metrics(port) or {}).get("tally_partitions_owned", 0)


def rolling(tally: str, probe: str, kafka: str, folder: Path, out: str, rate: int, seconds: int) -> None:
    topic, store = f"restart.{os.getpid()}", folder / "restart"
    shutil.rmtree(store, ignore_errors=True)
    env = {"TALLY_LOG__KAFKA": kafka, "TALLY_LOG__TOPIC": topic, "TALLY_LOG__PARTITIONS": str(PARTITIONS),
           "TALLY_LOG__GROUP": topic, "TALLY_STORE__URL": str(store), "TALLY_ALERTS__TOPIC": f"{topic}.alerts",
           "TALLY_BUDGETS__TOPIC": f"{topic}.models", "TALLY_QUOTA__TOPIC": f"{topic}.status", "RUST_LOG": "warn"}
    log, truth_file = folder / "restart.log", folder / "restart-truth.json"
    ports = [free_port(), free_port()]
    start = lambda port: Running([tally, "aggregate", "--listen", f"127.0.0.1:{port}"], env, log)
    members = [start(port) for port in ports]
    wait_until(lambda: sum(map(owns, ports)) == PARTITIONS, 60)
    load = subprocess.Popen(
        [tally, "generate", "--events", str(rate * (seconds + 40)), "--rate", str(rate), "--seed", "21", "--accounts", "1000000",
         "--batch", "500", "--dup-rate", "0.01", "--out", "kafka", "--truth", str(truth_file)],
        env={**os.environ, **env}, stdout=subprocess.DEVNULL)
    time.sleep(5)
    probing = subprocess.Popen([probe, kafka, topic, f"{topic}.alerts", str(PROBES_A_SECOND), str(seconds)],
                               stdout=subprocess.PIPE, text=True)
    lag = Lag(kafka, topic, store)
    time.sleep(seconds / 3)
    before = lag.between(time.monotonic() - 10, time.monotonic())
    began, stops = time.monotonic(), []
    for number, port in enumerate(ports):
        asked = time.monotonic()
        members[number].end()
        stops.append(time.monotonic() - asked)
        members[number], started = start(port), time.monotonic()
        wait_until(lambda: owns(port) > 0 and sum(map(owns, ports)) == PARTITIONS, PATIENCE_S)
    probed = json.loads(probing.communicate()[0])
    load_exit = load.wait()
    rolled = lag.between(began, time.monotonic())
    lag.end()
    back_at = lag.back_at(started, max(before))
    for member in members:
        member.end()
    measured([tally, "aggregate", "--until-end"], env)
    verified = subprocess.run([tally, "verify"], env={**os.environ, **env}, stdout=subprocess.DEVNULL).returncode == 0
    wrong = differences(tally, env, json.loads(truth_file.read_text()), "source <> 'alert-probe'")
    for words in wrong[:5]:
        print(words, file=sys.stderr)
    alerted = probed["alerts"], probed["missing"], probed["twice"]
    sent = json.loads(measured([tally, "sql", "SELECT count(*) AS n FROM usage_events WHERE source = 'alert-probe'", "--format",
                                "json"], env)[3])[0]["n"]
    record(out, what="rolling restart", rate=rate, seconds=seconds, models_wrong=len(wrong), verified=verified,
           probes=int(sent), alerts=alerted[0], missing=alerted[1], twice=alerted[2], p99_ms=probed["p99_ms"],
           max_ms=probed["max_ms"], gap_ms=probed["gap_ms"], partition_gap_ms=probed["partition_gap_ms"],
           lag_before=round(statistics.median(before)), lag_before_max=max(before), lag_max=max(rolled),
           lag_back_s=None if back_at is None else round(back_at - started, 1), stop_s=[round(stop, 1) for stop in stops],
           correct=verified and not wrong and alerted[1:] == (0, 0) and int(sent) == alerted[0] and load_exit == 0)
    shutil.rmtree(store)


def start_up(tally: str, folder: Path) -> dict[str, float]:
    data, port = folder / "start-up", free_port()
    shutil.rmtree(data, ignore_errors=True)
    begin = time.monotonic()
    process = Running([tally, "up", "--data", str(data), "--listen", f"127.0.0.1:{port}", "--pg-listen", "127.0.0.1:0",
                       "--flight-listen", "127.0.0.1:0"], {"RUST_LOG": "warn"}, folder / "restart.log")
    wait_until(lambda: ready(port), 30, 0.002)
    seconds = time.monotonic() - begin
    process.end()
    return {"ready_s": seconds}


def start_aggregator(tally: str, kafka: str, folder: Path, number: int) -> dict[str, float]:
    topic, store, port = f"start.{os.getpid()}.{number}", folder / "start-aggregate", free_port()
    shutil.rmtree(store, ignore_errors=True)
    env = {"TALLY_LOG__KAFKA": kafka, "TALLY_LOG__TOPIC": topic, "TALLY_LOG__PARTITIONS": str(PARTITIONS),
           "TALLY_LOG__GROUP": topic, "TALLY_STORE__URL": str(store), "RUST_LOG": "warn"}
    begin = time.monotonic()
    process = Running([tally, "aggregate", "--listen", f"127.0.0.1:{port}"], env, folder / "restart.log")
    wait_until(lambda: ready(port), 30, 0.002)
    ready_s = time.monotonic() - begin
    wait_until(lambda: owns(port) == PARTITIONS, 30, 0.002)
    owned_s = time.monotonic() - begin
    process.end()
    return {"ready_s": ready_s, "owned_s": owned_s}


def main() -> None:
    tally, probe, kafka, folder, out = sys.argv[1], sys.argv[2], sys.argv[3], Path(sys.argv[4]), sys.argv[5]
    rate, seconds = int(sys.argv[6]), int(sys.argv[7])
    for what, start in [("tally up, empty folder", lambda number: start_up(tally, folder)),
                        ("aggregator, empty store, topic to be created", lambda number: start_aggregator(tally, kafka, folder, number))]:
        runs = [start(number) for number in range(STARTS)]
        record(out, what="start", of=what, runs=len(runs),
               **{key: round(statistics.median(run[key] for run in runs), 3) for key in runs[0]},
               **{f"{key}_worst": round(max(run[key] for run in runs), 3) for key in runs[0]})
    rolling(tally, probe, kafka, folder, out, rate, seconds)


main()
