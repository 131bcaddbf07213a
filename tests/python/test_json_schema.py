"""The published JSON Schemas by a validator of somebody else's: what the documents show is valid, and spoilt it is not."""

import copy
import json
import re
import unittest
from pathlib import Path

import jsonschema
from check_json_schema import judge

ROOT = Path(__file__).parents[2]
SCHEMAS = {path.name.split(".")[0]: json.loads(path.read_text()) for path in (ROOT / "schemas/json").glob("*.schema.json")}
ABSENT = object()


def shown(page: str, pattern: str) -> list[dict]:
    """The JSON objects, one after the other, of the first part of a page that matches."""
    text, objects = re.search(pattern, (ROOT / page).read_text(), re.DOTALL).group(1).strip(), []
    while text:
        found, end = json.JSONDecoder().raw_decode(text)
        objects.append(found)
        text = text[end:].lstrip()
    return objects


def changed(sample: dict, path: str, value: object) -> dict:
    """A copy of it with another value at a place, or none."""
    sample = copy.deepcopy(sample)
    *way, last = path.split(".")
    place = sample
    for step in way:
        place = place[step]
    if value is ABSENT:
        del place[last]
    else:
        place[last] = value
    return sample


class JsonSchema(unittest.TestCase):
    def expect(self, name: str, sample: dict, spoilt: list[tuple[str, object]], fine: list[tuple[str, object]] = ()) -> None:
        samples = [sample, *(changed(sample, *change) for change in [*fine, *spoilt])]
        verdicts = [True] * (1 + len(fine)) + [False] * len(spoilt)
        for text, judged, verdict in zip(["as shown", *fine, *spoilt], judge(SCHEMAS[name], samples), verdicts, strict=True):
            self.assertEqual(judged, verdict, text)

    def test_there_are_three(self) -> None:
        self.assertEqual(sorted(SCHEMAS), ["alert", "quota-status", "usage-event"])

    def test_what_is_no_schema_is_refused(self) -> None:
        for schema in SCHEMAS.values():
            with self.assertRaises(jsonschema.SchemaError):
                judge({**schema, "required": "id"}, [])
            with self.assertRaises(ValueError):
                judge({**schema, "$schema": "https://json-schema.org/draft/3030-12/schema"}, [])

    def test_the_event_of_the_readme(self) -> None:
        (event,) = shown("README.md", r"/v1/events -H 'content-type: application/json' -d '(\{.*?\})'\n```")
        self.expect("usage-event", event, [
            ("id", ABSENT), ("id", ""), ("id", 7), ("source", None), ("account", ABSENT), ("account", "13800138000"),
            ("model", ABSENT), ("completed_at", ABSENT), ("completed_at", 1.5), ("completed_at", "2026-11-22T14:22:37"),
            ("usage", ABSENT), ("usage", {}), ("usage", []), ("usage.input", -1), ("usage.input", 0.5), ("usage.input", "434"),
            ("usage.input", 2**53 + 1), ("usage.unheard_of", 1), ("usage_source", "guess"), ("labels", {"a": 1}),
            ("labels", {str(n): "" for n in range(65)}), ("gateway_seq", -1), ("corrects", {"source": "gw"}),
        ], [
            ("usage.input", 2**53), ("completed_at", 1795328557827), ("subscriber", None), ("unheard_of", {"a": 1}),
            ("labels", {str(n): "" for n in range(64)}), ("usage_source", "vendor_bill"),
        ])  # fmt: skip

    def test_corrections(self) -> None:
        voids, replaces = shown("docs/corrections.md", r"```json\n(.*?)```")
        self.expect("usage-event", voids, [("corrects.id", ABSENT), ("corrects.kind", "undo"), ("corrects", None)])
        self.expect("usage-event", replaces, [("corrects.source", 1), ("usage", {})], [("corrects.kind", "replace")])

    def test_the_alert_that_is_signed(self) -> None:
        (alert,) = shown("docs/alerts.md", r"\nbody: (\{.*?\})\n")
        self.expect("alert", alert, [
            ("id", ""), ("kind", "birthday"), ("used", "12 points"), ("threshold", 1.5), ("event", {"source": "gw"}),
            ("position.partition", -1), *((name, ABSENT) for name in alert),
        ], [("used", str(2**70)), ("subscriber", None)])  # fmt: skip

    def test_the_status_of_an_account(self) -> None:
        (status,) = shown("docs/quota-feed.md", r"```json\n(.*?)```")
        self.expect("quota-status", status, [
            ("status", "fine"), ("account", 5), *((name, ABSENT) for name in SCHEMAS["quota-status"]["required"]),
        ], [("overflow", None)])  # fmt: skip


if __name__ == "__main__":
    unittest.main()
