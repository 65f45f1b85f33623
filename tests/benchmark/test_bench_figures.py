"""The benchmark's own arithmetic: percentiles, what counts of a generator's log, bytes of a request, cells, tables."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from bench import cell, figures, inside, load, report, wire


def test_percentile_is_the_smallest_value_that_the_share_does_not_exceed() -> None:
    values = [float(number) for number in range(1, 101)]
    shares = (0.0, 0.01, 0.5, 0.501, 0.99, 1.0)
    assert [figures.percentile(values, share) for share in shares] == [1, 1, 50, 51, 99, 100]
    assert figures.percentile([7.0], 0.5) == 7.0


def test_figures_count_every_request_in_the_histogram() -> None:
    random = Random(7)
    latencies = [random.expovariate(1000) for _ in range(5000)]
    found = figures.from_latencies(latencies, seconds=2.0, refused=3)
    assert found.rate == 2500 and found.count == 5000 and found.refused == 3
    assert sum(found.histogram.values()) == 5000
    assert found.p50 < found.p99 <= found.worst == max(latencies)


def test_bar_of_the_histogram_holds_what_is_at_its_edge_or_above() -> None:
    assert figures.from_latencies([0.001], 1.0).histogram == {"1000": 1}


def test_spread_has_the_middle_and_the_ends() -> None:
    assert figures.Spread.of([5.0, 1.0, 2.0]) == figures.Spread(2.0, 1.0, 5.0)


def _log(tmp_path: Path, *lines: tuple[int, int, int]) -> Path:
    path = tmp_path / "requests.log"
    path.write_text("".join(f"{start}\t{status}\t{micros}\n" for start, status, micros in lines))
    return path


def test_only_requests_that_ended_in_the_counted_time_make_the_rate(tmp_path: Path) -> None:
    second = 1_000_000
    log = _log(
        tmp_path, (0, 200, 10), (second - 20, 200, 10), (second - 5, 200, 10), (2 * second, 200, 10),
        (3 * second - 5, 200, 10), (3 * second + 5, 200, 10),
    )  # fmt: skip
    outcome = load._read(log, warm=1.0, seconds=2.0)
    assert outcome.done == 6
    assert outcome.figures.count == 2 and outcome.figures.rate == 1.0


def test_refused_requests_are_counted_apart(tmp_path: Path) -> None:
    outcome = load._read(_log(tmp_path, (0, 200, 10), (5, 531, 10), (9, 417, 10)), warm=0.0, seconds=1.0)
    assert outcome.done == 1 and outcome.figures.refused == 2


def test_load_without_any_success_says_what_came_instead(tmp_path: Path) -> None:
    with pytest.raises(load.LoadFailed, match="'531': 2"):
        load._read(_log(tmp_path, (0, 531, 10), (5, 531, 10)), warm=0.0, seconds=1.0)


@pytest.mark.parametrize("size", [1, 127, 128, 256, 16_383, 16_384, 61_440])
def test_put_of_grpc_can_be_read_back(size: int) -> None:
    frame = wire.grpc_put(b"bench", wire.value(size))
    assert frame[0] == 0 and int.from_bytes(frame[1:5], "big") == len(frame) - 5
    fields, rest = {}, frame[5:]
    while rest:
        tag, rest = _varint(rest)
        length, rest = _varint(rest)
        fields[tag >> 3], rest = rest[:length], rest[length:]
    assert fields == {1: b"bench", 2: wire.value(size)}


def _varint(data: bytes) -> tuple[int, bytes]:
    number = 0
    for place, byte in enumerate(data):
        number |= (byte & 0x7F) << 7 * place
        if byte < 0x80:
            return number, data[place + 1 :]
    raise AssertionError("cut off")


def test_request_of_an_endpoint_is_whole() -> None:
    endpoint = wire.Endpoint(1, "127.0.0.1", 80, "PUT", "/kv/a", (("X-One", "1"),), b"body")
    assert endpoint.request() == (
        b"PUT /kv/a HTTP/1.1\r\nHost: 127.0.0.1:80\r\nContent-Length: 4\r\nX-One: 1\r\n\r\nbody"
    )


def test_names_of_cells_differ_and_choose_themselves() -> None:
    cells = cell.all_cells()
    names = [one.name for one in cells]
    assert len(set(names)) == len(names) and {"disk", "http-64-256", "bytes-7-64-256", "failover"} <= set(names)
    assert all(cell.choose([one.name], cells) == [one] for one in cells)
    assert {one.nodes for one in cell.choose(["bytes-*"], cells)} == {3, 5, 7}
    assert cell.choose(["no-such-*"], cells) == []


def test_quick_form_has_every_kind() -> None:
    assert {one.kind for one in cell.quick_cells()} == set(cell.KINDS)


def test_table_has_medians_ends_and_what_failed_left_empty() -> None:
    samples = [
        {"cell": "http-1-256", "system": "etcd", "round": number, "values": {"rate": rate, "p50": 0.001}}
        for number, rate in enumerate((900.0, 1000.0, 1200.0), 1)
    ]
    samples.append({"cell": "http-1-256", "system": "qluster", "round": 1, "failed": "LoadFailed: no"})
    text = report.table({"samples": samples})
    assert "| http-1-256 | etcd | 1,000 (900 to 1,200) | 1.00 |" in text
    assert "| http-1-256 | qluster |  |  |" in text
    assert "failed: LoadFailed: no" in report.line(samples[-1])


def test_outcome_survives_the_way_to_the_benchmark() -> None:
    outcome = load.Outcome(figures.from_latencies([0.1, 0.2], 1.0), 2)
    assert inside.outcome_line(outcome).endswith(b"}\n")
