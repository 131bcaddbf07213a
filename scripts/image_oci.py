"""Makes an OCI image of the files of scripts/image-root.sh, without a container engine.

    image_oci.py ROOT IMAGE.tar [VERSION [REVISION]]

The archive is an OCI image layout, as `skopeo copy oci-archive:IMAGE.tar …` and `podman load` take it. The same files
give the same bytes: no times and no owners of this machine are in it.
"""

import gzip
import hashlib
import io
import json
import sys
import tarfile
from pathlib import Path

SOURCE = "application/vnd.oci.image"
# As in the Dockerfile.
DESCRIPTION = "Meters LLM tokens sold by telecom operators and settles them with the model vendors"


def entry(name: str, mode: int, size: int = 0, kind: bytes = tarfile.REGTYPE) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.mode, info.size, info.type = mode, size, kind
    return info


def layer(root: Path) -> bytes:
    """All files of the image as one tar, owned by root."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for path in sorted(root.rglob("*")):
            name, mode = str(path.relative_to(root)), path.stat().st_mode & 0o7777
            if path.is_dir():
                tar.addfile(entry(name, mode, kind=tarfile.DIRTYPE))
            elif path.is_file() and not path.is_symlink():
                content = path.read_bytes()
                tar.addfile(entry(name, mode, len(content)), io.BytesIO(content))
            else:
                raise SystemExit(f"{path} is neither a file nor a folder")
    return out.getvalue()


def digest(content: bytes) -> str:
    return "sha256:" + hashlib.sha256(content).hexdigest()


def main() -> None:
    root, target = Path(sys.argv[1]), Path(sys.argv[2])
    version = sys.argv[3] if len(sys.argv) > 3 else "0.1.0"
    revision = sys.argv[4] if len(sys.argv) > 4 else "unknown"
    files = layer(root)
    packed = gzip.compress(files, compresslevel=6, mtime=0)
    labels = {
        "org.opencontainers.image.title": "Tally",
        "org.opencontainers.image.description": DESCRIPTION,
        "org.opencontainers.image.version": version,
        "org.opencontainers.image.revision": revision,
        "org.opencontainers.image.licenses": "Apache-2.0",
    }
    config = json.dumps({
        "architecture": "amd64",
        "os": "linux",
        "config": {
            "User": "65532:65532",
            "Entrypoint": ["/usr/bin/tally"],
            "Cmd": ["--help"],
            "Env": ["PATH=/usr/bin"],
            "ExposedPorts": {"8080/tcp": {}, "5433/tcp": {}, "8815/tcp": {}},
            "StopSignal": "SIGTERM",
            "Labels": labels,
        },
        "rootfs": {"type": "layers", "diff_ids": [digest(files)]},
        "history": [{"created_by": "scripts/image_oci.py"}],
    }).encode()  # fmt: skip
    blobs = [packed, config]
    manifest = json.dumps({
        "schemaVersion": 2,
        "mediaType": f"{SOURCE}.manifest.v1+json",
        "config": {"mediaType": f"{SOURCE}.config.v1+json", "digest": digest(config), "size": len(config)},
        "layers": [{"mediaType": f"{SOURCE}.layer.v1.tar+gzip", "digest": digest(packed), "size": len(packed)}],
    }).encode()  # fmt: skip
    blobs.append(manifest)
    index = json.dumps({
        "schemaVersion": 2,
        "mediaType": f"{SOURCE}.index.v1+json",
        "manifests": [{
            "mediaType": f"{SOURCE}.manifest.v1+json", "digest": digest(manifest), "size": len(manifest),
            "platform": {"architecture": "amd64", "os": "linux"},
            "annotations": {"org.opencontainers.image.ref.name": version},
        }],
    }).encode()  # fmt: skip
    with tarfile.open(target, mode="w", format=tarfile.PAX_FORMAT) as tar:
        parts = {"oci-layout": b'{"imageLayoutVersion":"1.0.0"}', "index.json": index}
        parts |= {f"blobs/sha256/{digest(blob).removeprefix('sha256:')}": blob for blob in blobs}
        for name, content in parts.items():
            tar.addfile(entry(name, 0o644, len(content)), io.BytesIO(content))
    print(f"{target}: {digest(manifest)}, {target.stat().st_size >> 20} MiB")


if __name__ == "__main__":
    main()
