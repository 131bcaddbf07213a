"""Holds dashboards to Grafana's own models (grafana-foundation-sdk): what is read and written again must be the same.

    check_dashboards.py FILE…       a member that Grafana does not know, or of another type, is a finding
    check_dashboards.py --self-test FILE…
                                    breaks each rule once, in the first of the files that has what it is about, and wants
                                    it to be found

The models are generated from Grafana's schemas. They know the frame of a dashboard, the options of its panels, and
Prometheus' queries; of SQL queries the schema says nothing, so their members are listed here.
"""

import copy
import enum
import json
import sys
import typing
from collections.abc import Callable, Iterator

from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import dashboard, prometheus, stat, table, timeseries

OPTIONS = {"timeseries": timeseries.Options, "stat": stat.Options, "table": table.Options}
CUSTOM = {"timeseries": timeseries.FieldConfig}
SQL_MEMBERS = {"refId", "datasource", "rawQuery", "editorMode", "format", "rawSql"}


def differences(given: object, known: object, where: str) -> Iterator[str]:
    """What of `given` is not in `known`; what `known` has beyond it are defaults."""
    if isinstance(given, dict) and isinstance(known, dict):
        for member, value in given.items():
            if member not in known:
                yield f"{where}.{member} is unknown"
            else:
                yield from differences(value, known[member], f"{where}.{member}")
    elif isinstance(given, list) and isinstance(known, list) and len(given) == len(known):
        for index, value in enumerate(given):
            yield from differences(value, known[index], f"{where}[{index}]")
    elif given != known:
        yield f"{where} is {given!r}, and read as {known!r}"


def fits(value: object, hint: object) -> bool:
    """Whether a value is of the type that a model's member has."""
    if hint is typing.Any or isinstance(hint, typing.TypeVar):
        return True
    if typing.get_origin(hint) is typing.Union:
        return any(fits(value, part) for part in typing.get_args(hint))
    if typing.get_origin(hint) is typing.Literal:
        return value in typing.get_args(hint)
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return value in [member.value for member in hint]
    if typing.get_origin(hint) is list:
        return isinstance(value, list) and all(fits(part, typing.get_args(hint)[0]) for part in value)
    if hint in (str, bool, int, float):
        kinds = (int, float) if hint is float else hint
        return isinstance(value, kinds) and (hint is bool or not isinstance(value, bool))
    return not isinstance(value, (str, bool, int, float, list)) or not isinstance(hint, type)


def wrong_types(model: object, where: str) -> Iterator[str]:
    """Members of a model, and of those within, whose values are of another type."""
    if isinstance(model, list):
        for index, part in enumerate(model):
            yield from wrong_types(part, f"{where}[{index}]")
    if not hasattr(type(model), "from_json"):
        return
    for member, hint in typing.get_type_hints(type(model)).items():
        value = getattr(model, member, None)
        if value is not None and not fits(value, hint):
            yield f"{where}.{member} is {value!r}"
        yield from wrong_types(value, f"{where}.{member}")


def same(given: dict, kind: type, where: str) -> Iterator[str]:
    try:
        model = kind.from_json(given)
        yield from wrong_types(model, where)
        known = json.loads(json.dumps(model, cls=JSONEncoder))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        yield f"{where}: {error!r}"
        return
    yield from differences(given, known, where)


def findings(text: dict) -> Iterator[str]:
    yield from same(text, dashboard.Dashboard, "dashboard")
    seen: set[int] = set()
    places: set[tuple[int, int]] = set()
    for panel in text["panels"]:
        where = f"panel {panel['title']!r}"
        if panel["id"] in seen:
            yield f"{where}: its id is taken"
        seen.add(panel["id"])
        place = panel["gridPos"]
        cells = {(x, place["y"]) for x in range(place["x"], place["x"] + place["w"])}
        if places & cells or place["x"] + place["w"] > 24:
            yield f"{where}: lies over another one"
        places |= cells
        if panel["type"] not in OPTIONS:
            yield f"{where}: kind {panel['type']}"
            continue
        yield from same(panel["options"], OPTIONS[panel["type"]], where)
        custom = panel["fieldConfig"]["defaults"].get("custom")
        if custom is not None:
            yield from same(custom, CUSTOM[panel["type"]], where)
        for target in panel["targets"]:
            if "rawSql" in target:
                unknown = set(target) ^ SQL_MEMBERS
                if unknown:
                    yield f"{where}: {unknown}"
            else:
                yield from same(target, prometheus.Dataquery, where)


def first(text: dict, kind: str) -> dict:
    """The first panel of a kind."""
    for panel in text["panels"]:
        if panel["type"] == kind:
            return panel
    raise KeyError(kind)


def target(text: dict, member: str) -> dict:
    """The first question that has a member: `expr` where Prometheus is asked, `rawSql` where Tally is."""
    for panel in text["panels"]:
        for asked in panel["targets"]:
            if member in asked:
                return asked
    raise KeyError(member)


def broken() -> list[tuple[str, Callable[[dict], object]]]:
    """Each: part of the finding that must come, and what breaks the dashboard."""
    panels = lambda text: text["panels"]
    custom = lambda text: first(text, "timeseries")["fieldConfig"]["defaults"]["custom"]
    return [
        ("dashboard.refreshs is unknown", lambda d: d.update(refreshs="30s")),
        ("dashboard.title is 7", lambda d: d.update(title=7)),
        ("dashboard.editable is 'yes'", lambda d: d.update(editable="yes")),
        ("dashboard.schema_version is '41'", lambda d: d.update(schemaVersion="41")),
        ("dashboard.graph_tooltip is 9", lambda d: d.update(graphTooltip=9)),
        ("dashboard.tags is [1]", lambda d: d.update(tags=[1])),
        ("dashboard.templating is [], and read as", lambda d: d.update(templating=[])),
        ("dashboard: TypeError", lambda d: d.update(time=3)),
        ("its id is taken", lambda d: panels(d)[1].update(id=panels(d)[0]["id"])),
        ("lies over another", lambda d: panels(d)[1].update(gridPos=panels(d)[0]["gridPos"])),
        ("lies over another", lambda d: panels(d)[0]["gridPos"].update(x=20)),
        ("kind piechart", lambda d: panels(d)[0].update(type="piechart")),
        (".tooltips is unknown", lambda d: first(d, "timeseries")["options"].update(tooltips={})),
        (".colorModes is unknown", lambda d: first(d, "stat")["options"].update(colorModes="value")),
        (".showHeaders is unknown", lambda d: first(d, "table")["options"].update(showHeaders=True)),
        (".lineWidths is unknown", lambda d: custom(d).update(lineWidths=1)),
        (".line_width is '1'", lambda d: custom(d).update(lineWidth="1")),
        (".legend is unknown", lambda d: target(d, "expr").update(legend="x")),
        (".range_val is 'yes'", lambda d: target(d, "expr").update(range="yes")),
        ("'sql'", lambda d: target(d, "rawSql").update(sql="SELECT 1")),
        ("'format'", lambda d: target(d, "rawSql").pop("format")),
    ]


def self_test(paths: list[str]) -> int:
    files, status = [read(path) for path in paths], 0
    for wanted, spoil in broken():
        for text in files:
            spoiled = copy.deepcopy(text)
            try:
                spoil(spoiled)
            except KeyError:
                continue
            if not any(wanted in finding for finding in findings(spoiled)):
                print(f"broken on purpose and not found: {wanted}")
                status = 1
            break
        else:
            print(f"no file has what would be broken: {wanted}")
            status = 1
    print(f"broken on purpose: {len(broken())} times")
    return status


def read(path: str) -> dict:
    with open(path, encoding="utf-8") as file:
        return json.load(file)


def main(arguments: list[str]) -> int:
    if arguments[:1] == ["--self-test"]:
        return self_test(arguments[1:])
    status = 0
    for path in arguments:
        for finding in findings(read(path)):
            print(f"{path}: {finding}")
            status = 1
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
