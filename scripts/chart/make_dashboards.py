"""Writes Grafana's dashboards, helm/dashboards/*.json, from what each panel asks.

    make_dashboards.py [--check]       with --check: exit code 1 where a file is not what it would be

A panel asks Prometheus, or, for what people may not see in metrics (money) and what the tables know best, Tally itself
over the PostgreSQL wire, as a user of its own (finance or auditor). `$__timeFrom()` and `$__timeTo()` are Grafana's.
"""

import json
import sys
from dataclasses import dataclass, field
from pathlib import Path

TARGET = Path(__file__).resolve().parents[2] / "helm" / "dashboards"
PROMETHEUS = {"type": "prometheus", "uid": "${prometheus}"}
TALLY = {"type": "grafana-postgresql-datasource", "uid": "${tally}"}
# One installation of several that share a Prometheus; all where the label is not there.
HERE = 'namespace=~"$namespace"'


@dataclass
class Panel:
    title: str
    description: str
    queries: list[tuple[str, str]]  # what is asked, and the legend
    unit: str = "short"
    kind: str = "timeseries"
    sql: bool = False
    stacked: bool = False
    width: int = 8
    overrides: list[dict] = field(default_factory=list)

    def json(self, number: int, x: int, y: int) -> dict:
        source = TALLY if self.sql else PROMETHEUS
        options: dict = {"tooltip": {"mode": "multi", "sort": "desc"}, "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []}}
        custom: dict = {"lineWidth": 1, "fillOpacity": 10, "showPoints": "never"}
        if self.stacked:
            custom["stacking"] = {"mode": "normal", "group": "A"}
        if self.kind == "stat":
            options = {"reduceOptions": {"values": False, "calcs": ["lastNotNull"], "fields": ""}, "colorMode": "value", "graphMode": "area", "justifyMode": "auto", "orientation": "auto", "textMode": "auto"}
            custom = {}
        elif self.kind == "table":
            options, custom = {"showHeader": True, "footer": {"show": False, "reducer": ["sum"]}}, {}
        defaults: dict = {"unit": self.unit}
        if custom:
            defaults["custom"] = custom
        return {
            "id": number,
            "type": self.kind,
            "title": self.title,
            "description": self.description,
            "datasource": source,
            "gridPos": {"h": 8, "w": self.width, "x": x, "y": y},
            "fieldConfig": {"defaults": defaults, "overrides": []},
            "options": options,
            "targets": [self.target(ask, legend, chr(ord("A") + i)) for i, (ask, legend) in enumerate(self.queries)],
        }

    def target(self, ask: str, legend: str, letter: str) -> dict:
        if self.sql:
            shape = "table" if self.kind == "table" else "time_series"
            return {"refId": letter, "datasource": TALLY, "rawQuery": True, "editorMode": "code", "format": shape, "rawSql": ask}
        asked = {"refId": letter, "datasource": PROMETHEUS, "expr": ask.replace("HERE", HERE), "legendFormat": legend, "range": True}
        return asked


def quantiles(metric: str, by: str = "le") -> list[tuple[str, str]]:
    """Median, and the slowest of a hundred."""
    return [
        (f"histogram_quantile({part}, sum by ({by}) (rate({metric}_bucket{{HERE}}[$__rate_interval])))", name)
        for part, name in ((0.5, "median"), (0.99, "99 %"))
    ]


def rate(metric: str, by: str = "", more: str = "") -> str:
    selector = f"HERE{',' + more if more else ''}"
    grouped = f" by ({by})" if by else ""
    return f"sum{grouped} (rate({metric}{{{selector}}}[$__rate_interval]))"


FLOW = [
    Panel("In, by format", "Events of readable requests at the door.", [(rate("tally_ingest_events_received_total", "format"), "{{format}}")], "cps", stacked=True),
    Panel("Acknowledged, refused", "Events that the log has, and those that cannot be attributed to an account.", [(rate("tally_ingest_events_accepted_total"), "acknowledged"), (rate("tally_ingest_events_rejected_total", "code"), "refused: {{code}}")], "cps"),
    Panel("Requests by status", "429: the door is full; 503: the log does not answer.", [(rate("tally_ingest_requests_total", "status"), "{{status}}")], "reqps", stacked=True),
    Panel("Acknowledgement by the log", "From the append of a record to the log's answer.", quantiles("tally_ingest_ack_seconds"), "s"),
    Panel("In flight at the door", "Received and not yet acknowledged, beside the limit for 429.", [("sum by (pod) (tally_ingest_in_flight_bytes{HERE})", "{{pod}}"), ("min(tally_ingest_in_flight_max_bytes{HERE})", "limit of one")], "bytes"),
    Panel("Appends that failed", "Records that the log did not acknowledge.", [(rate("tally_ingest_append_failures_total"), "failed")], "cps"),
    Panel("Counted", "Events of committed epochs.", [(rate("tally_stream_accepted_total"), "accepted"), (rate("tally_stream_duplicates_total"), "duplicates dropped"), (rate("tally_stream_suspended_total"), "held back")], "cps"),
    Panel("Held back, by reason", "What waits in suspense: docs/suspense.md.", [(rate("tally_stream_suspended_total", "reason"), "{{reason}}")], "cps", stacked=True),
    Panel("Out of suspense", "Recycled, written off, and asked for but left open.", [(rate("tally_suspense_recycled_total"), "recycled"), (rate("tally_suspense_written_off_total"), "written off"), (rate("tally_suspense_left_open_total"), "left open")], "cps"),
    Panel("Lag", "End of the log less committed, records.", [("sum(tally_lag_events{HERE})", "records")], "short"),
    Panel("Oldest that is not committed", "Grows where a partition does not commit.", [("max(tally_oldest_uncommitted_age_seconds{HERE})", "age")], "s"),
    Panel("Watermark", "How far the slowest partition's time is behind the clock; grows without traffic too.", [("max(tally_watermark_age_seconds{HERE})", "behind")], "s"),
    Panel("Partitions", "Held, and waiting for the store or the log.", [("sum(tally_partitions_owned{HERE})", "held"), ("max(tally_partitions{HERE})", "of the topic"), ("sum(tally_partitions_waiting{HERE})", "waiting"), (rate("tally_ledger_conflicts_total"), "changes of owner by conflict, a second")], "short"),
    Panel("State in memory", "Dedupe buckets and windows, by process.", [("sum by (pod) (tally_state_bytes{HERE})", "{{pod}}")], "bytes"),
    Panel("Quiet gateways", "Time since the newest event of each.", [("time() - max by (source) (tally_ingest_gateway_last_event_timestamp_seconds{HERE})", "{{source}}")], "s"),
    Panel("Gateway hours that are not complete", "What gateways said they sent, beside what came: docs/completeness.md.", [("SELECT hour, source, gateway_epoch, state, sent, accepted, held_back, missing FROM settlement.completeness WHERE state <> 'complete' AND hour BETWEEN $__timeFrom() AND $__timeTo() ORDER BY hour DESC, source LIMIT 100", "")], kind="table", sql=True, width=24),
]

MONEY = [
    Panel("Points by hour", "Charged to buckets, tariffs and overrun.", [("SELECT hour AS time, sum(points) AS points FROM quota.burn_rate_by_hour WHERE hour BETWEEN $__timeFrom() AND $__timeTo() GROUP BY hour ORDER BY hour", "")], sql=True),
    Panel("Retail by hour", "What subscribers' packages and tariffs earn with the usage.", [("SELECT hour AS time, coalesce(retail_currency, 'none') AS metric, sum(retail_amount) AS retail FROM quota.burn_rate_by_hour WHERE hour BETWEEN $__timeFrom() AND $__timeTo() GROUP BY hour, retail_currency ORDER BY hour", "")], sql=True),
    Panel("Wholesale by hour", "What vendors are owed for the usage, before the terms of their contracts.", [("SELECT hour AS time, wholesale_currency AS metric, sum(wholesale_amount) AS wholesale FROM quota.burn_rate_by_hour WHERE hour BETWEEN $__timeFrom() AND $__timeTo() GROUP BY hour, wholesale_currency ORDER BY hour", "")], sql=True),
    Panel("Margin by hour", "Retail less wholesale where both are in one currency; usage bought in another one is in the tables on the right.", [("SELECT hour AS time, wholesale_currency AS metric, sum(retail_amount) - sum(wholesale_amount) AS margin FROM quota.burn_rate_by_hour WHERE hour BETWEEN $__timeFrom() AND $__timeTo() AND (retail_currency = wholesale_currency OR retail_currency IS NULL) GROUP BY hour, wholesale_currency ORDER BY hour", "")], sql=True),
    Panel("Margin by package, by day", "Each currency by itself.", [("SELECT day, package, currency, sum(events) AS events, sum(retail_amount) AS retail, sum(wholesale_amount) AS wholesale, sum(margin) AS margin FROM settlement.margin WHERE day BETWEEN shanghai_day(CAST($__timeFrom() AS TIMESTAMP)) AND shanghai_day(CAST($__timeTo() AS TIMESTAMP)) GROUP BY day, package, currency ORDER BY margin LIMIT 50", "")], kind="table", sql=True),
    Panel("Margin by model, by day", "Models sold below what they cost come first.", [("SELECT day, vendor, model, currency, sum(events) AS events, sum(retail_amount) AS retail, sum(wholesale_amount) AS wholesale, sum(margin) AS margin FROM settlement.margin WHERE day BETWEEN shanghai_day(CAST($__timeFrom() AS TIMESTAMP)) AND shanghai_day(CAST($__timeTo() AS TIMESTAMP)) GROUP BY day, vendor, model, currency ORDER BY margin LIMIT 50", "")], kind="table", sql=True),
    Panel("What nobody pays for", "Overrun by its cause.", [("SELECT day, cause, package, currency, sum(events) AS events, sum(points) AS points, sum(wholesale_amount) AS wholesale FROM quota.overrun_by_cause WHERE day BETWEEN shanghai_day(CAST($__timeFrom() AS TIMESTAMP)) AND shanghai_day(CAST($__timeTo() AS TIMESTAMP)) GROUP BY day, cause, package, currency ORDER BY points DESC LIMIT 50", "")], kind="table", sql=True, width=12),
    Panel("Not counted yet: held back", "Open in suspense, by reason, model and age.", [("SELECT reason, model, age, sum(events) AS events, min(oldest) AS oldest FROM settlement.suspense_aging GROUP BY reason, model, age ORDER BY events DESC LIMIT 50", "")], kind="table", sql=True, width=12),
    Panel("Budgets and commitments", "Percent used in the current period.", [("max by (budget) (tally_budget_used_percent{HERE})", "{{budget}}")], "percent", width=12),
    Panel("Owed by month", "Usage at list price and the sealed statement that has it; what is open is accrued.", [("SELECT month, vendor, currency, statement, state, events, wholesale_amount FROM settlement.accrual ORDER BY month DESC, wholesale_amount DESC LIMIT 50", "")], kind="table", sql=True, width=12),
]

ALERTS = [
    Panel("Latency", "From when the log received an event to when it acknowledged the alert that it caused.", quantiles("tally_alert_latency_seconds"), "s"),
    Panel("By kind", "Alerts that the log acknowledged.", [(rate("tally_alerts_total", "kind"), "{{kind}}")], "cps", stacked=True),
    Panel("Quota statuses", "Statuses of accounts for gateways.", [(rate("tally_quota_statuses_total"), "statuses")], "cps"),
    Panel("Delivered by webhooks", "Taken, and failed, by receiver.", [(rate("tally_webhook_deliveries_total", "receiver"), "{{receiver}}"), (rate("tally_webhook_failures_total", "receiver"), "{{receiver}} failed")], "cps"),
    Panel("Waiting for webhooks", "Alerts that a webhook has yet to take.", [("sum by (receiver) (tally_webhook_waiting{HERE})", "{{receiver}}")], "short"),
    Panel("Given up", "Dead letters of the last day, by receiver.", [("sum by (receiver) (increase(tally_webhook_dead_letters_total{HERE}[1d]))", "{{receiver}}")], "short", kind="stat"),
    Panel("Questions for quotas", "By outcome.", [(rate("tally_quota_requests_total", "outcome"), "{{outcome}}")], "reqps", stacked=True),
    Panel("Time to answer for a quota", "Without the network.", quantiles("tally_quota_request_seconds"), "s"),
    Panel("Budget stage", "Held by one process; epochs added, and read from the ledger.", [("sum(tally_budget_stage_held{HERE})", "held"), (rate("tally_budget_epochs_added_total"), "added a second"), (rate("tally_budget_epochs_from_ledger_total"), "from the ledger a second")], "short"),
    Panel("Outstanding", "Sent, not taken back, bucket still open.", [("SELECT kind, threshold, package, count(*) AS alerts, max(at) AS newest FROM quota.alerts_outstanding GROUP BY kind, threshold, package ORDER BY alerts DESC LIMIT 50", "")], kind="table", sql=True, width=12),
    Panel("Newest", "Rows of the table, superseded ones too.", [("SELECT at, kind, account, model, package, threshold, used, allowance FROM alerts WHERE at BETWEEN $__timeFrom() AND $__timeTo() ORDER BY at DESC LIMIT 50", "")], kind="table", sql=True, width=12),
]

STORE = [
    Panel("Commits", "Ledger entries a second.", [(rate("tally_epoch_commits_total"), "commits")], "cps"),
    Panel("Time of a commit", "From the end of an epoch to its ledger entry: uploads and one conditional write.", quantiles("tally_epoch_commit_seconds"), "s"),
    Panel("Waiting for the tables", "Committed epochs that are not published.", [("max(tally_unpublished_epochs{HERE})", "epochs")], "short"),
    Panel("Delta commits", "Versions created, by table.", [(rate("tally_table_commits_total", "table"), "{{table}}")], "cps"),
    Panel("Files", "Live data files, by table.", [("max by (table) (tally_table_files{HERE})", "{{table}}")], "short"),
    Panel("Bytes", "Of live data files, by table.", [("max by (table) (tally_table_bytes{HERE})", "{{table}}")], "bytes"),
    Panel("Compaction", "Files merged into larger ones.", [(rate("tally_janitor_files_merged_total"), "files"), (rate("tally_janitor_failures_total"), "failures")], "cps"),
    Panel("Removed", "Objects that the janitor removed, by kind.", [(rate("tally_janitor_objects_removed_total", "kind"), "{{kind}}")], "cps"),
    Panel("Last run of the janitor", "Time since it finished without a failure.", [("time() - max(tally_janitor_last_success_timestamp_seconds{HERE})", "ago")], "s", kind="stat"),
    Panel("Tables", "As they are now.", [("SELECT name, version, files, rows, bytes FROM system.tables ORDER BY name", "")], kind="table", sql=True, width=12),
    Panel("Newest epochs", "With their rows and bytes.", [("SELECT committed_at, partition, epoch, events, files, rows, bytes FROM system.epochs WHERE committed_at BETWEEN $__timeFrom() AND $__timeTo() ORDER BY committed_at DESC LIMIT 50", "")], kind="table", sql=True, width=12),
    Panel("Queries", "By outcome; those running.", [(rate("tally_query_seconds_count", "outcome"), "{{outcome}}"), ("sum(tally_queries_running{HERE})", "running")], "short"),
    Panel("Time of a query", "From admission to the last row.", quantiles("tally_query_seconds"), "s"),
    Panel("Audit log", "Stored, failed, lost, waiting.", [(rate("tally_audit_entries_total"), "stored"), (rate("tally_audit_write_failures_total"), "failed batches"), (rate("tally_audit_entries_lost_total"), "lost"), ("sum(tally_audit_entries_waiting{HERE})", "waiting")], "short"),
    Panel("Sign-ins", "By door and outcome.", [(rate("tally_sign_ins_total", "door, outcome"), "{{door}} {{outcome}}")], "cps", stacked=True),
    Panel("Free on disk", "Where a process writes to a folder.", [("min by (instance, folder) (tally_disk_free_bytes{HERE} / tally_disk_size_bytes{HERE})", "{{instance}} {{folder}}")], "percentunit"),
    Panel("Clock", "This machine's less that of the store.", [("max by (instance) (tally_clock_offset_seconds{HERE})", "{{instance}}")], "s"),
]

DASHBOARDS = {
    "flow": ("Tally: flow", "In, accepted, held back, lag, watermark", FLOW),
    "money": ("Tally: money", "Points, retail, wholesale and margin by hour, as the tables have them", MONEY),
    "alerts": ("Tally: alerts", "Latency, by kind, webhooks, quotas", ALERTS),
    "store": ("Tally: store", "Files, compaction, commits, queries", STORE),
}


def source_variable(name: str, kind: str, label: str) -> dict:
    return {"name": name, "label": label, "type": "datasource", "query": kind, "refresh": 1, "hide": 0, "multi": False, "includeAll": False, "skipUrlSync": False, "options": []}


def dashboard(name: str) -> dict:
    title, description, panels = DASHBOARDS[name]
    laid, x, y = [], 0, 0
    for number, panel in enumerate(panels, start=1):
        if x + panel.width > 24:
            x, y = 0, y + 8
        laid.append(panel.json(number, x, y))
        x += panel.width
    namespaces = {
        "name": "namespace", "label": "Namespace", "type": "query", "datasource": PROMETHEUS, "hide": 0, "multi": True, "includeAll": True, "allValue": ".*",
        "query": "label_values(tally_partitions_owned, namespace)", "refresh": 2, "sort": 1, "skipUrlSync": False, "options": [],
        "current": {"selected": True, "text": ["All"], "value": ["$__all"]},
    }
    return {
        "uid": f"tally-{name}",
        "title": title,
        "description": description,
        "tags": ["tally"],
        "timezone": "browser",
        "editable": True,
        "graphTooltip": 1,
        "refresh": "30s",
        "schemaVersion": 41,
        "time": {"from": "now-24h" if name == "money" else "now-3h", "to": "now"},
        "links": [{"title": "Tally", "type": "dashboards", "icon": "dashboard", "tooltip": "", "tags": ["tally"], "asDropdown": True, "targetBlank": False, "includeVars": True, "keepTime": True}],
        "templating": {"list": [source_variable("prometheus", "prometheus", "Prometheus"), source_variable("tally", "grafana-postgresql-datasource", "Tally's SQL"), namespaces]},
        "annotations": {"list": []},
        "panels": laid,
    }


def main() -> int:
    status = 0
    for name in DASHBOARDS:
        path = TARGET / f"{name}.json"
        text = json.dumps(dashboard(name), indent=1, ensure_ascii=False) + "\n"
        if "--check" not in sys.argv:
            path.write_text(text, encoding="utf-8")
        elif not path.exists() or path.read_text(encoding="utf-8") != text:
            print(f"{path.name} is not what it would be: scripts/lint-chart.sh --update")
            status = 1
    return status


if __name__ == "__main__":
    sys.exit(main())
