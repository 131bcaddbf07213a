"""What the measuring scripts share: processes of the program, their memory and CPU, the ledger on disk."""

import json
import os
import re
import socket
import subprocess
import time
import urllib.request
from pathlib import Path
from urllib.parse import unquote

TICKS = os.sysconf("SC_CLK_TCK")


class Running:
    """A role of the program that runs until it is stopped. `env` comes on top of this process's."""

    def __init__(self, command: list[str], env: dict[str, str], log: Path) -> None:
        self.log = open(log, "a", encoding="utf-8")
        self.process = subprocess.Popen(
            command, env={**os.environ, **env}, stdout=subprocess.PIPE, stderr=self.log, text=True)

    def address(self) -> str:
        """HOST:PORT of the HTTP listener, which the role prints first."""
        for line in self.process.stdout:
            if found := re.search(r"http://([0-9.:]+)", line):
                return found[1]
        raise RuntimeError(f"no address was printed; see {self.log.name}")

    def stat(self) -> list[str]:
        return Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()

    def cpu_s(self) -> float:
        stat = self.stat()
        return (int(stat[11]) + int(stat[12])) / TICKS

    def status_mib(self, field: str) -> int:
        """VmRSS or VmHWM."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(rf"{field}:\s+(\d+)", status)[1]) // 1024

    def end(self, kill: bool = False) -> None:
        if kill:
            self.process.kill()
        else:
            self.process.terminate()
        self.process.wait()


def entries(store: Path, topic: str) -> set[Path]:
    """The ledger entries of every partition, without the note of where they begin."""
    return set((store / "ledger" / topic).glob("*/[0-9]*.json"))


def is_epoch(entry: Path) -> bool:
    try:
        return json.loads(entry.read_text())["kind"] == "epoch"
    except (ValueError, OSError):
        return False  # just being written


def committed(store: Path, topic: str) -> int:
    """Offsets committed, over all partitions."""
    last = {}
    for entry in entries(store, topic):
        if entry.parent not in last or entry.name > last[entry.parent].name:
            last[entry.parent] = entry
    return sum(json.loads(entry.read_text())["to"] for entry in last.values())


def live_files(store: Path, table: str) -> list[str]:
    """The data files of a table's newest version; merged ones stay in the folder for a day. Its log must be whole, as it is
    in a store of today."""
    root, live = store / "tables" / table, set()
    for commit in sorted((root / "_delta_log").glob("*.json")):
        actions = [json.loads(line) for line in commit.read_text().splitlines()]
        live -= {action["remove"]["path"] for action in actions if "remove" in action}
        live |= {action["add"]["path"] for action in actions if "add" in action}
    return [str(root / unquote(path)) for path in sorted(live)]


def wait_until(condition, seconds: float, step: float = 0.01) -> float:
    """Seconds until the condition held."""
    begin = time.monotonic()
    while not condition():
        if time.monotonic() - begin > seconds:
            raise TimeoutError(f"not within {seconds} s")
        time.sleep(step)
    return time.monotonic() - begin


def measured(command: list[str], env: dict[str, str]) -> tuple[float, float, int, bytes]:
    """Seconds, CPU seconds, largest resident MiB, standard output of a command that must succeed."""
    begin = time.monotonic()
    process = subprocess.Popen(command, env={**os.environ, **env}, stdout=subprocess.PIPE)
    out = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    if os.waitstatus_to_exitcode(status) != 0:
        raise SystemExit(f"{command} ended with {os.waitstatus_to_exitcode(status)}: {out.decode(errors='replace')[-2000:]}")
    return time.monotonic() - begin, usage.ru_utime + usage.ru_stime, usage.ru_maxrss // 1024, out


def free_port() -> int:
    with socket.socket() as anyone:
        anyone.bind(("127.0.0.1", 0))
        return anyone.getsockname()[1]


def metrics(port: int) -> dict[str, float] | None:
    """Sums by name, over labels, of what a process tells; none where it does not answer."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
            lines = answer.read().decode().splitlines()
    except OSError:
        return None
    sums: dict[str, float] = {}
    for line in lines:
        if line and not line.startswith("#"):
            name, value = re.match(r"([A-Za-z0-9_]+)(?:{.*})? (\S+)", line).groups()
            sums[name] = sums.get(name, 0) + float(value)
    return sums


def differences(tally: str, env: dict[str, str], truth: dict, where: str = "true") -> list[str]:
    """Models whose events or tokens in usage_events are not those of the generator's truth; `where` leaves out what is not
    the generator's."""
    sums = "count(*) AS events, sum(input) AS input, sum(cached_input) AS cached_input, sum(output) AS output"
    sql = f"SELECT vendor, model, {sums} FROM usage_events WHERE {where} GROUP BY vendor, model"
    rows = json.loads(measured([tally, "sql", sql, "--format", "json"], env)[3])
    counts = lambda of: tuple(int(of.get(name) or 0) for name in ("input", "cached_input", "output"))
    stored = {(row["vendor"], row["model"]): (int(row["events"]), *counts(row)) for row in rows}
    true = {(row["vendor"], row["model"]): (row["events"], *counts(row["tokens"])) for row in truth["by_model"]}
    return [f"{key}: stored {stored.get(key)}, true {true.get(key)}" for key in sorted(stored.keys() | true.keys())
            if stored.get(key) != true.get(key)]


def record(out: str, **line) -> None:
    """Appends a result and shows it."""
    with open(out, "a", encoding="utf-8") as results:
        results.write(json.dumps(line) + "\n")
    print(json.dumps(line), flush=True)
