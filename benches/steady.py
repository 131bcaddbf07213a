"""Resident memory over a run at a steady rate.

steady.py TALLY KAFKA FOLDER OUT.jsonl RATE SECONDS     every role's memory is the aggregator's; the generator and the
broker are processes of their own. Sampled every five seconds: resident memory, what the open buckets and windows have of it
(`tally_state_bytes`), and the lag, as a stream that lags reads more at once. Flat means that the last third is not above the
second.
"""

import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

from lab import Running, free_port, metrics, record

TOPIC = "steady.events"


def main() -> None:
    tally, kafka, folder, out = sys.argv[1], sys.argv[2], Path(sys.argv[3]), sys.argv[4]
    rate, seconds = int(sys.argv[5]), int(sys.argv[6])
    env = {
        "TALLY_LOG__KAFKA": kafka, "TALLY_LOG__TOPIC": TOPIC, "TALLY_LOG__PARTITIONS": "4",
        "TALLY_LOG__GROUP": f"steady-{os.getpid()}", "TALLY_STORE__URL": str(folder / "steady"), "RUST_LOG": "warn",
        # Windows and buckets that close within the run, or the state grows as it should.
        "TALLY_AGGREGATE__SUBSCRIBER_WINDOW_MS": "60000", "TALLY_AGGREGATE__LATENESS_MS": "30000",
        "TALLY_AGGREGATE__DEDUPE_BUCKET_MS": "60000", "TALLY_AGGREGATE__DEDUPE_OPEN_MS": "60000",
    }
    generator = subprocess.Popen(
        [tally, "generate", "--events", str(rate * seconds), "--rate", str(rate), "--seed", "7", "--dup-rate", "0.01",
         "--out", "kafka"], env={**os.environ, **env}, stdout=subprocess.DEVNULL)
    began = time.monotonic()
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
    record(out, what="steady", rate=round(rate * seconds / took), seconds=round(took), samples=samples,
           median_mib_by_third=[round(statistics.median(samples[i * third:(i + 1) * third])) for i in range(3)],
           state_mib=state, lag=lag, lag_median=round(statistics.median(lag)), state_mib_median=round(statistics.median(state)),
           peak_mib=stream.status_mib("VmHWM"), cpu_s_per_million=round(stream.cpu_s() / (rate * seconds) * 1e6, 2),
           generator_exit=generator.returncode)
    stream.end()


main()
