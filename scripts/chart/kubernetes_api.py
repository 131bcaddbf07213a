"""What the check of an installation asks an API server: what there is in a namespace, and a change of one object."""

import json
import ssl
import time
import urllib.error
import urllib.request
from pathlib import Path

import yaml

TRIES = 30


class Kubernetes:
    """An API server, as a kubeconfig with the paths of certificates names it."""

    def __init__(self, kubeconfig: str):
        config = yaml.safe_load(Path(kubeconfig).read_text(encoding="utf-8"))
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        self.server = cluster["server"]
        self.known: dict[str, str] = {}
        self.trusted = ssl.create_default_context(cafile=cluster["certificate-authority"])
        self.trusted.load_cert_chain(user["client-certificate"], user["client-key"])

    def call(self, method: str, path: str, body: dict | None = None, content_type: str = "application/json") -> dict:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.server + path, data, {"Content-Type": content_type}, method=method)
        for attempt in range(TRIES):
            try:
                with urllib.request.urlopen(request, context=self.trusted, timeout=30) as answer:
                    return json.load(answer)
            except urllib.error.HTTPError as error:
                # So says a server whose storage of a resource is just made: a second later it is there.
                if error.code != 429 or attempt + 1 == TRIES:
                    raise RuntimeError(f"{method} {path}: {error.code} {error.read().decode()}") from error
                time.sleep(1)
        raise AssertionError("the last try answers or raises")

    def namespaced(self) -> dict[str, str]:
        """Kind and path of every resource that a namespace can have and that can be listed."""
        groups = self.call("GET", "/apis")["groups"]
        paths = ["/api/v1", *(f"/apis/{group['preferredVersion']['groupVersion']}" for group in groups)]
        return {
            found["kind"]: f"{path}/namespaces/%s/{found['name']}"
            for path in paths
            for found in self.call("GET", path)["resources"]
            if found["namespaced"] and "list" in found["verbs"] and "/" not in found["name"]
        }

    def objects(self, namespace: str) -> dict[tuple[str, str], dict]:
        """Everything there is in a namespace, by kind and name, but the events, which end by themselves."""
        self.known = self.known or self.namespaced()
        return {
            (kind, found["metadata"]["name"]): found
            for kind, path in self.known.items()
            if kind != "Event"
            for found in self.call("GET", path % namespace)["items"]
        }

    def events(self, namespace: str, reason: str) -> list[str]:
        path = f"/api/v1/namespaces/{namespace}/events?fieldSelector=reason={reason}"
        return [found["message"] for found in self.call("GET", path)["items"]]
