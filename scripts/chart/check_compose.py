"""Reads compose.yaml by the Compose specification, and holds it to what this project wants of it.

    check_compose.py FILE       every finding is a line; exit code 1 where there is one
"""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import yaml
from compose_spec import PyOptions

# Made by scripts/compose-secrets.sh.
MADE_LATER = {"operations/secrets"}


def findings(path: Path) -> Iterator[str]:
    # As if no variable were set.
    text = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", path.read_text(encoding="utf-8"))
    options = PyOptions(apply_merge=True)
    try:
        options.from_yaml(text).validate()
    except ValueError as error:
        yield str(error)
        return
    found = yaml.safe_load(text)
    volumes = set(found.get("volumes", {}))
    for name, service in found["services"].items():
        image = service.get("image", "")
        if ":" not in image or image.endswith(":latest"):
            yield f"{name}: image {image} has no version"
        if service.get("privileged") or service.get("network_mode") == "host":
            yield f"{name}: is not kept apart from the machine"
        for port in service.get("ports", []):
            if not str(port).startswith("127.0.0.1:"):
                yield f"{name}: port {port} is open to the network"
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            local = source.removeprefix("./")
            if not source.startswith("."):
                if source not in volumes:
                    yield f"{name}: there is no volume {source}"
            elif local not in MADE_LATER and not (path.parent / local).exists():
                yield f"{name}: {source} is not there"
        for other in service.get("depends_on", {}):
            if other not in found["services"]:
                yield f"{name}: there is no service {other}"
        if "tally:" in image and not (service.get("read_only") and service.get("cap_drop") == ["ALL"]):
            yield f"{name}: can write to its root, or has capabilities"


def main(arguments: list[str]) -> int:
    status = 0
    for finding in findings(Path(arguments[0])):
        print(f"{arguments[0]}: {finding}")
        status = 1
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
