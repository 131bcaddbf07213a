"""Writes what the program is made of, as CycloneDX 1.5 in JSON: crates, and the Debian packages of the image's files.

    sbom.py [ROOT]      ROOT is a folder of scripts/image-root.sh; without it, crates alone

Crates are those that Cargo.lock names and the program is built from: dependencies of tests and of build scripts are left
out. The same inputs give the same bytes.
"""

import json
import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]


def crates() -> tuple[dict, list[dict]]:
    """The program, and each crate that is linked into it."""
    command = ["cargo", "metadata", "--locked", "--format-version", "1", "--filter-platform", "x86_64-unknown-linux-gnu"]
    metadata = json.loads(subprocess.run(command, cwd=PROJECT, check=True, capture_output=True).stdout)
    packages = {package["id"]: package for package in metadata["packages"]}
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    root = metadata["resolve"]["root"]
    reached, waiting = set(), [root]
    while waiting:
        crate = waiting.pop()
        if crate in reached:
            continue
        reached.add(crate)
        for dependency in nodes[crate]["deps"]:
            if any(kind["kind"] is None for kind in dependency["dep_kinds"]):
                waiting.append(dependency["pkg"])
    found = []
    for crate in reached - {root}:
        package = packages[crate]
        name, version = package["name"], package["version"]
        component = {"type": "library", "name": name, "version": version, "bom-ref": f"{name}@{version}"}
        if package["source"]:
            component["purl"] = f"pkg:cargo/{name}@{version}"
        if package["license"]:
            component["licenses"] = [{"expression": package["license"].replace("/", " OR ")}]
        found.append(component)
    return packages[root], found


# Files that a package makes when it is installed, which dpkg knows nothing of.
MADE_BY = {"/etc/ssl/certs/ca-certificates.crt": "ca-certificates"}


def debian(root: Path) -> list[dict]:
    """Packages that the files of the image are from, as far as dpkg knows."""
    names = set()
    for file in sorted(path for path in root.rglob("*") if path.is_file()):
        place = f"/{file.relative_to(root)}"
        if place in MADE_BY:
            names.add(MADE_BY[place])
            continue
        for candidate in (place, str(Path(place).resolve())):
            asked = subprocess.run(["dpkg-query", "-S", candidate], capture_output=True, text=True, check=False)
            if asked.returncode == 0:
                names.add(asked.stdout.split(":")[0].split(",")[0])
                break
    found = []
    for name in sorted(names):
        shown = subprocess.run(["dpkg-query", "-W", "-f", "${Version}\n", name], capture_output=True, text=True, check=True)
        version = shown.stdout.splitlines()[0]
        purl = f"pkg:deb/debian/{name}@{version}"
        found.append({"type": "library", "name": name, "version": version, "bom-ref": purl, "purl": purl})
    return found


def main() -> None:
    program, components = crates()
    if len(sys.argv) > 1:
        components += debian(Path(sys.argv[1]))
    name, version = program["name"], program["version"]
    bill = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {"component": {"type": "application", "name": name, "version": version, "bom-ref": f"{name}@{version}", "licenses": [{"expression": program["license"]}]}},
        "components": sorted(components, key=lambda component: (component["name"], component["version"])),
    }
    print(json.dumps(bill, indent=1))


if __name__ == "__main__":
    main()
