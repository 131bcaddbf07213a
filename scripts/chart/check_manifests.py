"""Holds rendered manifests to the schemas of Kubernetes, to Pod Security "restricted", and to the rules of this chart.

    check_manifests.py FILE…       every finding is a line; exit code 1 where there is one
    check_manifests.py --self-test FILE…
                                   breaks each rule once, in the first of the files that has what it is about, and wants
                                   it to be found

Objects of the Prometheus operator have no schema here: of them, what this chart uses is checked by hand.
"""

import copy
import sys
from collections.abc import Callable, Iterator

import kubernetes_validate
import yaml

VERSIONS = ["1.30", kubernetes_validate.latest_version()]
VOLUMES = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}
CUSTOM = {"ServiceMonitor", "PrometheusRule"}
SECRET_NAMES = ("PASSWORD", "SECRET", "TOKEN", "WEBHOOKS", "ACCESS_KEY")
# Stop of each role, seconds, as docs/configuration.md has it: what must fit into the grace period beside preStop.
DRAIN = {"ingest": 20, "aggregate": 4, "query": 60, "janitor": 0}


def pods(objects: list[dict]) -> Iterator[tuple[str, dict, dict]]:
    """Name, metadata and spec of each pod or pod template."""
    for found in objects:
        name = f"{found['kind']}/{found['metadata']['name']}"
        if found["kind"] == "Pod":
            yield name, found["metadata"], found["spec"]
        elif "template" in found.get("spec", {}):
            yield name, found["spec"]["template"]["metadata"], found["spec"]["template"]["spec"]


def containers(spec: dict) -> list[dict]:
    return spec.get("initContainers", []) + spec["containers"] + spec.get("ephemeralContainers", [])


def schemas(objects: list[dict]) -> Iterator[str]:
    for found in objects:
        name = f"{found['kind']}/{found['metadata']['name']}"
        if found["kind"] in CUSTOM:
            if found["apiVersion"] != "monitoring.coreos.com/v1":
                yield f"{name}: {found['apiVersion']} is not the operator's version"
            continue
        for version in VERSIONS:
            try:
                kubernetes_validate.validate(found, version, strict=True)
            except (kubernetes_validate.ValidationError, kubernetes_validate.SchemaNotFoundError) as error:
                yield f"{name}: Kubernetes {version}: {error.message}"


def restricted(objects: list[dict]) -> Iterator[str]:
    """Pod Security Standards, level "restricted"."""
    for name, _, spec in pods(objects):
        for field in ("hostNetwork", "hostPID", "hostIPC"):
            if spec.get(field):
                yield f"{name}: {field}"
        of_pod = spec.get("securityContext", {})
        for volume in spec.get("volumes", []):
            kinds = set(volume) - {"name"}
            if not kinds <= VOLUMES:
                yield f"{name}: volume {volume['name']} is a {kinds.pop()}"
        if of_pod.get("sysctls"):
            yield f"{name}: sysctls"
        for container in containers(spec):
            where = f"{name}: {container['name']}"
            own = container.get("securityContext", {})
            if own.get("privileged") or own.get("procMount", "Default") != "Default":
                yield f"{where}: privileged"
            if own.get("allowPrivilegeEscalation") is not False:
                yield f"{where}: allowPrivilegeEscalation"
            if own.get("capabilities", {}).get("drop") != ["ALL"]:
                yield f"{where}: capabilities are not all dropped"
            if set(own.get("capabilities", {}).get("add", [])) - {"NET_BIND_SERVICE"}:
                yield f"{where}: capabilities are added"
            if own.get("runAsNonRoot", of_pod.get("runAsNonRoot")) is not True:
                yield f"{where}: runAsNonRoot"
            if own.get("runAsUser", of_pod.get("runAsUser")) == 0:
                yield f"{where}: runs as user 0"
            profile = own.get("seccompProfile", of_pod.get("seccompProfile", {})).get("type")
            if profile not in ("RuntimeDefault", "Localhost"):
                yield f"{where}: seccompProfile"
            if any("hostPort" in port for port in container.get("ports", [])):
                yield f"{where}: hostPort"


def house_rules(objects: list[dict]) -> Iterator[str]:
    """What this chart promises beyond that."""
    names = {(found["kind"], found["metadata"]["name"]) for found in objects}
    for kind, name in sorted(names):
        if kind == "Secret":
            yield f"Secret/{name}: secrets are by reference"
    for name, _, spec in pods(objects):
        if spec.get("automountServiceAccountToken") is not False:
            yield f"{name}: a service account's token is mounted"
        if spec.get("enableServiceLinks") is not False:
            yield f"{name}: variables of all services are set"
        for container in containers(spec):
            where = f"{name}: {container['name']}"
            if container.get("securityContext", {}).get("readOnlyRootFilesystem") is not True:
                yield f"{where}: the root file system can be written"
            image = container["image"]
            if image.endswith(":latest") or (":" not in image.rsplit("/", 1)[-1] and "@" not in image):
                yield f"{where}: image {image} has no version"
            resources = container.get("resources", {})
            if not {"cpu", "memory"} <= set(resources.get("requests", {})) or "memory" not in resources.get("limits", {}):
                yield f"{where}: resources"
            for variable in container.get("env", []):
                if "value" in variable and any(part in variable["name"] for part in SECRET_NAMES):
                    yield f"{where}: {variable['name']} has its value in the manifest"
        for volume in spec.get("volumes", []):
            wanted = volume.get("configMap", {}).get("name")
            if wanted and ("ConfigMap", wanted) not in names:
                yield f"{name}: there is no ConfigMap {wanted}"


def lives(objects: list[dict]) -> Iterator[str]:
    """Probes, stops, budgets, spread: of every workload."""
    budgets = [found["spec"]["selector"]["matchLabels"] for found in objects if found["kind"] == "PodDisruptionBudget"]
    for found in objects:
        if found["kind"] not in ("Deployment", "StatefulSet"):
            continue
        name = f"{found['kind']}/{found['metadata']['name']}"
        template = found["spec"]["template"]
        labels, spec = template["metadata"]["labels"], template["spec"]
        role = labels["app.kubernetes.io/component"]
        if not found["spec"]["selector"]["matchLabels"].items() <= labels.items():
            yield f"{name}: the selector does not select its own pods"
        if role == "aggregate" and not found["spec"].get("minReadySeconds"):
            yield f"{name}: no minReadySeconds: pods that move partitions would follow one another at once"
        if role != "janitor" and not any(budget.items() <= labels.items() for budget in budgets):
            yield f"{name}: no PodDisruptionBudget"
        keys = {spread["topologyKey"] for spread in spec.get("topologySpreadConstraints", [])}
        if keys != {"topology.kubernetes.io/zone", "kubernetes.io/hostname"}:
            yield f"{name}: is not spread over zones and nodes"
        for container in spec["containers"]:
            for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
                path = container.get(probe, {}).get("httpGet", {}).get("path")
                if path != ("/readyz" if probe == "readinessProbe" else "/healthz"):
                    yield f"{name}: {probe}"
            pause = container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds")
            if pause is None:
                yield f"{name}: no preStop"
            elif pause + DRAIN[role] >= spec.get("terminationGracePeriodSeconds", 30):
                yield f"{name}: a stop takes longer than the grace period"
        for volume in spec.get("volumes", []):
            if role == "aggregate" and set(volume) & {"emptyDir", "persistentVolumeClaim", "ephemeral"}:
                yield f"{name}: the state of an aggregator is in object storage"


def network(objects: list[dict]) -> Iterator[str]:
    """Everything is denied first, and every pod has its own ways out."""
    policies = [found for found in objects if found["kind"] == "NetworkPolicy"]
    denies = [
        policy["spec"]["podSelector"]["matchLabels"]
        for policy in policies
        if set(policy["spec"]["policyTypes"]) == {"Ingress", "Egress"}
        and not policy["spec"].get("ingress")
        and not policy["spec"].get("egress")
    ]
    for name, metadata, _ in pods(objects):
        if not any(deny.items() <= metadata["labels"].items() for deny in denies):
            yield f"{name}: no NetworkPolicy denies what is not named"
    for policy in policies:
        for rule in policy["spec"].get("ingress", []):
            if not rule.get("from") or not rule.get("ports"):
                yield f"NetworkPolicy/{policy['metadata']['name']}: lets in anybody, or at any port"
        for rule in policy["spec"].get("egress", []):
            if not rule.get("ports"):
                yield f"NetworkPolicy/{policy['metadata']['name']}: lets out at any port"


def services(objects: list[dict]) -> Iterator[str]:
    """Services, monitors and scalers find what they name."""
    labels = [metadata["labels"] for _, metadata, _ in pods(objects)]
    of_services = [found["metadata"]["labels"] for found in objects if found["kind"] == "Service"]
    workloads = {(found["kind"], found["metadata"]["name"]) for found in objects}
    for found in objects:
        name = f"{found['kind']}/{found['metadata']['name']}"
        if found["kind"] == "Service":
            if not any(found["spec"]["selector"].items() <= pod.items() for pod in labels):
                yield f"{name}: selects no pod"
        elif found["kind"] == "ServiceMonitor":
            if sum(found["spec"]["selector"]["matchLabels"].items() <= service.items() for service in of_services) != 1:
                yield f"{name}: does not select one service"
            if not found["spec"]["endpoints"][0].get("authorization"):
                yield f"{name}: has no token"
        elif found["kind"] == "HorizontalPodAutoscaler":
            target = found["spec"]["scaleTargetRef"]
            if (target["kind"], target["name"]) not in workloads:
                yield f"{name}: scales nothing"
        elif found["kind"] == "StatefulSet":
            if ("Service", found["spec"]["serviceName"]) not in workloads:
                yield f"{name}: has no service"


# The slow one last: whoever looks for one finding often need not wait for it.
RULES = [restricted, house_rules, lives, network, services, schemas]


def findings(objects: list[dict]) -> Iterator[str]:
    for rule in RULES:
        yield from rule(objects)


def first(objects: list[dict], kind: str, role: str = "") -> dict:
    for found in objects:
        if found["kind"] == kind and role in found["metadata"]["name"]:
            return found
    raise KeyError(kind)


def door(objects: list[dict]) -> dict:
    return first(objects, "Deployment", "ingest")["spec"]["template"]["spec"]


def broken() -> list[tuple[str, Callable[[list[dict]], object]]]:
    """Each: part of the finding that must come, and what breaks the objects."""
    container = lambda objects: door(objects)["containers"][0]
    security = lambda objects: container(objects)["securityContext"]
    aggregators = lambda objects: first(objects, "Deployment", "aggregate")["spec"]
    monitor = lambda objects: first(objects, "ServiceMonitor")["spec"]
    return [
        ("Additional properties", lambda o: door(o).update(restartPolicies="Always")),
        ("operator's version", lambda o: first(o, "ServiceMonitor").update(apiVersion="monitoring.coreos.com/v2")),
        ("operator's version", lambda o: first(o, "PrometheusRule").update(apiVersion="monitoring.coreos.com/v2")),
        ("hostNetwork", lambda o: door(o).update(hostNetwork=True)),
        ("hostPID", lambda o: door(o).update(hostPID=True)),
        ("hostIPC", lambda o: door(o).update(hostIPC=True)),
        ("is a hostPath", lambda o: door(o)["volumes"].append({"name": "x", "hostPath": {"path": "/"}})),
        ("sysctls", lambda o: door(o)["securityContext"].update(sysctls=[{"name": "kernel.shm_rmid_forced", "value": "0"}])),
        ("privileged", lambda o: security(o).update(privileged=True)),
        ("privileged", lambda o: security(o).update(procMount="Unmasked")),
        ("allowPrivilegeEscalation", lambda o: security(o).pop("allowPrivilegeEscalation")),
        ("not all dropped", lambda o: security(o)["capabilities"].update(drop=["NET_RAW"])),
        ("are added", lambda o: security(o)["capabilities"].update(add=["SYS_ADMIN"])),
        ("runAsNonRoot", lambda o: security(o).update(runAsNonRoot=False)),
        ("user 0", lambda o: security(o).update(runAsUser=0)),
        ("seccompProfile", lambda o: security(o).update(seccompProfile={"type": "Unconfined"})),
        ("hostPort", lambda o: container(o)["ports"][0].update(hostPort=80)),
        ("token is mounted", lambda o: door(o).pop("automountServiceAccountToken")),
        ("variables of all services", lambda o: door(o).pop("enableServiceLinks")),
        ("can be written", lambda o: security(o).update(readOnlyRootFilesystem=False)),
        ("has no version", lambda o: container(o).update(image="registry:5000/tally")),
        ("has no version", lambda o: container(o).update(image="tally:latest")),
        ("resources", lambda o: container(o)["resources"]["limits"].pop("memory")),
        ("resources", lambda o: container(o)["resources"]["requests"].pop("cpu")),
        ("value in the manifest", lambda o: container(o)["env"].append({"name": "AWS_SECRET_ACCESS_KEY", "value": "x"})),
        ("no ConfigMap", lambda o: o.remove(first(o, "ConfigMap", "config"))),
        ("by reference", lambda o: o.append({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}})),
        ("no PodDisruptionBudget", lambda o: o.remove(first(o, "PodDisruptionBudget", "ingest"))),
        ("no minReadySeconds", lambda o: aggregators(o).pop("minReadySeconds")),
        ("in object storage", lambda o: aggregators(o)["template"]["spec"]["volumes"].append({"name": "x", "emptyDir": {}})),
        ("not spread", lambda o: door(o)["topologySpreadConstraints"].pop()),
        ("startupProbe", lambda o: container(o).pop("startupProbe")),
        ("readinessProbe", lambda o: container(o)["readinessProbe"]["httpGet"].update(path="/healthz")),
        ("livenessProbe", lambda o: container(o)["livenessProbe"]["httpGet"].update(path="/readyz")),
        ("no preStop", lambda o: container(o).pop("lifecycle")),
        ("longer than the grace", lambda o: door(o).update(terminationGracePeriodSeconds=28)),
        ("no NetworkPolicy denies", lambda o: o.remove(first(o, "NetworkPolicy", "deny"))),
        ("lets in anybody", lambda o: first(o, "NetworkPolicy", "monitoring")["spec"]["ingress"][0].pop("from")),
        ("at any port", lambda o: first(o, "NetworkPolicy", "monitoring")["spec"]["ingress"][0].pop("ports")),
        ("lets out at any port", lambda o: first(o, "NetworkPolicy", "egress-store")["spec"]["egress"][0].pop("ports")),
        ("selects no pod", lambda o: first(o, "Service", "query")["spec"]["selector"].update(x="y")),
        ("does not select one service", lambda o: monitor(o)["selector"]["matchLabels"].update(x="y")),
        ("has no token", lambda o: monitor(o)["endpoints"][0].pop("authorization")),
        ("scales nothing", lambda o: first(o, "HorizontalPodAutoscaler")["spec"]["scaleTargetRef"].update(name="x")),
        ("has no service", lambda o: first(o, "StatefulSet")["spec"].update(serviceName="x")),
        ("its own pods", lambda o: first(o, "Deployment", "ingest")["spec"]["selector"]["matchLabels"].update(x="y")),
    ]


def self_test(paths: list[str]) -> int:
    files, status = [read(path) for path in paths], 0
    for wanted, spoil in broken():
        for objects in files:
            spoiled = copy.deepcopy(objects)
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


def read(path: str) -> list[dict]:
    with open(path, encoding="utf-8") as file:
        return [found for found in yaml.safe_load_all(file) if found]


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
