"""Runs the roles as the chart renders them, and then the chart's own test, without a cluster.

    run_rendered.py HELM TALLY SECRETS PROMETHEUS      SECRETS is a folder of scripts/compose-secrets.sh

Each workload's container is started as a process, with its arguments, its environment (secrets and fields of the pod
resolved) and the rendered tally.toml, on real Kafka (TALLY_TEST_KAFKA) and S3 (AWS_…); only addresses and the paths of
mounts are exchanged. The query role has credentials of its own, which read everything and create objects below audit/
alone. Probes must answer 200, the ports of SQL must be listened on, a Prometheus must scrape each role with the
operator's token and the authority, as from another machine, and must not without the token, the script of `helm test`
must find its event, and each role must end within its grace period after SIGTERM.
"""

import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

import yaml

CHART = Path(__file__).resolve().parents[2] / "helm"
PATIENCE_S = 120
# What only this role has.
METRICS = {
    "ingest": "tally_ingest_in_flight_bytes",
    "aggregate": "tally_partitions_owned",
    "query": "tally_queries_running",
    "janitor": "tally_janitor_last_success_timestamp_seconds",
}
FIELDS = {"metadata.name": "tally-aggregate-0", "status.podIP": "127.0.0.1", "metadata.namespace": "tally"}


def values() -> dict:
    return {
        "log": {"kafka": os.environ["TALLY_TEST_KAFKA"], "topic": f"chart.{os.getpid()}", "partitions": 2, "replication": 1, "group": f"chart-{os.getpid()}"},
        "store": {"url": f"s3://tally/chart-{os.getpid()}", "endpoint": os.environ["AWS_ENDPOINT_URL"], "allowHttp": True, "credentialsSecret": "store", "queryCredentialsSecret": "reader"},
        "access": {"usersSecret": "users", "certificateSecret": "tls"},
        "listenAddress": "0.0.0.0",
        "aggregate": {"kind": "StatefulSet"},
        "config": {"aggregate": {"freshness_ms": 1000}},
        "chartTest": {"tokensSecret": "tokens", "caSecret": "ca"},
    }


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def listens(port: int) -> bool:
    with socket.socket() as one:
        return one.connect_ex(("127.0.0.1", port)) == 0


def environment(container: dict, secrets: dict[tuple[str, str], str]) -> dict[str, str]:
    """What the kubelet would set."""
    found = {"PATH": os.environ["PATH"]}
    for variable in container["env"]:
        if "value" in variable:
            value = variable["value"]
            for name, known in found.items():
                value = value.replace(f"$({name})", known)
        elif "secretKeyRef" in variable["valueFrom"]:
            wanted = variable["valueFrom"]["secretKeyRef"]
            value = secrets[wanted["name"], wanted["key"]]
        else:
            value = FIELDS[variable["valueFrom"]["fieldRef"]["fieldPath"]]
        found[variable["name"]] = value
    return found


def reader() -> dict[str, str]:
    """Credentials of the S3 server that read everything and create objects below audit/, as the query role gets them."""
    said = subprocess.run([CHART.parent / "scripts/s3.sh", "reader"], stdout=subprocess.PIPE, text=True, check=True).stdout
    return dict(line.removeprefix("export ").split("=", 1) for line in said.splitlines())


def answers(url: str, trusted: ssl.SSLContext) -> bool:
    """Whether a probe gets its 200, sooner or later."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(url, context=trusted, timeout=3) as answer:
                return answer.status == 200
        except (urllib.error.URLError, OSError):
            time.sleep(0.5)
    return False


def own_address() -> str:
    """An address of this machine that is not loopback's, where a token is asked for; nothing is sent to find it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        try:
            one.connect(("192.0.2.1", 9))
            return one.getsockname()[0]
        except OSError:
            return "127.0.0.1"


def asked(web: int, query: str) -> dict[str, float]:
    """What Prometheus answers, by role."""
    url = f"http://127.0.0.1:{web}/api/v1/query?query={urllib.parse.quote(query)}"
    with urllib.request.urlopen(url, timeout=5) as answer:
        found = json.load(answer)["data"]["result"]
    return {sample["metric"].get("role", ""): float(sample["value"][1]) for sample in found}


def scraped(prometheus: str, ports: dict[str, int], mounted: Path, folder: Path) -> list[str]:
    """What a Prometheus cannot see of the roles, or sees without a token."""
    address, web = own_address(), free_port()
    job = {
        "scheme": "https",
        "tls_config": {"ca_file": str(mounted / "ca.crt"), "server_name": "localhost"},
        "static_configs": [{"targets": [f"{address}:{port}"], "labels": {"role": role}} for role, port in ports.items()],
    }
    token = {"authorization": {"credentials_file": str(mounted / "prometheus.token")}}
    jobs = [{"job_name": "operator", **token, **job}, {"job_name": "nobody", **job}]
    settings = {"global": {"scrape_interval": "1s"}, "scrape_configs": jobs}
    (folder / "prometheus.yml").write_text(yaml.safe_dump(settings))
    arguments = [f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/tsdb", f"--web.listen-address=127.0.0.1:{web}"]
    with open(folder / "prometheus.log", "wb") as log:
        process = subprocess.Popen([prometheus, *arguments], stdout=log, stderr=log)
    failed, unknown = ["Prometheus does not answer"], {}
    try:
        deadline = time.monotonic() + 60
        while failed and time.monotonic() < deadline:
            time.sleep(1)
            try:
                seen, unknown = asked(web, 'up{job="operator"}'), asked(web, 'up{job="nobody"}')
                failed = [f"{role}: not scraped" for role in ports if seen.get(role) != 1]
                failed += [f"{role}: not seen without a token" for role in ports if role not in unknown]
                for role in ports:
                    metric = METRICS[role]
                    if role not in asked(web, f'{metric}{{job="operator"}}'):
                        failed.append(f"{role}: no {metric}")
            except (urllib.error.URLError, OSError):
                continue
        if address == "127.0.0.1":
            print("this machine has no address but loopback, where no token is asked for")
        else:
            failed += [f"{role}: scraped without a token" for role, up in unknown.items() if up]
    finally:
        process.terminate()
        process.wait(30)
    print(f"Prometheus has scraped {', '.join(ports)} at {address}", flush=True)
    return failed


def run(objects: list[dict], tally: str, mounted: Path, prometheus: str, folder: Path) -> list[str]:
    by_name = {(found["kind"], found["metadata"]["name"]): found for found in objects}
    toml = by_name["ConfigMap", "tally-config"]["data"]["tally.toml"]
    secrets = {("store", name): os.environ[name] for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")}
    secrets |= {("reader", name): value for name, value in reader().items()}
    secrets |= {("tokens", name): (mounted / f"{name}.token").read_text() for name in ("gateway", "auditor")}
    trusted = ssl.create_default_context(cafile=str(mounted / "ca.crt"))
    failed, running, pg, flight = [], {}, free_port(), free_port()
    try:
        for found in objects:
            if found["kind"] not in ("Deployment", "StatefulSet"):
                continue
            pod = found["spec"]["template"]["spec"]
            container = pod["containers"][0]
            role, port = container["name"], free_port()
            file = folder / f"{role}.toml"
            here = toml.replace("/etc/tally/users", str(mounted)).replace("/etc/tally/certificate", str(mounted))
            file.write_text(here.replace(":8080", f":{port}").replace(":5433", f":{pg}").replace(":8815", f":{flight}"))
            arguments = [part.replace("/etc/tally/config/tally.toml", str(file)).replace(":8080", f":{port}") for part in container["args"]]
            with open(folder / f"{role}.log", "wb") as log:
                process = subprocess.Popen([tally, *arguments], env=environment(container, secrets), stdout=log, stderr=log, cwd="/")
            running[role] = (process, port, pod["terminationGracePeriodSeconds"])
            for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
                if not answers(f"https://localhost:{port}{container[probe]['httpGet']['path']}", trusted):
                    failed.append(f"{role}: {probe} is not answered")
            for name, at in (("postgresql", pg), ("flight", flight)) if role == "query" else ():
                if not listens(at):
                    failed.append(f"{role}: nobody listens for {name}")
            print(f"{role} runs: {' '.join(container['args'])}", flush=True)
        failed += scraped(prometheus, {role: port for role, (_, port, _) in running.items()}, mounted, folder)
        test = environment(by_name["Pod", "tally-test"]["spec"]["containers"][0], secrets)
        test |= {"DOOR": f"https://localhost:{running['ingest'][1]}", "SQL": f"https://localhost:{running['query'][1]}", "CA": str(mounted / "ca.crt")}
        script = folder / "event.sh"
        script.write_text(by_name["ConfigMap", "tally-test"]["data"]["event.sh"])
        if subprocess.run(["sh", str(script)], env=test, check=False).returncode != 0:
            failed.append("the chart's test")
    finally:
        for role, (process, _, grace) in running.items():
            process.send_signal(signal.SIGTERM)
            began = time.monotonic()
            try:
                code = process.wait(grace)
                print(f"{role} ended with {code} after {time.monotonic() - began:.1f} s of {grace}", flush=True)
            except subprocess.TimeoutExpired:
                process.kill()
                code = "a kill"
            if code != 0:
                failed.append(f"{role} ended with {code}")
    if failed:
        for role in running:
            print(f"-- {role}", (folder / f"{role}.log").read_text()[-2000:], sep="\n")
    return failed


def main() -> int:
    helm, tally, mounted = sys.argv[1], str(Path(sys.argv[2]).resolve()), Path(sys.argv[3]).resolve()
    command = [helm, "template", "tally", str(CHART), "--namespace", "tally", "--kube-version", "1.34.0", "--values", "-"]
    rendered = subprocess.run(command, input=yaml.safe_dump(values()), capture_output=True, text=True, check=True).stdout
    objects = [found for found in yaml.safe_load_all(rendered) if found]
    with tempfile.TemporaryDirectory() as folder:
        failed = run(objects, tally, mounted, sys.argv[4], Path(folder))
    for line in failed:
        print(f"FAILED   {line}")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
