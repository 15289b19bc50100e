#!/usr/bin/env python3
"""Writes the Grafana dashboards from the table below, so that panels are reviewed as one line each and look alike.

Run it after a change; `cargo xtask charts` fails if the files differ from what it writes. Only the standard library is needed.
"""

import json
import pathlib
import sys

HERE = pathlib.Path(__file__).parent / "dashboards"
NODE = 'site=~"$site",node=~"$node"'
HTTP = 'job="sentinel-hub"'

# Dashboard: file, title, variables, rows. Row: title, panels. Panel: kind, title, unit, (legend, expression)…
DASHBOARDS = [
    ("sre-overview", "Sentinel: SRE overview", [], [
        ("Fleet", [
            ("stat", "Nodes connected", "short", ("", 'sentinel_hub_nodes{state="connected"}')),
            ("stat", "Working alone", "short", ("", 'sentinel_hub_nodes{state="working_alone"}')),
            ("stat", "Unknown", "short", ("", 'sentinel_hub_nodes{state="unknown"}')),
            ("stat", "Quarantined", "short", ("", "sentinel_hub_nodes_quarantined")),
            ("graph", "Nodes by state", "short", ("{{state}}", "sentinel_hub_nodes")),
            ("graph", "Decisions", "ops", ("{{verdict}}, {{mode}}", "sum by (verdict, mode) (rate(sentinel_hub_decisions_total[5m]))")),
        ]),
        ("API", [
            ("graph", "Requests", "reqps", ("{{status}}", f"sum by (status) (rate(http_requests_total{{{HTTP}}}[5m]))")),
            ("graph", "Errors", "percentunit", ("5xx", f'sum(rate(http_requests_total{{{HTTP},status=~"5.."}}[5m])) / sum(rate(http_requests_total{{{HTTP}}}[5m]))')),
            ("graph", "Time to answer", "s",
             ("p50", f"histogram_quantile(0.5, sum by (le) (rate(http_request_duration_seconds_bucket{{{HTTP}}}[5m])))"),
             ("p95", f"histogram_quantile(0.95, sum by (le) (rate(http_request_duration_seconds_bucket{{{HTTP}}}[5m])))"),
             ("p99", f"histogram_quantile(0.99, sum by (le) (rate(http_request_duration_seconds_bucket{{{HTTP}}}[5m])))")),
        ]),
        ("Hub", [
            ("graph", "Entries stored", "ops", ("entries of {{journal}}", "rate(sentinel_hub_entries_stored_total[5m])"), ("telemetry blocks", "rate(sentinel_hub_telemetry_blocks_stored_total[5m])")),
            ("graph", "Store", "s", ("p99 of a batch", "histogram_quantile(0.99, sum by (le) (rate(sentinel_hub_store_batch_duration_seconds_bucket[5m])))")),
            ("graph", "Queues", "short", ("{{queue}}", "sentinel_hub_queue_length")),
            ("graph", "Memory", "bytes", ("{{job}}", 'process_resident_memory_bytes{job="sentinel-hub"}')),
            ("graph", "CPU", "percentunit", ("{{job}}", 'rate(process_cpu_seconds_total{job="sentinel-hub"}[5m])')),
            ("stat", "Store in trouble", "bool_yes_no", ("", "sentinel_hub_store_trouble")),
        ]),
    ]),
    ("gpu-fleet", "Sentinel: GPU fleet", ["site", "node"], [
        ("Now", [
            ("stat", "GPUs", "short", ("", f"count(hw_gpu_utilization_ratio{{{NODE}}})")),
            ("stat", "Mean use", "percentunit", ("", f"avg(hw_gpu_utilization_ratio{{{NODE}}})")),
            ("stat", "Hottest", "celsius", ("", f'max(hw_temperature_celsius{{hw_type="gpu",{NODE}}})')),
            ("stat", "Power", "watt", ("", f'sum(hw_power_watts{{hw_type="gpu",{NODE}}})')),
        ]),
        ("Over time", [
            ("graph", "Use", "percentunit", ("{{node}}/{{hw_id}}", f"hw_gpu_utilization_ratio{{{NODE}}}")),
            ("graph", "Temperature", "celsius", ("{{node}}/{{hw_id}}", f'hw_temperature_celsius{{hw_type="gpu",{NODE}}}')),
            ("graph", "Power", "watt", ("{{node}}/{{hw_id}}", f'hw_power_watts{{hw_type="gpu",{NODE}}}')),
            ("graph", "Power cap in force", "watt", ("{{node}}/{{hw_id}}", f"hw_power_limit_watts{{{NODE}}}")),
            ("graph", "Power against cap", "percentunit", ("{{node}}/{{hw_id}}", f'hw_power_watts{{hw_type="gpu",{NODE}}} / hw_power_limit_watts{{{NODE}}}')),
        ]),
    ]),
    ("workload-health", "Sentinel: workload health", ["site", "node"], [
        ("Machines", [
            ("graph", "CPU", "percentunit", ("{{node}}", f"system_cpu_utilization_ratio{{{NODE}}}")),
            ("graph", "Memory", "percentunit", ("{{node}}", f"system_memory_utilization_ratio{{{NODE}}}")),
        ]),
        ("Inference (vLLM's own page)", [
            ("graph", "Latency p95", "s", ("{{job}}", "histogram_quantile(0.95, sum by (le, job) (rate(vllm:e2e_request_latency_seconds_bucket[5m])))")),
            ("graph", "Requests running", "short", ("{{job}}", "sum by (job) (vllm:num_requests_running)")),
            ("graph", "Requests waiting", "short", ("{{job}}", "sum by (job) (vllm:num_requests_waiting)")),
        ]),
        ("Policy", [
            ("graph", "Denied", "ops", ("{{type}}", "sum by (type) (rate(sentinel_policy_violations_total[5m]))")),
            ("stat", "Unhealthy by their own word", "short", ("", "sentinel_hub_nodes_unhealthy")),
            ("stat", "Held by a person", "short", ("", "sentinel_hub_nodes_held")),
        ]),
    ]),
    ("deployments", "Sentinel: deployments", [], [
        ("Policy on its way", [
            ("stat", "Newest generation", "short", ("", 'sentinel_policy_generation{job="sentinel-hub"}')),
            ("graph", "Nodes by bundle", "short", ("{{bundle}}", "sentinel_hub_policy_nodes")),
            ("graph", "Versions of the hub", "short", ("{{component}} {{version}}", "count by (component, version) (sentinel_build_info)")),
            ("graph", "Machines enrolled", "short", ("an hour", "increase(sentinel_hub_enrolments_total[1h])")),
        ]),
    ]),
    ("edge-sync", "Sentinel: edge sync and decisions", ["site", "node"], [
        ("Sync", [
            ("graph", "Silence", "s", ("{{node}}", f"sentinel_sync_age_seconds{{{NODE}}}")),
            ("graph", "Entries that wait at nodes", "short", ("{{node}}", f"sentinel_sync_backlog_entries{{{NODE}}}")),
            ("graph", "Journals", "bytes", ("{{node}}", f"sentinel_journal_bytes{{{NODE}}}")),
            ("graph", "Sessions", "short", ("up", "sentinel_hub_sessions"), ("opened a minute", "rate(sentinel_hub_sessions_opened_total[5m]) * 60")),
        ]),
        ("Decisions", [
            ("graph", "Made with no hub near", "percentunit", ("share", 'sum(rate(sentinel_hub_decisions_total{mode="disconnected"}[1h])) / sum(rate(sentinel_hub_decisions_total[1h]))')),
            ("graph", "By verdict", "ops", ("{{verdict}}", "sum by (verdict) (rate(sentinel_hub_decisions_total[5m]))")),
        ]),
        ("State", [
            ("graph", "Nodes by state", "short", ("{{state}}", 'sum by (state) (sentinel_node_state{site=~"$site"})')),
            ("graph", "Journals that fail", "short", ("nodes", "sentinel_hub_nodes_journal_failing")),
        ]),
    ]),
    ("processes", "Sentinel: processes", [], [
        ("Process", [
            ("graph", "Memory", "bytes", ("{{instance}}", "process_resident_memory_bytes")),
            ("graph", "CPU", "percentunit", ("{{instance}}", "rate(process_cpu_seconds_total[5m])")),
            ("graph", "Open files", "short", ("{{instance}}", "process_open_fds")),
            ("graph", "Uptime", "s", ("{{instance}}", "time() - process_start_time_seconds")),
        ]),
        ("Fleet", [
            ("graph", "GPUs", "short", ("simulated: {{simulated}}", "sentinel_hub_gpus")),
            ("graph", "Batches", "ops", ("{{result}}", "rate(sentinel_hub_store_batches_total[5m])")),
        ]),
    ]),
]

SOURCE = {"type": "prometheus", "uid": "${datasource}"}


def variable(name: str) -> dict:
    query = f'label_values(sentinel_node_state{{site=~"$site"}}, {name})' if name == "node" else f"label_values(sentinel_node_state, {name})"
    return {
        "name": name, "label": name, "type": "query", "datasource": SOURCE, "refresh": 2, "sort": 1, "multi": True, "includeAll": True,
        "allValue": ".*", "current": {"text": "All", "value": "$__all"}, "query": {"query": query, "refId": name}, "definition": query,
    }


def panel(number: int, x: int, y: int, kind: str, title: str, unit: str, targets: tuple) -> dict:
    stat = kind == "stat"
    return {
        "id": number, "title": title, "type": "stat" if stat else "timeseries", "datasource": SOURCE,
        "gridPos": {"x": x, "y": y, "w": 6 if stat else 12, "h": 4 if stat else 8},
        "fieldConfig": {"defaults": {"unit": unit, "min": 0, "custom": {} if stat else {"lineWidth": 1, "fillOpacity": 8, "spanNulls": False}}, "overrides": []},
        "options": {"reduceOptions": {"calcs": ["lastNotNull"]}} if stat else {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}},
        "targets": [
            {"refId": chr(65 + place), "datasource": SOURCE, "expr": expression, "legendFormat": legend, "instant": stat}
            for place, (legend, expression) in enumerate(targets)
        ],
    }


def dashboard(file: str, title: str, variables: list, rows: list) -> dict:
    panels, y, number = [], 0, 1
    for row_title, row in rows:
        panels.append({"id": number, "type": "row", "title": row_title, "collapsed": False, "gridPos": {"x": 0, "y": y, "w": 24, "h": 1}, "panels": []})
        y, x, height, number = y + 1, 0, 0, number + 1
        for kind, panel_title, unit, *targets in row:
            made = panel(number, x, y, kind, panel_title, unit, tuple(targets))
            place = made["gridPos"]
            if x + place["w"] > 24:
                x, y, height = 0, y + height, 0
                place.update(x=x, y=y)
            panels.append(made)
            x, height, number = x + place["w"], max(height, place["h"]), number + 1
        y += height
    data = {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus", "current": {}}
    return {
        "uid": f"sentinel-{file}", "title": title, "tags": ["sentinel"], "schemaVersion": 39, "editable": True, "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"}, "timezone": "browser", "graphTooltip": 1,
        "templating": {"list": [data, *[variable(name) for name in variables]]}, "panels": panels,
    }


def main() -> int:
    check = sys.argv[1:] == ["--check"]
    different = []
    wanted = {f"{file}.json": json.dumps(dashboard(file, *rest), indent=2) + "\n" for file, *rest in DASHBOARDS}
    for name in sorted(wanted.keys() | {path.name for path in HERE.glob("*.json")}):
        path = HERE / name
        found = path.read_text() if path.exists() else None
        if found == wanted.get(name):
            continue
        different.append(name)
        if not check and name in wanted:
            path.write_text(wanted[name])
        elif not check:
            path.unlink()
    if check and different:
        print(f"not as make.py writes them: {', '.join(different)}; run charts/observability/make.py", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
