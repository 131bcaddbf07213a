"""Writes RESULTS.md: the tables of what was measured last, then findings.md, which people write.

report.py RESULTS_FOLDER RESULTS.md     PART.jsonl is what a part measured, PART.measured on which day and machine, which run.sh
notes. A part without such a note is not of a run that is known: it stays as the report has it.
"""

import functools
import json
import math
import re
import statistics
import sys
from collections.abc import Callable
from pathlib import Path


def lines(file: Path) -> list[dict]:
    return [json.loads(line) for line in file.read_text().splitlines()] if file.is_file() else []


def table(head: list[str], rows: list[list]) -> list[str]:
    return [f"| {' | '.join(head)} |", f"| {' | '.join('---' for _ in head)} |",
            *(f"| {' | '.join(str(cell) for cell in row)} |" for row in rows), ""]


def stream(runs: list[dict]) -> list[str]:
    null = {run["run"]: run["events_s_drain"] for run in runs if run["peer"] == "null"}
    rows = []
    for peer in dict.fromkeys(run["peer"] for run in runs):
        of = [run for run in runs if run["peer"] == peer]
        median = lambda key: statistics.median(run[key] for run in of)
        ratio = statistics.median(run["events_s_drain"] / null[run["run"]] for run in of)
        checks = [run["check"] for run in of if "check" in run]
        right = "counts only" if not checks else "yes" if all(c.get("correct") for c in checks) else f"NO: {checks[0]}"
        rows.append([peer, len(of), f"{median('events_s_drain'):,.0f}", f"{ratio:.2f}", f"{median('drain_s'):.1f}",
                     f"{median('cpu_s_per_m'):.2f}", f"{median('rss_mib'):,.0f}", right])
    return ["From the first record to the last committed and published epoch; medians; the ratio is to the null "
            "consumer of the same round. Events are checked row by row by the kit. Counted, not rated (`aggregate.rate = false`): "
            "the kit's models have no price, and the others only count.", "",
            *table(["", "runs", "events/s", "÷ null", "seconds", "CPU s a million", "peak MiB", "correct"], rows)]


def door(runs: list[dict]) -> list[str]:
    rows = []
    for run in runs:
        if run["what"] == "door batches":
            said = [f"JSON batches of {run['events_a_batch']}", f"{run['events_s']:,} events/s"]
        elif run["what"] == "everything counted":
            said = ["all of these events in `usage_events`, once each, after the first was sent", f"{run['seconds']} s"]
        else:
            label = "single events" if run["what"] == "door singles" else "the same straight to Kafka, without a door"
            said = [f"{label}, {run['requests_s']:,} a second",
                    f"p50 {run['p50_ms']} ms, p99 {run['p99_ms']} ms, max {run['max_ms']} ms"]
        rows.append(["" if run["what"] == "singles without a door" else f"`tally {run['role']}`", *said])
    return ["On real Kafka, acknowledged by all in-sync replicas: one broker, one replica. Door, broker and client share the cores; "
            "with `tally up` the stream, which rates and charges, and SQL, asked once a second, do too, in the door's process, and the "
            "singles follow the batches at once, whatever of them the stream has yet to count. No id comes twice.", "",
            *table(["process", "load", "result"], rows)]


def recovery(runs: list[dict]) -> list[str]:
    rows = [[run["member"], run["seconds_to_first_commit"], run["cpu_s"], run["stored_state_mib"], run["peak_mib_before"],
             run["peak_mib_after"]] for run in runs]
    return ["Each account has bought a package. A member of the group that has a name of its own (`group.instance.id`) is not waited "
            "for when it was killed; one without is, for the session's time-out.", "",
            *table(["member", "seconds to the first new commit", "CPU s", "stored state MiB", "peak MiB before", "peak MiB after"], rows)]


def rating(runs: list[dict]) -> list[str]:
    of = {(run["round"], run["what"]): run["seconds"] for run in runs}
    ratio = lambda run, what: f"{of[run['round'], what] / run['seconds']:.2f}" if (run["round"], what) in of else ""
    rows = [[run["what"], run["round"] + 1, run["seconds"], f"{run['events'] / run['seconds']:,.0f}", ratio(run, "null"),
             ratio(run, "counting"), run["cpu_s_per_million"], run["bytes_an_event"]] for run in runs]
    return ["From the start of the process to its end, which is longer than the time of the backlog above. null: a consumer that "
            "only counts messages. overrun: nobody has bought anything. packages: each account has a gift first. Ratios are of "
            "events a second, within the round.", "",
            *table(["", "round", "seconds", "events/s", "÷ null", "÷ counting", "CPU s a million", "Parquet bytes an event"], rows)]


def quota(runs: list[dict]) -> list[str]:
    rounds = sorted({run["round"] for run in runs})
    of = lambda what, round_: next(run for run in runs if (run["what"], run["round"]) == (what, round_))
    rows, ratios = [], []
    for round_ in rounds:
        alone, asked = of("alone", round_), of("asked", round_)
        ratios.append(asked["seconds"] / alone["seconds"])
        rows.append([round_ + 1, alone["seconds"], asked["seconds"], f"{ratios[-1]:.3f}", f"{asked['answered_s']:,}",
                     asked["ok"], asked["unknown"] + asked["other"], asked["p50_ms"], asked["p99_ms"]])
    return [f"{runs[0]['events']:,} JSON events from the start of the process to its end, alone and with "
            f"{of('asked', rounds[0])['asked_s']:,} `GET /v1/accounts/{{account}}/quota` a second asked for; the client is on the "
            f"same cores. Median ratio {statistics.median(ratios):.3f}. Answers that are no 200: while partitions are taken, "
            "and of accounts that no record was read of yet.", "",
            *table(["round", "alone, s", "asked, s", "ratio", "answers/s", "200", "others", "p50 ms", "p99 ms"], rows)]


def alerts(runs: list[dict]) -> list[str]:
    largest = lambda run: f"{run['max_events_s']:,}" if "max_events_s" in run else ""
    rows = [["through a kill -9 and a takeover" if run["killed"] else "undisturbed", largest(run), f"{run['rate']:,}", run["alerts"],
             run["missing"], run["twice"], run["p50_ms"], run["p99_ms"], run["max_ms"],
             ", ".join(f"{count:,} ≤ {ms}" for ms, count in run["at_most_ms"].items())] for run in runs]
    return ["From the append of the event to the append of its alert, by the "
            "broker's clock, in milliseconds. At most: a backlog of batches rated and charged just before, without the start; half of it is "
            "asked for beside, unless ALERT_RATE says otherwise.", "",
            *table(["", "events/s at most", "events/s beside", "alerts", "missing", "twice", "p50", "p99", "max", "histogram"], rows)]


def accounts(runs: list[dict]) -> list[str]:
    least = runs[0]["cpu_s_per_million"]
    rows = [[f"{run['accounts']:,}", run["cpu_s_per_million"], f"{run['cpu_s_per_million'] / least:.2f}",
             run["seconds"], f"{run['peak_mib']:,}", f"{run['stored_state_mib']:,}", run["read_s"], run["sold_s"],
             run["told_s"], f"{run['told_peak_mib']:,}"] for run in runs]
    return [f"{runs[0]['events']:,} JSON events, rated and charged, of "
            "accounts that have each bought a package; without the time in which a start reads the stored state. The buckets of all begin "
            "at one instant, and gateways are told of each account then, before the events that are measured.", "",
            *table(["accounts", "CPU s a million", "ratio", "seconds", "peak MiB", "stored state MiB", "state read in, s",
                    "packages sold in, s", "all told in, s", "peak MiB then"], rows)]


def steady(runs: list[dict]) -> list[str]:
    rows = [[f"{run['reached']:,}", f"{run['rate']:,}", run["seconds"], " / ".join(map(str, run["median_mib_by_third"])), run["peak_mib"],
             run.get("state_mib_median", ""), f"{run['lag_median']:,}" if "lag_median" in run else "", run["cpu_s_per_million"]]
            for run in runs]
    return ["JSON events, rated and charged; generator, broker and aggregator share the cores. Together they reached the first figure "
            "just before, as fast as they can; the run is at half of it, where no other rate was asked for.", "",
            *table(["events/s reached", "events/s", "seconds", "resident MiB, median of each third", "peak MiB",
                    "open state MiB, median", "lag, median", "CPU s a million"], rows)]


def sql(runs: list[dict]) -> list[str]:
    rows = [[run["query"], run["rows"], run["tally"]["warm_s"], run["duckdb"]["warm_s"],
             f"{run['tally']['warm_s'] / run['duckdb']['warm_s']:.2f}", run["tally"]["cold_s"], run["duckdb"]["cold_s"],
             run["tally"]["cpu_s"], run["duckdb"]["cpu_s"], run["tally"]["rss_mib"], run["duckdb"]["rss_mib"],
             "equal" if run["equal"] else "DIFFERENT"] for run in runs if "query" in run]
    edges = [[run["edge"], run["exit"], run["said"].replace("|", "/")] for run in runs if "edge" in run]
    return ["Warm: the best of five, over HTTP for Tally, in its own process for DuckDB. Cold: a new process, page cache "
            "warm. In seconds.", "",
            *table(["", "rows", "Tally warm", "DuckDB warm", "ratio", "Tally cold", "DuckDB cold", "Tally CPU",
                    "DuckDB CPU", "Tally MiB", "DuckDB MiB", "answers"], rows),
            "What overflows is an error:", "", *table(["sum", "exit code", "said"], edges)]


def stages(runs: list[dict]) -> list[str]:
    rows = [[run["stage"], f"{run['ns']:,.0f}"] for run in runs]
    return ["criterion, one thread, median; nanoseconds an event, an entry for the ledger.", "",
            *table(["stage", "ns"], rows)]


def reconcile(runs: list[dict]) -> list[str]:
    rows = [[run["what"], f"{run['ours']:,} × {run['theirs']:,}", run["seconds"], run["cpu_s"], f"{run['peak_mib']:,}",
             f"{run['differences']:,}", "yes" if run["correct"] else "NO"] for run in runs]
    return ["`tally settle reconcile` from the bill as CSV and the tables in "
            "a local folder to report, differences and evidence; one line in a thousand differs, planted by rule.", "",
            *table(["", "records", "seconds", "CPU s", "peak MiB", "differences", "as planted"], rows)]


def rerate(runs: list[dict]) -> list[str]:
    rows = [[run["what"], f"{run['events']:,}", run["seconds"], run["cpu_s"], f"{run['peak_mib']:,}",
             f"{run['changed']:,}", "yes" if run["correct"] else "NO"] for run in runs]
    return ["`tally settle rerate` over the rows of one vendor's month in a local folder: every event is "
            "rated by the price book as it was known at another time.", "",
            *table(["", "events", "seconds", "CPU s", "peak MiB", "events that change", "as computed"], rows)]


def month(runs: list[dict]) -> list[str]:
    of = lambda what: [run for run in runs if run["what"] == what]
    said = lambda run: "yes" if run["correct"] else "NO"
    made, sealed, repeated = of("made"), of("sealed"), of("repeated")
    out = ["Events by the product's own way through the log into tables in a local folder; the sums of every vendor "
           "are held to the rule that made the events. Closing and approving make every statement once each.", "",
           *table(["", "events", "close, s", "approve, s", "both, s", "CPU s", "peak MiB", "verify, s", "verify peak MiB", "as computed"],
                  [["sealed", f"{run['events']:,}", run["close_s"], run["approve_s"], run["seconds"], run["cpu_s"],
                    f"{run['peak_mib']:,}", run.get("verify_s", ""), run.get("verify_peak_mib", ""), said(run)] for run in sealed]),
           *(f"Into the tables: {run['replay_s']} s to the log and {run['aggregate_s']} s rated and charged "
             f"({run['aggregate_peak_mib']:,} MiB at the peak, state read again for each slice); merged and rolled up by the janitor "
             f"in {run['janitor_s']} s ({run['janitor_cpu_s']} CPU s, {run['janitor_peak_mib']:,} MiB, {run['janitor_runs']} runs); the store "
             f"has {run['store_mib']:,} MiB." if "janitor_s" in run else
             f"Into the tables: {run['replay_s']} s to the log and {run['aggregate_s']} s rated and charged "
             f"({run['aggregate_peak_mib']:,} MiB at the peak, state read again for each slice); the store has {run['store_mib']:,} MiB."
             for run in made), ""]
    if drilled := of("drill-down"):
        out += ["From a line to its events, `tally settle events`, a new process each:", "",
                *table(["shown as", "lines", "p50 s", "p95 s", "max s", "all events of the line"],
                       [[run["shown"], run["lines"], run["p50_s"], run["p95_s"], run["max_s"], said(run)] for run in drilled])]
    out += [f"NOT ANSWERED: `{run['sql']}`: {run['failed']}" for run in of("question") if "failed" in run]
    if asked := [run for run in of("question") if "failed" not in run]:
        slowest = sorted(asked, key=lambda run: -run["best_s"])
        out += [f"Finance's questions, {len(asked)} of [sql.md](../docs/sql.md) over HTTP: {sum(run['best_s'] <= 1 for run in asked)} "
                f"within a second, the best of five; {sum(run['rows'] > 0 for run in asked)} had rows to show. The slowest:", "",
                *table(["question", "rows", "first, s", "best, s"],
                       [[f"`{run['sql'][:110]}`", run["rows"], run["first_s"], run["best_s"]] for run in slowest[:8]])]
    if raw := of("raw"):
        out += ["On the events themselves, beside others on the same files, two threads:", "",
                *table(["question", "first, s", "best, s", "DuckDB, s", "ratio", "chDB, s", "ratio", "answers"],
                       [[run["question"], run["first_s"], run["best_s"], run["duckdb_s"], f"{run['best_s'] / run['duckdb_s']:.2f}",
                         *([run["chdb_s"], f"{run['best_s'] / run['chdb_s']:.2f}"] if "chdb_s" in run else ["", ""]), "equal" if run["correct"] else "DIFFERENT"] for run in raw])]
    out += [f"{run['runs']} drafts of statements of {run['events']:,} events, of {run['stores']} stores that differ in partitions, "
            f"slices and order, with one to five threads: {run['hashes']} SHA-256." for run in repeated]
    return out + [""]


def restart(runs: list[dict]) -> list[str]:
    starts = [[run["of"], run["runs"], run["ready_s"], run["ready_s_worst"], run.get("owned_s", ""), run.get("owned_s_worst", "")]
              for run in runs if run["what"] == "start"]
    rolled = [[f"{run['rate']:,}", f"{run['alerts']:,}", run["missing"], run["twice"], run["models_wrong"], run["gap_ms"],
               run["partition_gap_ms"], run["max_ms"], f"{run['lag_before']:,} (at most {run['lag_before_max']:,})", f"{run['lag_max']:,}",
               "NOT BACK" if run["lag_back_s"] is None else run["lag_back_s"], " / ".join(map(str, run["stop_s"])),
               "yes" if run["correct"] else "NO"] for run in runs if run["what"] == "rolling restart"]
    return ["Every aggregator restarted one after the other, two on four partitions; alerts by the broker's clock; "
            "lag in records, most of them batches of 500 events; back from the last start on. As sent: events to the token by model, `tally verify`, "
            "and every alert once.", "",
            *table(["events/s beside", "alerts", "missing", "twice", "models that differ", "longest gap, ms", "in one partition, ms",
                    "slowest alert, ms", "lag before", "lag at most", "back after, s", "stops, s", "as sent"], rolled),
            "From the start of the process, medians and the worst:", "",
            *table(["", "runs", "ready, s", "worst", "partitions owned, s", "worst"], starts)]


def spread_of_median(ratios: list[float]) -> str:
    """Between what the median lies in 19 cases of 20, by ranks alone: nothing is taken for granted of how single ratios lie.
    Half of all ratios are below the true median, so how many of some are below it is a matter of tossing coins."""
    of, count = sorted(ratios), len(ratios)
    for rank in range(count // 2, 0, -1):
        if 2 * sum(math.comb(count, below) for below in range(rank)) / 2**count <= 0.05:
            return f"{of[rank - 1]:.3f} to {of[count - rank]:.3f}"
    return "too few rounds"


def observe(runs: list[dict]) -> list[str]:
    rows = []
    for what, figure, better in [("stream", "seconds", "less"), ("stream", "cpu_s", "less"), ("door", "events_s", "more"),
                                 ("door", "cpu_s", "less"), ("door", "p99_ms", "less")]:
        of = {(run["round"], run["watched"]): run[figure] for run in runs if run["what"] == what}
        ratios = sorted(of[round_, True] / alone for (round_, watched), alone in of.items() if not watched and (round_, True) in of)
        if ratios:
            median = lambda watched: statistics.median(value for (_, w), value in of.items() if w == watched)
            rows.append([what, figure, f"{median(False):,.2f}", f"{median(True):,.2f}", f"{statistics.median(ratios):.3f}",
                         spread_of_median(ratios), f"{ratios[0]:.3f} to {ratios[-1]:.3f}", len(ratios), f"{better} is better"])
    return ["Alone: nobody scrapes, no traces. Watched: /metrics every second, one request in a "
            "thousand followed to a collector, which is a thread of the measuring script on the same cores. Rounds alternate. "
            "Where the median lies is said with 19 in 20.", "",
            *table(["", "", "alone, median", "watched, median", "ratio, median", "lies within", "ratios", "rounds", ""], rows)]


# What a figure of a fault test says beside what was measured.
OF_EVERY_FAULT = {"test", "seed", "counts", "day", "machine", "elapsed_s", "records", "accepted", "duplicates", "suspended", "shares"}


def added(a: dict, b: dict) -> dict:
    """Two shares of a full count as one run: counts and seconds add up, of times the longer one counts."""
    def both(key: str, one: object, other: object) -> object:
        if not isinstance(one, int) or not isinstance(other, int):
            return other
        return max(one, other) if key.endswith("_ms") or key == "shares" else one + other
    return {**a, **{key: both(key, a[key], value) if key in a else value for key, value in b.items()}}


def newest_of_each(runs: list[dict]) -> dict[str, dict]:
    """The newest full run of each test; where several make a full count together, as many as that takes, of one day and machine."""
    full = [run for run in runs if run.get("counts") == "full"]
    newest: dict[str, dict] = {}
    for name in dict.fromkeys(run["test"] for run in full):
        of_test = [run for run in full if run["test"] == name]
        for end in range(len(of_test), 0, -1):
            shares = of_test[end - 1].get("shares", 1)
            together = of_test[max(end - shares, 0):end]
            alike = {(run.get("shares", 1), run["day"], run.get("machine")) for run in together}
            if len(together) == shares and len(alike) == 1 and (shares == 1 or len({run["seed"] for run in together}) == shares):
                newest[name] = functools.reduce(added, together)
                break
    return newest


def faults(runs: list[dict]) -> list[str]:
    newest = newest_of_each(runs)
    number = lambda name: (int(found[1]) if (found := re.match(r"R(\d+)", name)) else 99, name)
    told = lambda value: (f"{value:,}" if isinstance(value, int) else f"{sum(value.values()):,}" if isinstance(value, dict)
                          else ", ".join(map(told, value)) if isinstance(value, list) else value)
    rows = [[name, run["day"], run.get("machine", "not noted"),
             *(told(run.get(key, "")) for key in ["records", "accepted", "duplicates", "suspended"]),
             "; ".join(f"{key.replace('_', ' ')} {told(value)}" for key, value in run.items() if key not in OF_EVERY_FAULT),
             told(run["elapsed_s"])] for name, run in sorted(newest.items(), key=lambda of: number(of[0]))]
    return ["`make soak`, the newest run of each test that passed, on its day and its machine: a test that was never seen to pass has no "
            "row, and one that failed since has the row of before. Where events are accepted, the tables were compared with what was "
            "sent, by `tally verify` and, without our code, by the packages deltalake and duckdb. "
            "The build is that of `make test`. Where rounds were shared out among runs beside each other, each by a seed of its own, a row "
            "is all of them together, and its seconds are their sum.", "",
            *table(["fault", "day", "machine", "records", "accepted", "duplicates", "held back", "measured", "seconds"], rows)]


# In the order of the report, with their headings.
PARTS: dict[str, Callable[[list[dict]], list[str]]] = {
    "Backlog of 5 M events, 4 partitions, real Kafka, local folder": stream,
    "Door": door,
    "Recovery after kill -9, 1 M accounts, 20 M ids in open buckets": recovery,
    "Rating and charging beside counting alone, 3 M JSON events": rating,
    "Asking for quotas beside the stream": quota,
    "Alert latency, 1 M accounts": alerts,
    "A vendor's bill beside our events": reconcile,
    "A month rated again": rerate,
    "A month of thirty vendors settled": month,
    "Restarts": restart,
    "What metrics and traces cost": observe,
    "Memory at a steady rate": steady,
    "SQL over 10 M events, the same Parquet, two threads": sql,
    "Events with more and more accounts known": accounts,
    "Stages": stages,
    "Faults, full counts": faults,
}


def sections(report: str) -> dict[str, list[str]]:
    """The lines below each heading of a report."""
    parts = re.split(r"^## (.+)\n", report, flags=re.MULTILINE)
    return {heading: text.strip("\n").splitlines() + [""] for heading, text in zip(parts[1::2], parts[2::2])}


def with_earlier_rows(rows: list[str], earlier: list[str]) -> list[str]:
    """The tests that were not run again have the rows that they had."""
    name = lambda row: row.split(" | ")[0]
    names = {name(row) for row in rows}
    return rows[:-1] + [row for row in earlier if row.startswith("| ") and name(row) not in names] + [""]


def section(folder: Path, part: Callable[[list[dict]], list[str]], earlier: list[str]) -> list[str]:
    """The lines of a part: of what was measured where that is known, else what the report had."""
    runs = lines(folder / f"{part.__name__}.jsonl")
    if part is faults:  # each row has a day and a machine of its own
        return with_earlier_rows(faults(runs), earlier) if runs else earlier
    measured = folder / f"{part.__name__}.measured"
    if runs and measured.is_file():
        return [f"Run on {measured.read_text().strip()}.", "", *part(runs)]
    return earlier


def main() -> None:
    folder, target = Path(sys.argv[1]), Path(sys.argv[2])
    before = sections(target.read_text()) if target.is_file() else {}
    out = ["# Results", "", "Broker and clients are on the same cores as what is measured. The parts of [run.sh](run.sh) that have been "
           "run, each with its day and its machine; `make bench` runs them all, and a part that is not run again stays as it was.", ""]
    for heading, part in PARTS.items():
        if of_part := section(folder, part, before.get(heading, [])):
            out += [f"## {heading}", "", *of_part]
    findings = Path(__file__).with_name("findings.md")
    target.write_text("\n".join(out) + "\n" + findings.read_text())


if __name__ == "__main__":
    main()
