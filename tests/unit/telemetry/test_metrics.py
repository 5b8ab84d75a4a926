from __future__ import annotations

from pathlib import Path

import pytest

from mainstay.telemetry.metrics import Count, Metrics
from unit.children import run

WORKER = """
import sys, warnings
from pathlib import Path
from mainstay.telemetry.metrics import Metrics, prepare
prepare(Path(sys.argv[1]), wipe=sys.argv[2] == "wipe")
metrics = Metrics()
metrics.count_reply("eco", "index", "hit", 100)
metrics.set_store_bytes(int(sys.argv[3]))
metrics.set_resting("eco", 1)
warnings.simplefilter("ignore", ResourceWarning)
sys.stdout.write(metrics.render().decode())
"""
TOO_LATE = """
import sys
from pathlib import Path
import prometheus_client
from mainstay.telemetry.metrics import prepare
try:
    prepare(Path(sys.argv[1]), wipe=True)
except RuntimeError as error:
    print(error)
"""
STARTING = """
import sys, threading, warnings
from pathlib import Path
from mainstay.telemetry.metrics import Metrics, prepare
prepare(Path(sys.argv[1]), wipe=True)
metrics = Metrics()
metrics.count_reply("eco", "index", "hit", 100)
half_made = Path(sys.argv[1]) / "counter_1.db"
half_made.touch()
threading.Timer(0.1, half_made.unlink).start()
warnings.simplefilter("ignore", ResourceWarning)
sys.stdout.write(metrics.render().decode())
"""
NOT_IMPORTED = """
import sys
import mainstay.telemetry.metrics
print("prometheus_client" in sys.modules)
"""


@pytest.fixture
def metrics() -> Metrics:
    """Counters of one process alone."""
    return Metrics()


def samples(text: str) -> dict[str, float]:
    """The sample lines of a rendering."""
    pairs = (line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    return {name: float(value) for name, value in pairs}


def test_a_worker_that_is_just_starting_spoils_nothing(tmp_path: Path) -> None:
    """Its file is there before it has its size."""
    text = run(STARTING, tmp_path / "metrics")
    assert samples(text)['mainstay_requests_total{ecosystem="eco",kind="index",outcome="hit"}'] == 1


def test_every_count_comes_out_under_its_documented_name(metrics: Metrics) -> None:
    """Names, labels and sums."""
    for _ in range(2):
        metrics.count_reply("eco", "index", "hit", 100)
    metrics.count_reply("eco", "artifact", "miss", 7)
    metrics.count_upstream("eco", "artifact", "ok", 7)
    metrics.count_upstream("eco", "artifact", "error", 1)
    metrics.count_saved("eco", "index", 100)
    metrics.count_refused("eco", "artifact", "IntegrityError")
    metrics.set_store_bytes(12)
    metrics.set_resting("eco", 1)
    assert samples(metrics.render().decode()) == {
        'mainstay_requests_total{ecosystem="eco",kind="index",outcome="hit"}': 2,
        'mainstay_requests_total{ecosystem="eco",kind="artifact",outcome="miss"}': 1,
        'mainstay_bytes_total{ecosystem="eco",kind="index",outcome="hit"}': 200,
        'mainstay_bytes_total{ecosystem="eco",kind="artifact",outcome="miss"}': 7,
        'mainstay_upstream_requests_total{ecosystem="eco",kind="artifact",outcome="ok"}': 1,
        'mainstay_upstream_requests_total{ecosystem="eco",kind="artifact",outcome="error"}': 1,
        'mainstay_upstream_bytes_total{ecosystem="eco",kind="artifact"}': 8,
        'mainstay_upstream_saved_requests_total{ecosystem="eco",kind="index"}': 1,
        'mainstay_upstream_saved_bytes_total{ecosystem="eco",kind="index"}': 100,
        'mainstay_refused_total{ecosystem="eco",kind="artifact",reason="IntegrityError"}': 1,
        "mainstay_store_bytes": 12,
        "mainstay_worker_starts_total": 1,
        'mainstay_upstream_resting{ecosystem="eco"}': 1,
    }


def test_flushing_twice_counts_once(metrics: Metrics) -> None:
    """Only what came since the last flush is handed on."""
    metrics.count_reply("eco", "index", "hit", 5)
    metrics.flush()
    metrics.flush()
    metrics.count_reply("eco", "index", "hit", 5)
    assert samples(metrics.render().decode())['mainstay_bytes_total{ecosystem="eco",kind="index",outcome="hit"}'] == 10


def test_totals_are_a_snapshot_of_this_process(metrics: Metrics) -> None:
    """The receipt's figures do not move afterwards."""
    metrics.count_reply("eco", "index", "hit", 5)
    metrics.count_upstream("eco", "index", "ok", 3)
    metrics.count_saved("eco", "index", 5)
    metrics.count_refused("eco", "index", "TooLarge")
    totals = metrics.totals()
    metrics.count_reply("eco", "index", "hit", 5)
    assert totals.replies == {("eco", "index", "hit"): Count(1, 5)}
    assert totals.upstream == {("eco", "index", "ok"): Count(1, 3)}
    assert totals.saved == {("eco", "index", ""): Count(1, 5)}
    assert totals.refused == {("eco", "index", "TooLarge"): Count(1, 0)}


@pytest.mark.parametrize(
    ("method", "labels"),
    [
        ("count_reply", ("eco", "index", "flask")),
        ("count_reply", ("eco", "flask", "hit")),
        ("count_reply", ("@scope/name", "index", "hit")),
        ("count_upstream", ("eco", "index", "https://registry.example/")),
        ("count_upstream", ("eco", "index", "x" * 40)),
    ],
)
def test_a_label_that_could_be_a_package_name_is_refused(
    metrics: Metrics, method: str, labels: tuple[str, ...]
) -> None:
    """Series stay few: labels are the ecosystem, the kind, the outcome and nothing else."""
    with pytest.raises(ValueError, match=r"is none of|short lower-case word"):
        getattr(metrics, method)(*labels, 1)


def test_a_reason_is_the_name_of_an_error(metrics: Metrics) -> None:
    """Anything else would be free text in a label."""
    with pytest.raises(ValueError, match="flask is bad"):
        metrics.count_refused("eco", "index", "flask is bad")
    with pytest.raises(ValueError, match="short lower-case word"):
        metrics.set_resting("Flask 1.0", 1)


def test_one_process_renders_the_sum_of_all(tmp_path: Path) -> None:
    """Counters add up over processes, also over one that has ended; gauges show the latest; a wipe starts anew."""
    name = 'mainstay_requests_total{ecosystem="eco",kind="index",outcome="hit"}'
    for mode, store_bytes, expected in (("wipe", 10, 1), ("keep", 20, 2), ("keep", 5, 3), ("wipe", 7, 1)):
        found = samples(run(WORKER, tmp_path / "metrics", mode, store_bytes))
        assert found[name] == expected
        assert found["mainstay_store_bytes"] == store_bytes
        assert found['mainstay_upstream_resting{ecosystem="eco"}'] == 1


def test_preparing_too_late_is_an_error(tmp_path: Path) -> None:
    """Counts that no other process would see are not begun silently."""
    assert "before telemetry.metrics.prepare" in run(TOO_LATE, tmp_path / "metrics")


def test_the_module_does_not_import_prometheus() -> None:
    """Otherwise `prepare` would always come too late."""
    assert run(NOT_IMPORTED) == "False\n"
