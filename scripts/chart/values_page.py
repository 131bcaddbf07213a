"""Writes helm/README.md: its head, and a table of all values with their comments in helm/values.yaml.

    values_page.py             writes it
    values_page.py --check     exit code 1 where it is not what it would be
"""

import difflib
import json
import re
import sys
from pathlib import Path

import yaml

CHART = Path(__file__).resolve().parents[2] / "helm"
LINE = re.compile(r"^( *)([A-Za-z][\w-]*):(.*)$")


def rows(text: str) -> list[tuple[str, str, str]]:
    """Path, default and comment of each value that has a comment or is a scalar."""
    values = yaml.safe_load(text)
    found: list[tuple[str, str, str]] = []
    path: list[str] = []
    comment: list[str] = []
    inside: int | None = None  # indentation of a value that is shown whole
    for line in text.split("\n\n", 1)[1].splitlines():
        stripped = line.strip()
        depth = (len(line) - len(line.lstrip())) // 2
        if inside is not None and stripped and depth > inside:
            continue
        inside = None
        if stripped.startswith("#"):
            comment.append(stripped.removeprefix("#").strip())
            continue
        match = LINE.match(line)
        if not match:
            comment = []
            continue
        path = [*path[:depth], match.group(2)]
        value = values
        for part in path:
            value = value[part]
        name = ".".join(path)
        whole = isinstance(value, list) or name.endswith(("resources", ".to")) or (isinstance(value, dict) and match.group(3).strip())
        if whole or not isinstance(value, dict):
            found.append((name, json.dumps(value, ensure_ascii=False), " ".join(comment)))
            inside = depth
        elif comment:
            found.append((f"{name}", "", " ".join(comment)))
        comment = []
    return found


def page() -> str:
    lines = ["| value | default | |", "| --- | --- | --- |"]
    for name, default, comment in rows((CHART / "values.yaml").read_text(encoding="utf-8")):
        shown = f"`{default}`" if default else ""
        lines.append(f"| `{name}` | {shown} | {comment} |")
    head = (CHART / "readme-head.md").read_text(encoding="utf-8")
    return head + "\n".join(lines) + "\n\nThis page is generated: `scripts/lint-chart.sh --update`.\n"


def main() -> int:
    target = CHART / "README.md"
    wanted = page()
    if "--check" not in sys.argv:
        target.write_text(wanted, encoding="utf-8")
        return 0
    found = target.read_text(encoding="utf-8")
    sys.stdout.writelines(difflib.unified_diff(found.splitlines(True), wanted.splitlines(True), "helm/README.md", "as it would be"))
    return int(found != wanted)


if __name__ == "__main__":
    sys.exit(main())
