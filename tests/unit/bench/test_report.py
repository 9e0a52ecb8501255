"""What the benchmark prints and writes, and what it takes on its command line."""

from __future__ import annotations

import io
import json

import pytest
from rich.console import Console

from shardproxy.model import Engine
from tests.bench.__main__ import names
from tests.bench.figures import summarise
from tests.bench.machine import cpu_model, machine_line
from tests.bench.probe import Memory, Start, status_kib
from tests.bench.report import EngineResult, print_result, to_json
from tests.bench.systems import STARTERS, is_debug_build
from tests.bench.tools import BenchError, Sample
from tests.bench.workloads import GOALS, TITLES, WORKLOADS, choose


def sample(cpu: float, faults: tuple[str, ...] = ()) -> Sample:
    return Sample(123456.0, 300.0, 700.0, 900.0, cpu, 5.5, 6.5, faults, raw={"cpu": cpu})


@pytest.fixture
def result() -> EngineResult:
    get50 = WORKLOADS[0]
    rounds = {
        "echo": [sample(10.0), sample(10.0)],
        "nutcracker": [sample(20.0), sample(20.0)],
        "ours1": [sample(12.0), sample(13.0, faults=("1 keys missed",))],
        "ours2": [sample(14.0), sample(14.0)],
    }
    return EngineResult(
        Engine.REDIS,
        figures={get50: summarise(rounds)},
        skipped={"direct": "it does not [listen]"},
        starts={"ours1": Start(0.25, 0.5)},
        memory={"ours1": Memory(40.0, 1.5)},
    )


def printed(result: EngineResult) -> list[str]:
    out = io.StringIO()
    print_result(Console(file=out, width=120), result)
    return [" ".join(line.replace("│", " ").split()) for line in out.getvalue().splitlines()]


def test_the_tables_show_every_figure(result: EngineResult) -> None:
    lines = printed(result)
    assert "get50: get, 50 connections" in lines
    assert "ours1 ! 123,456 300 700 12.50 8% 1.25 0.62 5.50 6.50" in lines
    assert "echo 123,456 300 700 10.00 0% 1.00 0.50 5.50 6.50" in lines
    assert "get50 10.00 (1.00) 20.00 (2.00) 12.50 (1.25) 14.00 (1.40) 1.35, 0.7" in lines
    assert "ours1 250 ms 500 ms 40.0 MiB 1.5 KiB" in lines


def test_a_missed_goal_is_marked_for_one_worker(result: EngineResult) -> None:
    get50 = WORKLOADS[0]
    dear = {
        "echo": [sample(10.0)],
        "nutcracker": [sample(20.0)],
        "ours1": [sample(14.0)],
        "ours2": [sample(14.0)],
    }
    result.figures[get50] = summarise(dear)
    assert "get50 10.00 (1.00) 20.00 (2.00) 14.00 (1.40) ! 14.00 (1.40) 1.35, 0.7" in printed(result)


def test_what_was_left_out_or_went_wrong_is_said(result: EngineResult) -> None:
    lines = printed(result)
    assert "redis: direct left out: it does not [listen]" in lines
    assert "redis: get50, ours1: 1 keys missed" in lines


def test_the_json_holds_every_round(result: EngineResult) -> None:
    whole = json.loads(json.dumps(to_json({"cores": 2}, {"rounds": 2}, [result])))
    (engine,) = whole["engines"]
    (workload,) = engine["workloads"]
    ours = workload["systems"]["ours1"]
    assert whole["machine"] == {"cores": 2}
    assert workload["goal"] == {"floor": 1.35, "peer": 0.7}
    assert ours["cpu_us_per_request"] == 12.5
    assert ours["cpu_to_floor"] == pytest.approx(1.25)
    assert ours["rounds"] == [{"cpu": 12.0}, {"cpu": 13.0}]
    assert engine["memory"]["ours1"] == {"idle_mib": 40.0, "client_kib": 1.5}
    assert engine["start_seconds"]["ours1"] == {"listening": 0.25, "ready": 0.5}


def test_the_machine_is_one_line() -> None:
    facts: dict[str, str | int | float] = {
        "cores": 2,
        "cpu": "X",
        "kernel": "6.1",
        "load": 0.1,
        "shardproxy": "1",
        "python": "3.11",
        "nutcracker": "0.5.0",
    }
    expected = "2 cores (X), Linux 6.1, load 0.1 before; shardproxy 1, python 3.11, nutcracker 0.5.0"
    assert machine_line(facts) == expected
    assert cpu_model("processor\t: 0\nmodel name\t: AMD EPYC \n") == "AMD EPYC"


def test_names_are_taken_in_the_order_of_their_table() -> None:
    known = tuple(STARTERS)
    assert names("ours1,echo", known, "--only") == ("echo", "ours1")
    assert names(None, known, "--only") is None
    with pytest.raises(BenchError, match="--only ours3: choose from direct,echo"):
        names("ours3,echo", known, "--only")


def test_workloads_are_chosen_by_engine() -> None:
    assert [w.name for w in choose(Engine.MEMCACHED, ("multi5", "get50"))] == ["get50"]
    assert {w.name for w in choose(Engine.REDIS, None)} >= {"get50p16", "set500", "get1", "get4k", "mget10"}
    assert len({w.name for w in WORKLOADS}) == len(WORKLOADS)
    for goals in GOALS.values():
        assert set(goals) <= {w.name for w in WORKLOADS}
    assert {w.request for w in WORKLOADS} <= set(TITLES)


def test_resident_memory_is_read_from_the_status() -> None:
    assert status_kib("Name:\tx\nVmHWM:\t 9 kB\nVmRSS:\t   3576 kB\n", "VmRSS") == 3576
    with pytest.raises(ValueError, match="VmRSS"):
        status_kib("", "VmRSS")


def test_a_build_for_debugging_is_known_by_its_checks() -> None:
    assert is_debug_build(b"\x7fELF...attempt to add with overflow...")
    assert not is_debug_build(b"\x7fELF...")
