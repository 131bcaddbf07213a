"""Resident memory over a run at half of what the machine can take.

steady.py TALLY KAFKA FOLDER OUT.jsonl RATE SECONDS     every role's memory is the aggregator's; the generator and the
broker are processes of their own.

RATE 0 is half of what generator, broker and stream reach together, which is measured first, on a topic of its own: from the
first event to the last one committed, sent as fast as they are taken. The backlog's figure of `run.sh stream` is none to take
half of: there nobody generates, and nothing is rated; half of it can be more than all three reach together.

The run is sampled every five seconds: resident memory, what the open buckets and windows have of it (`tally_state_bytes`), and
the lag, as a stream that lags reads more at once. Flat means that the last third is not above the second.
"""

import os
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

from confluent_kafka import Consumer, TopicPartition

from lab import Running, committed, free_port, metrics, record, wait_until

PARTITIONS = 4
# Half a minute or so: longer than what the first epochs and the start of the processes take.
CALIBRATION_EVENTS = 3_000_000
PATIENCE_S = 900


def environment(kafka: str, folder: Path, what: str) -> dict[str, str]:
    """Of a stream of its own: what an earlier run left is nobody's backlog."""
    name = f"steady.{os.getpid()}.{what}"
    store = folder / "steady" / what
    shutil.rmtree(store, ignore_errors=True)
    return {
        "TALLY_LOG__KAFKA": kafka, "TALLY_LOG__TOPIC": name, "TALLY_LOG__PARTITIONS": str(PARTITIONS), "TALLY_LOG__GROUP": name,
        "TALLY_ALERTS__TOPIC": f"{name}.alerts", "TALLY_BUDGETS__TOPIC": f"{name}.models", "TALLY_QUOTA__TOPIC": f"{name}.status",
        "TALLY_STORE__URL": str(store), "RUST_LOG": "warn",
        # Windows and buckets that close within the run, or the state grows as it should.
        "TALLY_AGGREGATE__SUBSCRIBER_WINDOW_MS": "60000", "TALLY_AGGREGATE__LATENESS_MS": "30000",
        "TALLY_AGGREGATE__DEDUPE_BUCKET_MS": "60000", "TALLY_AGGREGATE__DEDUPE_OPEN_MS": "60000",
    }


def generating(tally: str, env: dict[str, str], events: int, *more: str) -> subprocess.Popen:
    return subprocess.Popen([tally, "generate", "--events", str(events), "--seed", "7", "--dup-rate", "0.01", "--out", "kafka", *more],
                            env={**os.environ, **env}, stdout=subprocess.DEVNULL)


def records(kafka: str, topic: str) -> int:
    consumer = Consumer({"bootstrap.servers": kafka, "group.id": f"{topic}.ends"})
    try:
        return sum(consumer.get_watermark_offsets(TopicPartition(topic, p), timeout=10)[1] for p in range(PARTITIONS))
    finally:
        consumer.close()


def reached(tally: str, kafka: str, folder: Path) -> int:
    """Events a second that generator, broker and stream take together."""
    env = environment(kafka, folder, "calibration")
    generator, began = generating(tally, env, CALIBRATION_EVENTS), time.monotonic()
    time.sleep(2)
    stream = Running([tally, "aggregate"], env, folder / "steady.log")
    try:
        if generator.wait() != 0:
            raise SystemExit(f"the generator ended with {generator.returncode}")
        sent = records(kafka, env["TALLY_LOG__TOPIC"])
        wait_until(lambda: committed(Path(env["TALLY_STORE__URL"]), env["TALLY_LOG__TOPIC"]) >= sent, PATIENCE_S, 0.1)
        return round(CALIBRATION_EVENTS / (time.monotonic() - began))
    finally:
        stream.end()


def main() -> None:
    tally, kafka, folder, out = sys.argv[1], sys.argv[2], Path(sys.argv[3]), sys.argv[4]
    asked, seconds = int(sys.argv[5]), int(sys.argv[6])
    at_most = reached(tally, kafka, folder)
    rate = asked or at_most // 2
    env = environment(kafka, folder, "run")
    generator, began = generating(tally, env, rate * seconds, "--rate", str(rate)), time.monotonic()
    time.sleep(2)
    port = free_port()
    stream = Running([tally, "aggregate", "--listen", f"127.0.0.1:{port}"], env, folder / "steady.log")
    samples, state, lag = [], [], []
    while generator.poll() is None:
        samples.append(stream.status_mib("VmRSS"))
        told = metrics(port) or {}
        state.append(round(told.get("tally_state_bytes", 0) / 2**20))
        lag.append(round(told.get("tally_lag_events", 0)))
        time.sleep(5)
    third = len(samples) // 3
    took = time.monotonic() - began  # the generator may not keep up with the rate that was asked for
    record(out, what="steady", reached=at_most, asked=rate, rate=round(rate * seconds / took), seconds=round(took), samples=samples,
           median_mib_by_third=[round(statistics.median(samples[i * third:(i + 1) * third])) for i in range(3)],
           state_mib=state, lag=lag, lag_median=round(statistics.median(lag)), state_mib_median=round(statistics.median(state)),
           peak_mib=stream.status_mib("VmHWM"), cpu_s_per_million=round(stream.cpu_s() / (rate * seconds) * 1e6, 2),
           generator_exit=generator.returncode)
    stream.end()


if __name__ == "__main__":
    main()
