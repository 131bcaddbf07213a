"""What the measuring scripts share: processes of the program, their memory and CPU, the ledger on disk."""

import json
import os
import re
import subprocess
import time
from pathlib import Path

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
    """The ledger entries of every partition."""
    return set((store / "ledger" / topic).glob("*/*.json"))


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


def wait_until(condition, seconds: float, step: float = 0.01) -> float:
    """Seconds until the condition held."""
    begin = time.monotonic()
    while not condition():
        if time.monotonic() - begin > seconds:
            raise TimeoutError(f"not within {seconds} s")
        time.sleep(step)
    return time.monotonic() - begin


def record(out: str, **line) -> None:
    """Appends a result and shows it."""
    with open(out, "a", encoding="utf-8") as results:
        results.write(json.dumps(line) + "\n")
    print(json.dumps(line), flush=True)
