from __future__ import annotations

from pathlib import Path

import pytest
from loadtests.knee import draw, knee, levels, read

COLUMNS = "Timestamp,User Count,Type,Name,Requests/s,50%,99%"
CAPACITY = 100.0


def history(folder: Path, *, rate: float = 0.0) -> Path:
    """Four users more each ten seconds, ten calls a second each, on a service that answers a hundred a second."""
    rows = [COLUMNS, "1000,0,,Aggregated,0,N/A,N/A"]
    for second in range(50):
        users = 4 * (second // 10 + 1)
        wanted = users * (rate or 10.0)
        p99 = 50 if wanted <= CAPACITY else 2000
        rows.append(f"{1001 + second},{users},REST,classify,{min(wanted, CAPACITY)},20,{p99}")
        rows.append(f"{1001 + second},{users},REST,malformed,1.0,1,2")
        if wanted > CAPACITY:
            rows.append(f"{1001 + second},{users},REST,classify shed,{wanted - CAPACITY},1,2")
        if rate:
            rows.append(f"{1001 + second},{users},open loop,sends,{wanted},0,0")
        rows.append(f"{1001 + second},{users},,Aggregated,{wanted},20,{p99}")
    rows.append("1051,0,REST,classify,0,20,50")
    (folder / "history.csv").write_text("\n".join(rows))
    return folder / "history.csv"


def test_each_number_of_users_that_was_held_is_one_level(tmp_path: Path) -> None:
    held = levels(read(history(tmp_path)))
    assert [moment.users for moment in held] == [4, 8, 12, 16, 20]
    assert [moment.per_second["REST classify"] for moment in held] == [40, 80, 100, 100, 100]
    assert [moment.p99_seconds["REST classify"] for moment in held] == [0.05, 0.05, 2, 2, 2]


def test_users_on_their_way_to_another_number_are_no_level(tmp_path: Path) -> None:
    path = history(tmp_path)
    path.write_text(path.read_text().replace("1021,12,", "1021,11,"))
    assert [moment.users for moment in levels(read(path))] == [4, 8, 12, 16, 20]


def test_the_knee_is_where_throughput_no_longer_follows(tmp_path: Path) -> None:
    assert knee(levels(read(history(tmp_path)))).users == 12


def test_refusals_are_no_throughput(tmp_path: Path) -> None:
    held = levels(read(history(tmp_path)))
    assert held[-1].per_second["REST classify shed"] == 100
    assert knee(held).per_second["REST classify"] == 100


def test_an_open_loop_is_drawn_over_what_it_offered(tmp_path: Path) -> None:
    held = levels(read(history(tmp_path, rate=20.0)))
    assert [moment.offered for moment in held] == [80, 160, 240, 320, 400]


def test_malformed_files_are_left_out(tmp_path: Path) -> None:
    assert not any("REST malformed" in moment.per_second for moment in read(history(tmp_path)))


@pytest.mark.parametrize("over_time", [True, False])
@pytest.mark.parametrize("rate", [0.0, 20.0])
def test_a_run_is_drawn(tmp_path: Path, over_time: bool, rate: float) -> None:
    pytest.importorskip("matplotlib")
    moments = read(history(tmp_path, rate=rate))
    draw(moments if over_time else levels(moments), tmp_path / "load.png", over_time=over_time)
    assert (tmp_path / "load.png").read_bytes().startswith(b"\x89PNG")


def test_a_run_that_measured_nothing_has_no_levels(tmp_path: Path) -> None:
    (tmp_path / "history.csv").write_text(f"{COLUMNS}\n1000,0,,Aggregated,0,N/A,N/A\n")
    assert read(tmp_path / "history.csv") == []
    assert levels([]) == []
