"""The alert rules and the dashboard, tried with a real Prometheus and a real node_exporter.

They read a file that the program wrote, so a metric that is renamed is missed here.
"""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from config.settings import load_settings
from jobs.context import EndOfRun, ObservedRun
from jobs.metrics.families import FAMILIES
from jobs.metrics.job import JOB
from jobs.metrics.run import MetricsObserver
from jobs.metrics.settings import MetricsSettings
from tests.databases.platform_database import Platform
from tests.processes import wait_until
from tests.repository import REPOSITORY

MONITORING = REPOSITORY / "monitoring"
ALERTS = MONITORING / "alerts.yml"
WAIT_SECONDS = 90
FOREIGN = {"node_textfile_scrape_error"}
"""What node_exporter itself exposes."""


def rules() -> list[dict[str, Any]]:
    """Every alert rule."""
    (group,) = yaml.safe_load(ALERTS.read_text(encoding="utf-8"))["groups"]
    return list(group["rules"])


def expressions_of_dashboard() -> list[str]:
    """Every query of a panel, with Grafana's variables replaced as Grafana does."""
    dashboard = json.loads((MONITORING / "dashboard.json").read_text(encoding="utf-8"))
    variables = {"$instance": ".*", "$__rate_interval": "5m", "$__range": "1h"}
    found = []
    for panel in dashboard["panels"]:
        for target in panel.get("targets", ()):
            expression = target["expr"]
            for name, value in variables.items():
                expression = expression.replace(name, value)
            found.append(expression)
    return found


def metrics_in(expression: str) -> set[str]:
    """The metrics that an expression reads."""
    return set(re.findall(r"\b(?:janitor|node)_[a-z_]+", expression))


# Without a server


def test_rules_and_dashboard_read_only_metrics_that_there_are_and_forget_none() -> None:
    families = {family.name for family in FAMILIES}
    used = {
        name for text in (*(rule["expr"] for rule in rules()), *expressions_of_dashboard()) for name in metrics_in(text)
    }
    assert used - families - FOREIGN == set()
    needs_no_panel = {"janitor_oldest_due_timestamp_seconds", "janitor_oldest_due_age_seconds"}
    needs_no_panel |= {"janitor_backup_age_seconds"}
    needs_no_panel |= {name for name in families if name.startswith(("janitor_inventory", "janitor_task_last_run"))}
    assert families - used - needs_no_panel == set()


def test_no_metric_has_a_label_that_prometheus_would_rename() -> None:
    source = (REPOSITORY / "jobs/metrics/collecting.py").read_text(encoding="utf-8")
    assert not re.search(r"\b(?:job|instance)=", source)


def test_each_metric_is_documented() -> None:
    text = (REPOSITORY / "docs/monitoring.md").read_text(encoding="utf-8")
    documented = set(re.findall(r"`(janitor_[a-z_]+)`", text))
    assert documented == {family.name for family in FAMILIES}


def test_panels_of_the_dashboard_are_whole_and_do_not_overlap() -> None:
    panels = json.loads((MONITORING / "dashboard.json").read_text(encoding="utf-8"))["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    cells = [
        (x, y)
        for panel in panels
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]
    assert len(set(cells)) == len(cells)
    assert max(x for x, _ in cells) < 24


# With promtool


@pytest.mark.usefixtures("programs")
def test_each_alert_fires_when_it_should_and_only_then() -> None:
    """`monitoring/alerts_test.yml` says when, beside states in which it must not."""
    tests = yaml.safe_load((MONITORING / "alerts_test.yml").read_text(encoding="utf-8"))["tests"]
    tried = {case["alertname"] for test in tests for case in test["alert_rule_test"] if case["exp_alerts"]}
    assert tried == {rule["alert"] for rule in rules()}
    answer = promtool("test", "rules", "alerts_test.yml")
    assert answer.returncode == 0, answer.stdout + answer.stderr


def promtool(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run promtool among the rules."""
    return subprocess.run(
        ["promtool", *arguments], cwd=MONITORING, capture_output=True, text=True, check=False, timeout=120
    )


# With servers


def free_port() -> int:
    """A port that nobody listens at now."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


@contextmanager
def running(command: list[str], log: Path) -> Iterator[None]:
    """A server of its own, ended at the end."""
    with log.open("wb") as output, subprocess.Popen(command, stdout=output, stderr=output, cwd=log.parent) as process:
        try:
            yield
        finally:
            process.kill()


class Prometheus:
    """Asks a Prometheus."""

    def __init__(self, port: int) -> None:
        self._url = f"http://127.0.0.1:{port}"

    def get(self, path: str, **parameters: str) -> Mapping[str, Any]:
        """An answer of its API."""
        try:
            answer: Mapping[str, Any] = requests.get(f"{self._url}{path}", params=parameters, timeout=30).json()
        except requests.RequestException as error:  # not up yet
            return {"status": "error", "error": str(error)}
        return answer

    def value(self, expression: str) -> list[Mapping[str, Any]]:
        """What an expression gives now."""
        answer = self.get("/api/v1/query", query=expression)
        assert answer["status"] == "success", f"{expression}: {answer.get('error')}"
        return list(answer["data"]["result"])


@pytest.fixture
def programs() -> None:
    """Where they are not, the test is left out; with `CI` set that is a failure."""
    for name in ("prometheus", "promtool", "prometheus-node-exporter"):
        if shutil.which(name) is None:
            pytest.skip(f"needs {name}, a package of Debian's")


@pytest.fixture
def written(initialized_database_url: str, tmp_path: Path) -> Path:
    """A directory with a file that the program wrote."""
    directory = tmp_path / "textfile"
    directory.mkdir()
    platform = Platform(initialized_database_url)
    provider = platform.add_provider("local", {"ruta": "/x"})
    platform.sql("INSERT INTO ejecuciones_config (nube_primaria_id) VALUES (%s)", provider)
    platform.add_execution()
    platform.sql(
        "INSERT INTO ejecuciones_yaml (uuid, migrado_a_nube, nube_provider_id) VALUES ('a', true, %s)", provider
    )
    platform.sql(
        "INSERT INTO historial_backup (id_backup, tipo, nombre_archivo, ruta_archivo, tamanio_bytes) "
        "VALUES (1, 'COMPLETO', 'a', '/a', 10)"
    )
    platform.sql("INSERT INTO janitor_backups (id_backup, attempt, host, verified_at) VALUES (1, 'a', 'norte', now())")
    database = platform.run("norte")
    database.job_records.claim("temp", is_platform=False, seen_token=None)
    platform.sql("UPDATE janitor_jobs SET finished_at = now(), last_good_at = now(), last_outcome = 'done'")
    platform.sql(
        "INSERT INTO janitor_attempts (execution_id, run_id, host, fencing_token, provider_id, key_prefix, state, "
        "started_at, finished_at) VALUES (1, 1, 'norte', 1, %s, 'p', 'committed', now() - interval '1 s', now())",
        provider,
    )
    platform.sql(
        "INSERT INTO janitor_provider_health (provider_id, settings, error_code, error, needs_a_person, host) "
        "VALUES (%s, 's', 'unavailable', 'e', false, 'norte')",
        provider,
    )
    settings = load_settings(
        {"DATABASE_URL": platform.database_url, "JANITOR_HOST": "norte", "JANITOR_ROOTS": str(directory)}
    )
    own = MetricsSettings(directory / "janitor.prom")
    observer = MetricsObserver(ObservedRun(JOB, settings, own, "tick", "1.2.3", is_asked_for=True))
    assert observer.ended(EndOfRun(0, 3.0, {"migrated": 1}, (), (), database)).failures == ()
    platform.close()
    return directory


@pytest.fixture
def prometheus(written: Path, tmp_path: Path) -> Iterator[Prometheus]:
    """One with the alert rules, which asks a node_exporter each second."""
    exporter_port, port = free_port(), free_port()
    configuration = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(ALERTS)],
        "scrape_configs": [{"job_name": "node", "static_configs": [{"targets": [f"127.0.0.1:{exporter_port}"]}]}],
    }
    file = tmp_path / "prometheus.yml"
    file.write_text(yaml.safe_dump(configuration))
    exporter = [
        *("prometheus-node-exporter", "--collector.disable-defaults", "--collector.textfile"),
        *(f"--collector.textfile.directory={written}", f"--web.listen-address=127.0.0.1:{exporter_port}"),
    ]
    server = [
        *("prometheus", f"--config.file={file}", f"--storage.tsdb.path={tmp_path / 'data'}"),
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with running(exporter, tmp_path / "exporter.log"), running(server, tmp_path / "prometheus.log"):
        asked = Prometheus(port)
        wait_until(
            lambda: asked.get("/api/v1/query", query="janitor_build_info").get("data", {}).get("result"), WAIT_SECONDS
        )
        yield asked


@pytest.mark.usefixtures("programs")
def test_a_real_prometheus_takes_every_expression_and_finds_every_metric(prometheus: Prometheus) -> None:
    assert [row["value"][1] for row in prometheus.value("node_textfile_scrape_error")] == ["0"]
    (groups,) = prometheus.get("/api/v1/rules")["data"]["groups"]
    assert {rule["name"]: rule.get("lastError", "") for rule in groups["rules"]} == {r["alert"]: "" for r in rules()}
    expressions = [*(rule["expr"] for rule in rules()), *expressions_of_dashboard()]
    for expression in expressions:
        prometheus.value(expression)
    names = {name for expression in expressions for name in metrics_in(expression)}
    assert [name for name in sorted(names) if not prometheus.value(name)] == []
    metadata = prometheus.get("/api/v1/metadata")["data"]
    assert {f.name for f in FAMILIES} - set(metadata) == set()
    labels = {label for row in prometheus.value('{__name__=~"janitor_.*"}') for label in row["metric"]}
    assert not {label for label in labels if label.startswith("exported_")}
