"""Holds rules, dashboards, runbooks and settings to one another.

    check_names.py      every finding is a line; exit code 1 where there is one

- Every metric named in rules, their tests, dashboards and runbooks is in docs/metrics.md, or is awaited
  (helm/rules/awaited-metrics.txt); what is awaited is named somewhere and not in docs/metrics.md yet.
- Every label by which they choose a metric's samples is one of that metric, or of the target that was scraped.
- Every alert has its runbook, every runbook its alert, and the index has all of them.
- Every alert is in the tests of the rules.
- Settings that the chart sets, and those in its examples, are in docs/configuration.md.
- Links of the runbooks lead somewhere.
"""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "helm"
PAGES = ROOT / "docs" / "operations"
# Pages that no alert leads to.
GUIDES = {"README.md", "sizing.md", "regions.md", "backup.md", "moving-the-store.md", "partitions.md", "image.md",
          "retention.md", "traces.md", "upgrades.md"}
METRIC = re.compile(r"\btally_[a-z0-9_]+\b")
# A metric whose samples are chosen by labels, and one of these.
CHOSEN = re.compile(r"\b(tally_[a-z0-9_]+)\\?\{([^}]*)\}")
LABEL = re.compile(r"(\w+)\s*(?:=~|!~|!=|=)")
# Labels of a target.
TARGET = {"job", "instance", "namespace", "pod", "service", "container", "role"}
# What a histogram is in PromQL.
PARTS = re.compile(r"_(bucket|count|sum)$")


def text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def known_metrics() -> set[str]:
    return set(re.findall(r"^\| `(tally_\w+)`", text_of(ROOT / "docs" / "metrics.md"), re.MULTILINE))


def labels_of_metrics() -> dict[str, set[str]]:
    rows = re.findall(r"^\| `(tally_\w+)` \| \w+ \| (.*?) \|", text_of(ROOT / "docs" / "metrics.md"), re.MULTILINE)
    return {name: set(re.findall(r"`(\w+)`", labels)) for name, labels in rows}


def awaited_metrics() -> set[str]:
    lines = text_of(CHART / "rules" / "awaited-metrics.txt").splitlines()
    return {line.split("|")[0].strip() for line in lines if line and not line.startswith("#")}


def places() -> list[Path]:
    found = [CHART / "rules" / "alerts.yaml", CHART / "tests" / "alerts.yaml", CHART / "values.yaml"]
    return found + sorted((CHART / "dashboards").glob("*.json")) + sorted(PAGES.glob("*.md"))


def labels() -> Iterator[str]:
    known = labels_of_metrics()
    for place in places():
        for name, chosen in sorted(set(CHOSEN.findall(text_of(place)))):
            bare = name if name in known else PARTS.sub("", name)
            for label in LABEL.findall(chosen):
                if bare in known and label not in known[bare] | TARGET | ({"le"} if bare != name else set()):
                    yield f"{place.relative_to(ROOT)}: {bare} has no label {label}"


def metrics() -> Iterator[str]:
    known, awaited, named = known_metrics(), awaited_metrics(), set()
    for place in places():
        for name in sorted(set(METRIC.findall(text_of(place)))):
            bare = name if name in known | awaited else PARTS.sub("", name)
            named.add(bare)
            if bare not in known | awaited:
                yield f"{place.relative_to(ROOT)}: there is no metric {name}"
    for name in sorted(awaited & known):
        yield f"{name} is in docs/metrics.md now: take it out of awaited-metrics.txt"
    for name in sorted(awaited - named):
        yield f"{name} is awaited by nobody"


def rules() -> list[dict]:
    groups = yaml.safe_load(text_of(CHART / "rules" / "alerts.yaml"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def runbooks() -> Iterator[str]:
    pages = {path.name for path in PAGES.glob("*.md")} - GUIDES
    wanted, tests, index = set(), text_of(CHART / "tests" / "alerts.yaml"), text_of(PAGES / "README.md")
    for rule in rules():
        name, page = rule["alert"], rule["annotations"].get("runbook", "")
        wanted.add(page)
        if page not in pages:
            yield f"{name}: there is no runbook docs/operations/{page}"
        elif name not in text_of(PAGES / page):
            yield f"docs/operations/{page} does not name {name}"
        if rule["labels"].get("severity") not in ("page", "ticket"):
            yield f"{name}: severity is page or ticket"
        if name not in tests:
            yield f"{name} is not tested"
        if not {"summary", "description"} <= set(rule["annotations"]):
            yield f"{name}: summary and description"
    for page in sorted(pages - wanted):
        yield f"docs/operations/{page} is the runbook of no alert"
    for page in sorted(pages | GUIDES - {"README.md"}):
        if f"]({page})" not in index:
            yield f"docs/operations/README.md does not link {page}"
    for page in sorted(wanted & pages):
        for heading in ("## How bad", "## Look", "## Do", "## Over"):
            if heading not in text_of(PAGES / page):
                yield f"docs/operations/{page} has no part {heading!r}"


def settings() -> Iterator[str]:
    known = set(re.findall(r"^\| `([a-z_]+\.[a-z_]+)` \|", text_of(ROOT / "docs" / "configuration.md"), re.MULTILINE))
    for path in sorted((CHART / "variants").glob("*.yaml")):
        for section, keys in (yaml.safe_load(text_of(path)).get("config") or {}).items():
            for key in keys:
                if f"{section}.{key}" not in known:
                    yield f"{path.relative_to(ROOT)}: there is no setting {section}.{key}"
    for path in sorted((CHART / "snapshots").glob("*.yaml")):
        for found in yaml.safe_load_all(text_of(path)):
            if not found or "tally.toml" not in found.get("data", {}):
                continue
            section = ""
            for line in found["data"]["tally.toml"].splitlines():
                if line.startswith("["):
                    section = line.strip("[]")
                elif "=" in line and section != "log.kafka_options":
                    if f"{section}.{line.split(' =')[0]}" not in known:
                        yield f"{path.relative_to(ROOT)}: there is no setting {section}.{line}"
    for path in [*sorted(PAGES.glob("*.md")), CHART / "values.yaml", CHART / "readme-head.md"]:
        for name in sorted(set(re.findall(r"`([a-z]+\.[a-z_]+)(?: = [^`]*)?`", text_of(path)))):
            section = name.split(".")[0]
            chart = yaml.safe_load(text_of(CHART / "values.yaml"))
            # Views and topics of quotas are no settings, and neither are files of certificates.
            if section != "quota" and any(setting.startswith(f"{section}.") for setting in known) and name not in known:
                if name.split(".")[1] not in (chart.get(section) or {}) and not name.endswith((".md", ".toml", ".sh", ".yaml", ".crt", ".key")):
                    yield f"{path.relative_to(ROOT)}: there is no setting or value {name}"


def links() -> Iterator[str]:
    for path in [*sorted(PAGES.glob("*.md")), CHART / "README.md"]:
        for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", text_of(path)):
            if not target.startswith("http") and not (path.parent / target).exists():
                yield f"{path.relative_to(ROOT)}: {target} is not there"


def main() -> int:
    found = [finding for check in (metrics, labels, runbooks, settings, links) for finding in check()]
    for finding in found:
        print(finding)
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
