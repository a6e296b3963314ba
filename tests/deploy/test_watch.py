"""Alert rules and dashboard name metrics that are there, and alerts come when they should."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import skip_or_fail

ROOT = Path(__file__).resolve().parent.parent.parent
RULES = ROOT / "deploy/prometheus/taglock.rules.yml"
DASHBOARD = ROOT / "deploy/grafana/taglock.json"
DOCUMENT = (ROOT / "docs/watch.md").read_text()

_D = "taglock_decision_seconds"
_RECONCILED = 'taglock_task_age_seconds{task="immutability.reconcile", instance="%s"}'
# Of each alert: series that raise it, and such that do not, in minutes from the start.
SERIES = {
    "TaglockDown": ({'up{job="taglock"}': "0x60"}, {'up{job="taglock"}': "1x60"}),
    "TaglockDatabaseDown": ({"taglock_database_up": "0x60"}, {"taglock_database_up": "1x60"}),
    "TaglockFaults": (
        {f'{_D}_count{{kind="push", outcome="failed"}}': "0+1x60"},
        {f'{_D}_count{{kind="push", outcome="failed"}}': "7x60"},
    ),
    "TaglockUndecided": (
        {
            f'{_D}_count{{kind="push", outcome="undecided"}}': "0+6x60",
            f'{_D}_count{{kind="push", outcome="accepted"}}': "0+60x60",
        },
        {
            f'{_D}_count{{kind="push", outcome="undecided"}}': "0+1x60",
            f'{_D}_count{{kind="push", outcome="accepted"}}': "0+60x60",
        },
    ),
    "TaglockSlow": (
        {
            f'{_D}_bucket{{kind="push", outcome="accepted", le="5"}}': "0+1x60",
            f'{_D}_bucket{{kind="push", outcome="accepted", le="10"}}': "0+60x60",
            f'{_D}_bucket{{kind="push", outcome="accepted", le="+Inf"}}': "0+60x60",
        },
        {
            f'{_D}_bucket{{kind="push", outcome="accepted", le="5"}}': "0+60x60",
            f'{_D}_bucket{{kind="push", outcome="accepted", le="10"}}': "0+60x60",
            f'{_D}_bucket{{kind="push", outcome="accepted", le="+Inf"}}': "0+60x60",
        },
    ),
    "TaglockRegistryFails": (
        {
            'taglock_registry_answers_total{status="none"}': "0+6x60",
            'taglock_registry_answers_total{status="201"}': "0+60x60",
        },
        {
            'taglock_registry_answers_total{status="404"}': "0+6x60",
            'taglock_registry_answers_total{status="201"}': "0+60x60",
        },
    ),
    # One process has asked the database before the other.
    "TaglockWorkerAway": (
        {_RECONCILED % "a": "0+60x60", _RECONCILED % "b": "5+60x60"},
        {_RECONCILED % "a": "500x60", _RECONCILED % "b": "5x60"},
    ),
    "TaglockTagsUnfinished": (
        {"taglock_oldest_overdue_seconds": "0+60x60"},
        {"taglock_oldest_overdue_seconds": "500x60"},
    ),
    "TaglockLockPending": (
        {"taglock_oldest_pending_lock_seconds": "7200x60"},
        {"taglock_oldest_pending_lock_seconds": "3000x60"},
    ),
    "TaglockDrift": (
        {'taglock_drifts{kind="changed"}': "1x60"},
        {'taglock_drifts{kind="changed"}': "0x60"},
    ),
    "TaglockUnsealed": (
        {"taglock_oldest_unsealed_event_seconds": "0+60x60"},
        {"taglock_oldest_unsealed_event_seconds": "3x60"},
    ),
    "TaglockCheckpointOld": (
        {"taglock_checkpoint_age_seconds": "100000x60"},
        {"taglock_checkpoint_age_seconds": "86000x60"},
    ),
    "TaglockJobStuck": (
        {"taglock_oldest_job_seconds": "90000x60"},
        {"taglock_oldest_job_seconds": "80000x60"},
    ),
    "TaglockConnectionsScarce": (
        {"taglock_database_waiting": "2x60"},
        {"taglock_database_waiting": "0x60"},
    ),
    "TaglockSignOnUnchecked": (
        {"taglock_oldest_vouching_seconds": "2000x60"},
        {"taglock_oldest_vouching_seconds": "1000x60"},
    ),
    "TaglockBackupOld": (
        {'taglock_task_age_seconds{task="backup"}': "94000x60"},
        {'taglock_task_age_seconds{task="backup"}': "90000x60"},
    ),
    "TaglockLoginsFail": (
        {'taglock_login_failures_total{at="api"}': "0+120x60"},
        {'taglock_login_failures_total{at="gate"}': "0+120x60"},
    ),
}


def _read_rules() -> list[dict[str, Any]]:
    (group,) = yaml.safe_load(RULES.read_text())["groups"]
    rules: list[dict[str, Any]] = group["rules"]
    return rules


def _find_metrics(text: str) -> set[str]:
    """Return the metrics of Taglock that queries name, as docs/watch.md names them."""
    names = set(re.findall(r"\btaglock_\w+", text))
    histograms = ("taglock_decision_seconds", "taglock_registry_call_seconds")
    return {
        next((each for each in histograms if name in (f"{each}_bucket", f"{each}_count")), name)
        for name in names
    }


def _list_queries() -> Iterator[str]:
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        for target in panel.get("targets", ()):
            yield target["expr"]


def test_rules_and_dashboard_name_metrics_that_are_there() -> None:
    documented = set(re.findall(r"^\| `(taglock_\w+)` \|", DOCUMENT, re.MULTILINE))
    assert _find_metrics(" ".join(each["expr"] for each in _read_rules())) <= documented
    shown = _find_metrics(" ".join(_list_queries()))
    assert shown <= documented
    assert documented - shown == {"taglock_database_up"}


def test_every_alert_is_documented_with_its_severity() -> None:
    rows = re.findall(r"^\| `(Taglock\w+)` \| (\w+) \|", DOCUMENT, re.MULTILINE)
    assert rows == [(each["alert"], each["labels"]["severity"]) for each in _read_rules()]


def test_each_panel_has_its_own_place_and_id() -> None:
    panels = json.loads(DASHBOARD.read_text())["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        at = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert max(x for x, _ in cells) < 24
        assert not cells & taken
        taken |= cells


def _make_test(alert: str, series: dict[str, str], *, is_raised: bool) -> dict[str, Any]:
    """Return a test of promtool, by a query for alerts that fire after half an hour."""
    named = f'alertname="{alert}"'
    expected = [{"labels": f"{{{named}}}", "value": 1}] if is_raised else []
    return {
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "promql_expr_test": [
            {
                "expr": f'count by (alertname) (ALERTS{{alertstate="firing", {named}}})',
                "eval_time": "30m",
                "exp_samples": expected,
            }
        ],
    }


@pytest.mark.process
def test_each_alert_comes_when_it_should_and_not_before(tmp_path: Path) -> None:
    if shutil.which("promtool") is None:
        skip_or_fail("promtool, of Debian's prometheus")
    assert SERIES.keys() == {each["alert"] for each in _read_rules()}
    tests = [
        _make_test(alert, series, is_raised=is_raised)
        for alert, (raising, quiet) in SERIES.items()
        for series, is_raised in ((raising, True), (quiet, False))
    ]
    file = tmp_path / "tests.yml"
    file.write_text(
        json.dumps({"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": tests})
    )
    run = subprocess.run(["promtool", "test", "rules", file], capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
    queries = [{"alert": f"A{n}", "expr": expr} for n, expr in enumerate(_list_queries())]
    # Grafana puts the interval in.
    text = json.dumps({"groups": [{"name": "dashboard", "rules": queries}]})
    file.write_text(text.replace("$__rate_interval", "5m"))
    run = subprocess.run(["promtool", "check", "rules", file], capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
