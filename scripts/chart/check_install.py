"""Installs, upgrades, rolls back and uninstalls the chart on a real API server with controllers and without nodes.

    check_install.py HELM KUBECONFIG

Each example of values in a namespace of its own, under PodSecurity admission "restricted". Then the chart is broken, one
way at a time, and the same steps must find it. Exit code 1 where something was found in the chart, or not in a broken
one.
"""

import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml
from kubernetes_api import Kubernetes

CHART = Path(__file__).resolve().parents[2] / "helm"
CRDS = Path(__file__).resolve().parent / "apiserver" / "crds.yaml"
PATIENCE_S = 60
RELEASE = "tally"
LEVELS = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn", "audit")}

# A change of settings in place: pods and a ConfigMap change, no object goes or comes.
CHANGED = {
    "logLevel": "debug",
    "config": {"aggregate": {"freshness_ms": 1500}},
    "ingest": {"preStopSeconds": 9, "service": {"type": "NodePort"}},
    "query": {"replicas": 3},
}

# What breaks the chart: when, in which file, what becomes what, and parts of the findings that must come.
BROKEN = [
    ("install", "templates/_pod.tpl", "allowPrivilegeEscalation: false", "allowPrivilegeEscalation: true", ["would violate PodSecurity", "a pod is refused"]),
    ("install", "templates/_pod.tpl", "runAsUser: 65532", "runAsUser: 0", ["would violate PodSecurity", "a pod is refused"]),
    ("install", "templates/_pod.tpl", "capabilities: { drop: [ALL] }", "capabilities: { add: [NET_ADMIN] }", ["would violate PodSecurity", "a pod is refused"]),
    ("install", "templates/_pod.tpl", "enableServiceLinks: false", "enableServiceLink: false", ["unknown field"]),
    ("install", "templates/_pod.tpl", "automountServiceAccountToken: false", "automountServiceAccountToken: true", ["has a service account's token"]),
    ("install", "templates/monitoring.yaml", "- port: https", "- ports: https", ["unknown field"]),
    ("install", "templates/ingest.yaml", "maxUnavailable: 0, maxSurge: 1", "maxUnavailable: 0, maxSurge: 0", ["install is refused"]),
    ("install", "templates/query.yaml", "replicas:", "paused: true\n  replicas:", ["0 pods of"]),
    ("install", "templates/serviceaccount.yaml", "metadata:", "metadata:\n  annotations: { helm.sh/resource-policy: keep }", ["is left behind"]),
    ("upgrade", "templates/_names.tpl", "app.kubernetes.io/name: tally", "app.kubernetes.io/name: other", ["upgrade is refused", "immutable"]),
]


class Installation:
    """One release in a namespace of its own; `findings` are what is wrong with it."""

    def __init__(self, kubernetes: Kubernetes, helm: str, folder: Path, name: str):
        self.kubernetes, self.program, self.folder, self.namespace = kubernetes, helm, folder, name
        self.findings: list[str] = []
        kubernetes.call("POST", "/api/v1/namespaces", {"metadata": {"name": name, "labels": LEVELS}})
        # Controllers put these two into every namespace.
        made = {("ServiceAccount", "default"), ("ConfigMap", "kube-root-ca.crt")}
        if not self.await_that(lambda: made <= set(kubernetes.objects(name))):
            raise RuntimeError(f"the controllers do not see the namespace {name}")
        self.before = set(kubernetes.objects(name))

    @staticmethod
    def await_that(condition) -> bool:
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.5)
        return True

    def helm(self, verb: str, *arguments: str) -> bool:
        """Whether Helm does it; what it warns of is a finding even then."""
        command = [self.program, verb, RELEASE, *arguments, "--namespace", self.namespace]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            self.findings.append(f"{verb} is refused: {done.stderr.strip()}")
        else:
            self.findings += [f"{verb} warns: {line}" for line in done.stderr.splitlines()]
        return done.returncode == 0

    def put(self, verb: str, chart: Path, variant: str, changes: dict) -> bool:
        """Installs or upgrades, with an example of values and changes to it, and looks at what the cluster makes of it."""
        file = self.folder / f"{self.namespace}.yaml"
        file.write_text(yaml.safe_dump(changes), encoding="utf-8")
        values = ["--values", str(chart / "variants" / f"{variant}.yaml"), "--values", str(file)]
        if not self.helm(verb, str(chart), *values):
            return False
        self.look(verb == "install")
        return True

    def look(self, fresh: bool) -> None:
        """That every object is there, and that each workload gets its pods: all of a fresh one; else one, as the others
        wait for it to be ready."""
        command = [self.program, "get", "manifest", RELEASE, "--namespace", self.namespace]
        manifest = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        wanted = [found for found in yaml.safe_load_all(manifest) if found]
        self.objects = {(found["kind"], found["metadata"]["name"]) for found in wanted}
        for kind, name in sorted(self.objects - set(self.kubernetes.objects(self.namespace))):
            self.findings.append(f"{kind}/{name} is not there")
        least = {
            (found["spec"]["scaleTargetRef"]["kind"], found["spec"]["scaleTargetRef"]["name"]): found["spec"]["minReplicas"]
            for found in wanted
            if found["kind"] == "HorizontalPodAutoscaler"
        }
        waits: dict[tuple[str, str], str] = {}

        def admitted() -> bool:
            there = self.kubernetes.objects(self.namespace)
            waits.clear()
            for found in wanted:
                key = (found["kind"], found["metadata"]["name"])
                if key[0] in ("Deployment", "StatefulSet") and key in there:
                    number = max(there[key]["spec"]["replicas"], least.get(key, 0)) if fresh else 1
                    pods = sum(self.is_pod_of(found, pod) for pod in there.values())
                    if pods < number:
                        waits[key] = f"{pods} pods of {number}"
            self.pods = [found for (kind, _), found in there.items() if kind == "Pod"]
            return not waits or bool(self.kubernetes.events(self.namespace, "FailedCreate"))

        self.await_that(admitted)
        self.findings += [f"{kind}/{name} has {said}" for (kind, name), said in waits.items()]
        refused = sorted(set(self.kubernetes.events(self.namespace, "FailedCreate")))
        self.findings += [f"a pod is refused: {message}" for message in refused]
        for pod in self.pods:
            for volume in pod["spec"].get("volumes", []):
                if any("serviceAccountToken" in source for source in volume.get("projected", {}).get("sources", [])):
                    self.findings.append(f"Pod/{pod['metadata']['name']} has a service account's token")

    @staticmethod
    def is_pod_of(workload: dict, found: dict) -> bool:
        """Whether an object is a pod of a workload as it is now: the checksum of the settings tells from older ones."""
        owner = "ReplicaSet" if workload["kind"] == "Deployment" else workload["kind"]
        metadata, wanted = found["metadata"], workload["spec"]["template"]["metadata"]
        return (
            "containers" in found.get("spec", {})
            and any(reference["kind"] == owner for reference in metadata.get("ownerReferences", []))
            and wanted["labels"].items() <= metadata.get("labels", {}).items()
            and wanted["annotations"].items() <= metadata.get("annotations", {}).items()
        )

    def chart_test(self) -> None:
        """`helm test`: its pod must be admitted, and is then said to have succeeded, as there is no node to run it."""
        key = ("Pod", f"{RELEASE}-test")
        command = [self.program, "test", RELEASE, "--namespace", self.namespace, "--timeout", f"{PATIENCE_S}s"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as test:
            if self.await_that(lambda: key in self.kubernetes.objects(self.namespace) or test.poll() is not None) and test.poll() is None:
                path = f"/api/v1/namespaces/{self.namespace}/pods/{key[1]}"
                self.kubernetes.call("PATCH", f"{path}/status", {"status": {"phase": "Succeeded"}}, "application/merge-patch+json")
            said = test.communicate()[0]
        if test.returncode != 0 or "violate" in said:
            self.findings.append(f"test fails: {said.strip()}")
        # They stay until the next test, as helm/README.md says.
        for kind, plural in (("Pod", "pods"), ("ConfigMap", "configmaps")):
            if (kind, key[1]) in self.kubernetes.objects(self.namespace):
                self.kubernetes.call("DELETE", f"/api/v1/namespaces/{self.namespace}/{plural}/{key[1]}")

    def uninstall(self) -> None:
        """Nothing may be left of what the chart and the controllers made."""
        if not self.helm("uninstall"):
            return
        left = lambda: set(self.kubernetes.objects(self.namespace)) - self.before
        if not self.await_that(lambda: not left()):
            self.findings += [f"{kind}/{name} is left behind" for kind, name in sorted(left())]


def try_variant(installation: Installation, variant: str) -> None:
    values = yaml.safe_load((CHART / "variants" / f"{variant}.yaml").read_text(encoding="utf-8"))
    if not installation.put("install", CHART, variant, {}):
        return
    print(f"  installed: {len(installation.objects)} objects, {len(installation.pods)} pods admitted", flush=True)
    if "chartTest" in values:
        installation.chart_test()
        print("  helm test: its pod is admitted", flush=True)
    installation.put("upgrade", CHART, variant, CHANGED)
    print("  upgraded in place", flush=True)
    # The other kind of aggregators, the janitor the other way: objects go and come.
    named = values.get("aggregate", {}).get("kind") == "StatefulSet"
    janitor = values.get("janitor", {}).get("enabled", True)
    other = {"aggregate": {"kind": "Deployment" if named else "StatefulSet"}, "janitor": {"enabled": not janitor}}
    installation.put("upgrade", CHART, variant, CHANGED | other)
    print(f"  upgraded to a {other['aggregate']['kind']}, janitor {'off' if janitor else 'on'}", flush=True)
    if installation.helm("rollback", "1"):
        installation.look(False)
        print("  rolled back", flush=True)
    installation.uninstall()
    print("  uninstalled", flush=True)


def try_broken(installation: Installation, when: str, broken: Path) -> None:
    if installation.put("install", CHART if when == "upgrade" else broken, "production", {}):
        if when == "upgrade":
            installation.put("upgrade", broken, "production", CHANGED)
        installation.uninstall()


def main() -> int:
    helm, kubernetes = sys.argv[1], Kubernetes(sys.argv[2])
    failed = []
    for crd in yaml.safe_load_all(CRDS.read_text(encoding="utf-8")):
        kubernetes.call("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", crd)
    if not Installation.await_that(lambda: {"ServiceMonitor", "PrometheusRule"} <= set(kubernetes.namespaced())):
        raise RuntimeError("the custom resources are not served")
    # The example for production names it: it is the cluster's, not the chart's.
    kubernetes.call("POST", "/apis/scheduling.k8s.io/v1/priorityclasses", {"metadata": {"name": "billing"}, "value": 1000})
    print(f"Kubernetes {kubernetes.call('GET', '/version')['gitVersion']}, PodSecurity restricted", flush=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for variant in sorted(path.stem for path in (CHART / "variants").glob("*.yaml")):
            print(f"\n== {variant}", flush=True)
            installation = Installation(kubernetes, helm, folder, variant)
            try_variant(installation, variant)
            failed += [f"{variant}: {finding}" for finding in installation.findings]
        print("\n== the chart broken on purpose", flush=True)
        for number, (when, file, old, new, wanted) in enumerate(BROKEN):
            broken = folder / f"chart-{number}"
            shutil.copytree(CHART, broken)
            text = (broken / file).read_text(encoding="utf-8")
            (broken / file).write_text(text.replace(old, new), encoding="utf-8")
            installation = Installation(kubernetes, helm, folder, f"broken-{number}")
            try_broken(installation, when, broken)
            missed = [part for part in wanted if old not in text or not any(part in finding for finding in installation.findings)]
            failed += [f"broken on purpose ({new.splitlines()[-1].strip()}) and not found: {part}" for part in missed]
            print(f"  {'NOT FOUND' if missed else 'found'}: {new.splitlines()[-1].strip()}", flush=True)
    for line in failed:
        print(f"FAILED   {line}")
    print("\nthe chart on an API server: " + (f"{len(failed)} findings" if failed else "passed"))
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
