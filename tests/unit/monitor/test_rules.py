"""Every alert both ways, by Prometheus' own `promtool` and by our evaluation: they must agree."""

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.main import get_command

from adamas import cli
from monitor.evaluation import Evaluation, histories, subject_of
from monitor.grafana import BOARDS, boards
from monitor.prometheus import rules_file, runbook
from monitor.rules import RULES, Rule
from monitor.samples import Samples
from schemas.events import KINDS, Kind
from schemas.metrics import METRICS

ROOT = Path(__file__).parents[3]
Series = dict[str, Callable[[int], float]]
"""A series as in an exposition, and its value at a second."""


@dataclass(frozen=True)
class Case:
    """What makes an alert fire, what does not, and after how many seconds it is looked at."""

    fires: Series
    silent: Series
    after_s: int = 60
    step_s: int = 5


def const(value: float) -> Callable[[int], float]:
    return lambda _at: value


def grows(per_s: float, until_s: int | None = None) -> Callable[[int], float]:
    return lambda at: per_s * (at if until_s is None else min(at, until_s))


LAG, LAG_S = "kafka_consumergroup_group_sum_lag", "kafka_consumergroup_group_max_lag_seconds"
MEMBERS, STATUS = "adamas_monitor_group_members", "adamas_monitor_group_status"
STILL = "adamas_monitor_still_seconds"
G = '{cluster_name="c",group="g"}'
P = '{cluster_name="c",group="g",topic="t",partition="3"}'
HTTP = 'adamas_http_requests_total{route="/v1/diamonds",status="%s"}'
DAY_S = 86_400

CASES = {
    "GroupStalled": Case(
        {STATUS + G: const(2), MEMBERS + G: const(1)}, {STATUS + G: const(2), MEMBERS + G: const(0)}
    ),
    "LagWithoutReader": Case(
        {LAG + G: const(5), MEMBERS + G: const(0)}, {LAG + G: const(5), MEMBERS + G: const(1)}
    ),
    "PartitionStuck": Case(
        {STILL + P: const(60), STATUS + G: const(1), MEMBERS + G: const(1)},
        {STILL + P: const(60), STATUS + G: const(2), MEMBERS + G: const(1)},
    ),
    "GroupBehind": Case(
        {LAG_S + G: const(40), STATUS + G: const(0)},
        {LAG_S + G: const(29), STATUS + G: const(0)},
        after_s=240,
    ),
    "SinkNearCompaction": Case(
        {LAG_S + '{group="adamas-sink"}': const(2500)}, {LAG_S + '{group="other"}': const(2500)}
    ),
    # promtool's clock begins at 0.
    "WatermarkStale": Case(
        {'adamas_api_position_timestamp_seconds{feed="f"}': const(10)},
        {'adamas_api_position_timestamp_seconds{feed="f"}': lambda at: float(at - 20)},
        after_s=1000,
    ),
    "DeadLetters": Case(
        {'adamas_monitor_dead_letters{state="new"}': const(1)},
        {
            'adamas_monitor_dead_letters{state="retrying"}': const(1),
            'adamas_monitor_dead_letters{state="new"}': const(0),
        },
    ),
    "AuthenticationFailures": Case(
        {HTTP % 401: grows(1)}, {HTTP % 404: grows(1), HTTP % 401: grows(0.1)}, after_s=600
    ),
    "SloBurnFast": Case(
        {HTTP % 200: grows(100), HTTP % 500: grows(2)},
        # An hour ago it was bad, now it is not: nobody must get up.
        {HTTP % 200: grows(100), HTTP % 500: grows(2, until_s=6000)},
        after_s=7200,
        step_s=30,
    ),
    "SloBurnSlow": Case(
        {HTTP % 200: grows(100), HTTP % 500: grows(0.5)},
        {HTTP % 200: grows(100), HTTP % 500: grows(0.1)},
        after_s=22_000,
        step_s=60,
    ),
    "MemberDown": Case(
        {'adamas_monitor_member_up{process="api"}': const(0)},
        {'adamas_monitor_member_up{process="api"}': lambda at: float(at % 60 == 0)},
        after_s=100,
    ),
    "UndeliveredAlert": Case(
        {"adamas_monitor_undelivered": const(1)}, {"adamas_monitor_undelivered": const(0)}
    ),
    **{
        kind: Case(
            {f'adamas_monitor_recent_events{{kind="{kind}"}}': const(1)},
            {'adamas_monitor_recent_events{kind="RunCompleted"}': const(1)},
        )
        for kind in ("RunPartial", "TrialTakenBack")
    },
}
CASES |= {
    rule.kind.value: Case(
        {f'adamas_monitor_open_events{{kind="{rule.kind}",severity="critical"}}': const(1)},
        {'adamas_monitor_open_events{kind="DeadLetters",severity="warning"}': const(1)},
    )
    for rule in RULES
    if rule.recorded and rule.kind.value not in CASES
}
NAMED = {rule.name or rule.kind.value: rule for rule in RULES}


def test_every_rule_has_its_case_and_every_lasting_kind_its_rule() -> None:
    assert set(CASES) == set(NAMED)
    assert {kind for kind, info in KINDS.items() if info.lasting} <= {rule.kind for rule in RULES}


@pytest.mark.slow
def test_promtool_sees_every_alert_fire_and_stay_silent(tmp_path: Path) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed: apt-get install prometheus")
    (tmp_path / "rules.yml").write_text(rules_file())
    files = []
    for step_s in sorted({case.step_s for case in CASES.values()}):
        cases = {name: case for name, case in CASES.items() if case.step_s == step_s}
        tests = [_promtool_case(name, case, fires) for name, case in cases.items() for fires in (True, False)]
        files.append(tmp_path / f"every-{step_s}s.yml")
        whole = {"rule_files": ["rules.yml"], "evaluation_interval": f"{step_s}s", "tests": tests}
        files[-1].write_text(yaml.safe_dump(whole))
    done = subprocess.run([promtool, "test", "rules", *files], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]


def _promtool_case(name: str, case: Case, fires: bool) -> dict[str, object]:
    series = case.fires if fires else case.silent
    rule = NAMED[name]
    steps = case.after_s // case.step_s
    labels = "".join(f',{label}="{value}"' for label, value in sorted(_labels(rule, series).items()))
    alert = f'ALERTS{{alertname="{name}",alertstate="firing",kind="{rule.kind}",severity="{rule.severity}"{labels}}}'
    return {
        "name": f"{name} {'fires' if fires else 'is silent'}",
        "interval": f"{case.step_s}s",
        "input_series": [
            {"series": key, "values": " ".join(f"{value(at * case.step_s):g}" for at in range(steps + 1))}
            for key, value in series.items()
        ],
        "promql_expr_test": [
            {
                "expr": f'ALERTS{{alertname="{name}",alertstate="firing"}}',
                "eval_time": f"{case.after_s}s",
                "exp_samples": [{"labels": alert, "value": 1}] if fires else [],
            }
        ],
    }


def _labels(rule: Rule, series: Series) -> dict[str, str]:
    found = dict(pair for key in series for pair in re.findall(r'(\w+)="([^"]*)"', key))
    return {label: found[label] for label in rule.by}


@pytest.mark.parametrize("name", [name for name, rule in NAMED.items() if not rule.recorded])
def test_our_evaluation_agrees_with_prometheus(name: str) -> None:
    case, rule = CASES[name], NAMED[name]
    assert (rule.kind, subject_of(rule, _labels(rule, case.fires))) in _alarms(case, case.fires, rule)
    assert not _alarms(case, case.silent, rule)


def _alarms(case: Case, series: Series, rule: Rule) -> set[tuple[Kind, str]]:
    samples, evaluation = Samples(histories()), Evaluation([rule])
    for at in range(0, case.after_s + 1, case.step_s):
        text = "".join(f"{key} {value(at)}\n" for key, value in series.items())
        samples.take(at, "monitor", _typed(series) + text)
        found = evaluation.alarms(samples, at)
    return {(alarm.kind, alarm.subject) for alarm in found}


def _typed(series: Series) -> str:
    names = {key.partition("{")[0] for key in series}
    return "".join(
        f"# TYPE {name.removesuffix('_total')} {METRICS[name].type}\n" for name in names if name in METRICS
    )


def test_generated_files_are_those_in_the_repository() -> None:
    files = {"prometheus/rules.yml": rules_file(), **boards()}
    for name, text in files.items():
        assert (ROOT / "observability" / name).read_text() == text, "run make docs"


def test_rules_and_boards_name_only_metrics_of_the_list() -> None:
    queries = [rule.when.promql() for rule in RULES]
    queries += [query for board in BOARDS for panel in board.panels for query in panel.queries.values()]
    for query in queries:
        for name in re.findall(r"\b(?:adamas|kafka)_\w+", re.sub(r'"[^"]*"', "", query)):
            assert name in METRICS or name.removesuffix("_bucket") in METRICS, name


def test_every_panel_has_a_place_and_boards_are_json() -> None:
    for name, text in boards().items():
        board = json.loads(text)
        places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in board["panels"]]
        assert len(set(places)) == len(places), name


def test_rules_group_and_choose_by_labels_that_their_metrics_have() -> None:
    named = 0
    for query in (rule.when.promql() for rule in RULES):
        for by, metric, chosen in re.findall(
            r"(?: by \(([\w, ]+)\) )?\((?:increase\()?((?:adamas|kafka)_\w+)(\{[^}]*\})?", query
        ):
            labels = {*re.findall(r"\w+", by), *re.findall(r"(\w+)=~", chosen)}
            assert labels <= {*METRICS[metric].labels}, query
            named += len(labels)
    assert named > 20


def test_runbooks_name_commands_and_options_that_exist() -> None:
    asked = [
        (page.name, words.split())
        for page in (ROOT / "docs/runbooks").glob("*.md")
        for words in re.findall(r"`adamas ([^`]+)`", page.read_text())
    ]
    assert len(asked) > 20
    for page, words in asked:
        command: Any = get_command(cli.app)
        if words[0] in cli.SUB_COMMANDS:
            command = get_command(import_module(cli.SUB_COMMANDS[words[0]][0]).app)
            words = words[1:]
        while words and words[0] in getattr(command, "commands", {}):
            command, words = command.commands[words[0]], words[1:]
        assert not words or not getattr(command, "commands", {}), f"{page}: no command {words[0]}"
        options = {name for parameter in command.params for name in parameter.opts}
        assert {word for word in words if word.startswith("--")} <= options, f"{page}: {words}"


def test_every_kind_that_alerts_has_its_page_of_what_to_look_at_and_do() -> None:
    for kind in {rule.kind for rule in RULES}:
        page = (ROOT / runbook(kind.value)).read_text()
        assert page.startswith(f"# {kind}\n"), kind
        assert "\n## Look\n" in page, kind
        assert "\n## Do\n" in page, kind
