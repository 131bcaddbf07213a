"""Judges samples by a JSON Schema with the package `jsonschema`, which knows nothing of ours.

check_json_schema.py < {"schema": {...}, "samples": [...]}     prints one true or false a sample; a schema that is none is an error
"""

import json
import sys

from jsonschema.validators import validator_for


def judge(schema: dict, samples: list) -> list[bool]:
    validator = validator_for(schema, default=None)
    if validator is None:
        raise ValueError(f"no validator of {schema['$schema']}")
    validator.check_schema(schema)
    return [validator(schema).is_valid(sample) for sample in samples]


if __name__ == "__main__":
    asked = json.load(sys.stdin)
    print(json.dumps(judge(asked["schema"], asked["samples"])))
