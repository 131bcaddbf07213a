"""The report names the day and the machine that measured, and not those on which it is made."""

import json
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

BENCHES = Path(__file__).parents[2] / "benches"
sys.path.insert(0, str(BENCHES))

import report  # noqa: E402
from machine import machine  # noqa: E402

ELSEWHERE = "96 cores of Another, 755 GiB"
STEADY = {"reached": 80_000, "rate": 40_000, "seconds": 600, "median_mib_by_third": [1, 2, 2], "peak_mib": 3, "cpu_s_per_million": 9}


class Report(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def write(self, name: str, *runs: dict) -> None:
        (self.folder / name).write_text("".join(json.dumps(run) + "\n" for run in runs))

    def faults(self, earlier: list[str]) -> list[str]:
        return [row for row in report.section(self.folder, report.faults, earlier) if row.startswith("| R")]

    def test_a_fault_has_the_machine_that_measured_it(self) -> None:
        run = {"counts": "full", "elapsed_s": 7, "records": 5}
        self.write("faults.jsonl", {**run, "test": "R1 kill", "day": "2026-11-27", "machine": ELSEWHERE})
        before = report.section(self.folder, report.faults, [])
        self.assertEqual(self.faults([]), [f"| R1 kill | 2026-11-27 | {ELSEWHERE} | 5 |  |  |  |  | 7 |"])
        self.assertNotIn(machine(), "\n".join(before))
        # Another test, later and here: the first keeps its row.
        self.write("faults.jsonl", {**run, "test": "R2 again", "day": "2026-11-28", "machine": machine()})
        rows = self.faults(before)
        self.assertEqual([row.split(" | ")[:3] for row in rows],
                         [["| R2 again", "2026-11-28", machine()], ["| R1 kill", "2026-11-27", ELSEWHERE]])
        # The same test anew, here: its newest run.
        self.write("faults.jsonl", {**run, "test": "R1 kill", "day": "2026-11-28", "machine": machine()})
        self.assertEqual([row.split(" | ")[2] for row in self.faults(before)], [machine()])

    def test_shares_of_a_full_count_are_one_row(self) -> None:
        run = {"counts": "full", "elapsed_s": 7, "records": 5, "shares": 2, "machine": ELSEWHERE, "day": "2026-11-28", "test": "R3 zombie"}
        share = lambda seed, **more: {**run, "seed": seed, "cycles": 50, **more}
        self.write("faults.jsonl", share(1, wait_max_ms=9))
        self.assertEqual(self.faults([]), [])
        self.write("faults.jsonl", share(1, wait_max_ms=9), share(2, wait_max_ms=4))
        self.assertEqual(self.faults([]), [f"| R3 zombie | 2026-11-28 | {ELSEWHERE} | 10 |  |  |  | cycles 100; wait max ms 9 | 14 |"])
        # The same seed twice, or a share of another day, is no second share.
        for other in [share(1), share(2, day="2026-11-27")]:
            self.write("faults.jsonl", share(1), other)
            self.assertEqual(self.faults([]), [])
        # One that has no other yet does not hide the whole count of before.
        self.write("faults.jsonl", share(1), share(2), share(3, day="2026-11-29"))
        self.assertEqual([row.split(" | ")[1] for row in self.faults([])], ["2026-11-28"])

    def test_a_part_has_the_machine_that_is_noted_beside_it(self) -> None:
        self.write("steady.jsonl", STEADY)
        (self.folder / "steady.measured").write_text(f"2026-11-20, {ELSEWHERE}\n")
        self.assertEqual(report.section(self.folder, report.steady, ["before"])[0], f"Run on 2026-11-20, {ELSEWHERE}.")

    def test_a_part_of_which_that_is_not_known_stays_as_it_was(self) -> None:
        self.write("steady.jsonl", STEADY)
        self.assertEqual(report.section(self.folder, report.steady, ["before"]), ["before"])

    def test_a_soak_notes_its_machine(self) -> None:
        lines = '{"test": "R1 kill"}\n' + json.dumps({"test": "R2 again", "machine": ELSEWHERE})
        said = subprocess.run([sys.executable, BENCHES / "machine.py", "name"], input=lines, capture_output=True, text=True, check=True)
        self.assertEqual([json.loads(line)["machine"] for line in said.stdout.splitlines()], [machine(), ELSEWHERE])


if __name__ == "__main__":
    unittest.main()
