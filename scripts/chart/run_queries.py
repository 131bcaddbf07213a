"""Asks every query of the dashboards and runbooks, and every rule, of a running Prometheus and a running Tally.

    run_queries.py PROMETHEUS_URL PG_PORT

An error of any query fails; so does a rule that Prometheus cannot evaluate. Panels without data are listed, and are a
failure where their metrics are not among those that wait for the program (helm/rules/awaited-metrics.txt) or named in
QUIET: what a healthy installation of one minute has nothing of. Every SQL panel must have rows: scripts/dashboards.sh
sends something for each. What a runbook asks may have none: what it looks for is not there.
"""

import json
import re
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

CHART = Path(__file__).resolve().parents[2] / "helm"
SPAN_S = 3600
# No data, and rightly: nothing was given up, without users nobody signs in or is audited, and a store that
# is a folder has no clock.
QUIET = {
    "tally_webhook_failures_total", "tally_webhook_dead_letters_total", "tally_sign_ins_total",
    "tally_audit_entries_total", "tally_audit_write_failures_total", "tally_audit_entries_lost_total",
    "tally_audit_entries_waiting",
    "tally_clock_offset_seconds",
}


def awaited() -> set[str]:
    lines = (CHART / "rules" / "awaited-metrics.txt").read_text(encoding="utf-8").splitlines()
    return {line.split("|")[0].strip() for line in lines if line and not line.startswith("#")}


def ask(url: str, path: str, **parameters: str) -> dict:
    query = urllib.parse.urlencode(parameters)
    try:
        with urllib.request.urlopen(f"{url}{path}?{query}", timeout=30) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        return json.loads(error.read())


def of_prometheus(url: str, expression: str) -> int | str:
    """Points of an answer, or an error."""
    expression = expression.replace("$__rate_interval", "60s").replace("$namespace", ".*")
    now = time.time()
    answer = ask(url, "/api/v1/query_range", query=expression, start=str(now - 60), end=str(now), step="5")
    if answer["status"] != "success":
        return answer.get("error", "failed")
    # A quantile of nothing is NaN: no data to look at.
    return sum(value != "NaN" for series in answer["data"]["result"] for _, value in series["values"])


def of_tally(port: str, statement: str) -> int | str:
    at = lambda seconds: "'" + time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + seconds)) + "'"
    # What Grafana puts in place of its macros.
    statement = statement.replace("$__timeFrom()", at(-SPAN_S * 24)).replace("$__timeTo()", at(SPAN_S))
    command = ["psql", "-X", "-h", "127.0.0.1", "-p", port, "-U", "tally", "-v", "ON_ERROR_STOP=1", "-At", "-c", statement]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    if done.returncode != 0:
        return done.stderr.strip().splitlines()[0]
    return len(done.stdout.splitlines())


def main() -> int:
    url, port = sys.argv[1:3]
    waiting, failed, empty, asked = awaited(), [], [], 0
    for path in sorted((CHART / "dashboards").glob("*.json")):
        for panel in json.loads(path.read_text(encoding="utf-8"))["panels"]:
            for target in panel["targets"]:
                asked += 1
                question = target.get("rawSql") or target["expr"]
                found = of_tally(port, question) if "rawSql" in target else of_prometheus(url, question)
                where = f"{path.stem}: {panel['title']} {target['refId']}"
                if isinstance(found, str):
                    failed.append(f"{where}: {found}")
                elif found == 0:
                    metrics = set(re.findall(r"tally_[a-z0-9_]+", question)) if "expr" in target else set()
                    known = metrics & waiting or metrics & QUIET
                    empty.append(f"{where}{': awaited' if metrics & waiting else ''}")
                    if not known:
                        failed.append(f"{where}: no data")
    for path in sorted((CHART.parent / "docs" / "operations").glob("*.md")):
        for statement in re.findall(r"```sql\n(.*?)```", path.read_text(encoding="utf-8"), re.DOTALL):
            asked += 1
            found = of_tally(port, statement)
            if isinstance(found, str):
                failed.append(f"{path.name}: {found}: {' '.join(statement.split())}")
    rules = ask(url, "/api/v1/rules")["data"]["groups"]
    for group in rules:
        for rule in group["rules"]:
            if rule["health"] != "ok":
                failed.append(f"rule {rule['name']}: {rule['health']} {rule.get('lastError', '')}")
            if rule["state"] == "firing":
                failed.append(f"rule {rule['name']} fires")
    for line in empty:
        print(f"no data  {line}")
    for line in failed:
        print(f"FAILED   {line}")
    print(f"{asked} queries, {sum(len(group['rules']) for group in rules)} rules: {len(failed)} failed, {len(empty)} without data")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
