"""What metrics and traces cost: the same work with nobody looking, and watched.

observe.py TALLY DOOR_LOAD KAFKA FOLDER OUT.jsonl [ROUNDS [EVENTS]]     12 rounds and 3,000,000 events unless given

Stream: a backlog from the door, which followed one request in a thousand as it does by default, so that records carry
traces; `tally aggregate --until-end` over it, from the start of the process to its end. Door: the load of door_load, batches
and then singles. Alone: nobody scrapes, `traces.otlp_endpoint` is empty. Watched: /metrics is scraped every second, and
traces go to a collector, which is a thread of this script that reads them and answers 200: its CPU is the machine's, not the
process's. Rounds alternate (alone, watched, watched, alone, …), so that a machine that slows down slows both. The ratio
is watched ÷ alone of a round; CPU time tells more of two percent than the clock does. Single ratios lie ten percent apart, so
the median of a few rounds says nothing of two: report.py says between what the median lies. A round in which nothing was
scraped, no spans arrived, or not every event came out is an error and no figure.
"""

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from lab import Running, free_port, measured, metrics, record

TOPIC = f"observe.{os.getpid()}"


class Collector:
    """Takes OTLP over HTTP, and forgets it."""

    def __init__(self) -> None:
        self.posts = 0
        collector = self

        class Take(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                if self.headers.get("transfer-encoding", "").lower() == "chunked":
                    while size := int(self.rfile.readline(), 16):
                        self.rfile.read(size + 2)
                    self.rfile.readline()
                else:
                    self.rfile.read(int(self.headers.get("content-length", 0)))
                collector.posts += 1
                self.send_response(200)
                self.send_header("content-type", "application/x-protobuf")
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *arguments: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Take)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.endpoint = f"http://127.0.0.1:{self.server.server_port}"


class Scraper:
    """Reads /metrics every second, while it is used as a context."""

    def __init__(self, port: int) -> None:
        self.port, self.scrapes, self.enough = port, 0, threading.Event()
        self.thread = threading.Thread(target=self.scrape)

    def scrape(self) -> None:
        while not self.enough.is_set():
            self.scrapes += metrics(self.port) is not None
            self.enough.wait(1)

    def __enter__(self) -> "Scraper":
        self.thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.enough.set()
        self.thread.join()


def environment(kafka: str, store: Path, endpoint: str, topic: str = TOPIC) -> dict[str, str]:
    return {"TALLY_LOG__KAFKA": kafka, "TALLY_LOG__TOPIC": topic, "TALLY_LOG__PARTITIONS": "4", "TALLY_STORE__URL": str(store),
            "TALLY_LOG__GROUP": f"observe-{time.monotonic_ns()}", "TALLY_TRACES__OTLP_ENDPOINT": endpoint,
            "TALLY_TRACES__ONE_IN": "1000", "RUST_LOG": "warn"}


def fill(tally: str, kafka: str, folder: Path, events: int, endpoint: str) -> None:
    """The backlog, through a door that follows one request in a thousand."""
    env = environment(kafka, folder / "observe", endpoint)
    door = Running([tally, "ingest", "--listen", "127.0.0.1:0"], env, folder / "observe.log")
    measured([tally, "generate", "--events", str(events), "--seed", "17", "--accounts", "200000", "--span", "50m", "--start",
              "2026-11-22T00:05:00Z", "--out", "http", "--url", f"http://{door.address()}"], env)
    door.end()


def watched_round(collector: Collector, port: int, work) -> dict:
    """Work while it is scraped, and what was seen of it."""
    posts = collector.posts
    with Scraper(port) as scraper:
        result = work()
    if scraper.scrapes == 0 or collector.posts == posts:
        raise SystemExit(f"{scraper.scrapes} scrapes and {collector.posts - posts} posts of spans: nobody was watching")
    return {**result, "scrapes": scraper.scrapes, "span_posts": collector.posts - posts}


def stream(tally: str, kafka: str, folder: Path, events: int, collector: Collector, watched: bool) -> dict:
    store, port = folder / "observe", free_port()
    shutil.rmtree(store, ignore_errors=True)
    env = environment(kafka, store, collector.endpoint if watched else "")
    listen = ["--listen", f"127.0.0.1:{port}"] if watched else []

    def work() -> dict:
        seconds, cpu_s, peak_mib, _ = measured([tally, "aggregate", "--until-end", *listen], env)
        return {"seconds": round(seconds, 2), "cpu_s": round(cpu_s, 2), "peak_mib": peak_mib}

    result = watched_round(collector, port, work) if watched else work()
    count = "SELECT (SELECT count(*) FROM usage_events) AS events, (SELECT count(*) FROM suspense) AS held"
    rows = json.loads(measured([tally, "sql", count, "--format", "json"], env)[3])[0]
    if (int(rows["events"]), int(rows["held"])) != (events, 0):
        raise SystemExit(f"{rows} of {events} events came out")
    return result


def door(tally: str, load: str, kafka: str, folder: Path, collector: Collector, watched: bool) -> dict:
    port = free_port()
    env = environment(kafka, folder / "observe", collector.endpoint if watched else "", f"{TOPIC}.door")
    running = Running([tally, "ingest", "--listen", f"127.0.0.1:{port}"], env, folder / "observe.log")
    address = running.address()

    def work() -> dict:
        before = running.cpu_s()
        loaded = subprocess.run([load, address], stdout=subprocess.PIPE, text=True, check=True).stdout
        of = {line["what"]: line for line in map(json.loads, loaded.splitlines())}
        return {"events_s": of["door batches"]["events_s"], "p99_ms": of["door singles"]["p99_ms"],
                "cpu_s": round(running.cpu_s() - before, 2)}

    result = watched_round(collector, port, work) if watched else work()
    running.end()
    return result


def main() -> None:
    tally, load, kafka, folder, out = sys.argv[1], sys.argv[2], sys.argv[3], Path(sys.argv[4]), sys.argv[5]
    rounds = int(sys.argv[6]) if len(sys.argv) > 6 else 12
    events = int(sys.argv[7]) if len(sys.argv) > 7 else 3_000_000
    collector = Collector()
    fill(tally, kafka, folder, events, collector.endpoint)
    stream(tally, kafka, folder, events, collector, False)  # the page cache is warm from here on
    work = {"stream": lambda watched: stream(tally, kafka, folder, events, collector, watched),
            "door": lambda watched: door(tally, load, kafka, folder, collector, watched)}
    for what, run in work.items():
        for round_ in range(rounds):
            for watched in [False, True] if round_ % 2 == 0 else [True, False]:
                record(out, what=what, round=round_, watched=watched, events=events, **run(watched))
    shutil.rmtree(folder / "observe", ignore_errors=True)


main()
