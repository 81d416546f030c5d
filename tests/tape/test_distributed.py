"""Watching in several processes: what is counted is merged, nobody waits for ever, rank 0 reports."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from click.testing import CliRunner
from torch import distributed, nn

import relucheck
from relucheck.cli_run import Line, run
from relucheck.measurements import NonFinite, Phase
from relucheck.net import Crash
from relucheck.tape import meeting
from relucheck.tape.meeting import Meeting
from relucheck.tape.merging import merged
from relucheck.tape.session import Session
from relucheck.tape.shares import Seen, Share, shares_over
from relucheck.tape.tally import Tally
from relucheck.tape.units import Counts
from relucheck.tape.wrappers import class_name, sharded, unwrapped, without_prefixes
from tests.tape import ranks

if not distributed.is_available() or not distributed.is_gloo_available():
    pytest.skip("needs torch.distributed with gloo", allow_module_level=True)

DEAD = tuple(range(6))
"""Units that no rank sees fire; 32 more fire on the last rank only."""

Results = dict[str, list[dict[str, Any]]]


@pytest.fixture(scope="module")
def launched(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Results]:
    return ranks.launched(tmp_path_factory.mktemp("ranks"))


@pytest.fixture(scope="module")
def two(launched: dict[str, Results]) -> Results:
    return launched["two"]


@pytest.fixture(scope="module")
def four(launched: dict[str, Results]) -> Results:
    return launched["four"]


def one_by_one(world: int) -> dict[str, Any]:
    """One process that runs the batches of all ranks one after the other, with the same weights."""
    data = [batch for rank in range(world) for batch in ranks.batches(rank, world)]
    return ranks.figures(ranks.trained(ranks.network(), data).report)


def concatenated(world: int) -> dict[str, Any]:
    """One process that trains on batches which hold those of all ranks, as DDP is defined."""
    steps = zip(*(ranks.batches(rank, world) for rank in range(world)), strict=True)
    data = [(torch.cat([x for x, _ in parts]), torch.cat([y for _, y in parts])) for parts in steps]
    return ranks.figures(ranks.trained(ranks.network(), data, lr=0.05).report)


# ------------------------------------------------------------------ what is merged


def test_a_unit_is_silent_only_if_it_is_silent_on_every_rank(two: Results) -> None:
    for result in two["ddp"]:
        assert result["sites"]["1"] == (2 * ranks.STEPS * ranks.BATCH, DEAD, ())
        assert result["crashes"] == []


def test_one_rank_of_its_own_would_call_alive_units_dead(two: Results) -> None:
    assert len(two["alone"][0]["sites"]["1"][1]) == 38


@pytest.mark.parametrize("scenario", ["ddp", "ddp_learning", "flat", "original", "nested", "uneven", "seeds"])
def test_all_ranks_have_the_same_report(two: Results, scenario: str) -> None:
    first, second = two[scenario]
    assert (first.pop("ranks"), second.pop("ranks")) == ((0, (0, 1), 2), (1, (0, 1), 2))
    assert first == second
    first["ranks"], second["ranks"] = (0, (0, 1), 2), (1, (0, 1), 2)


@pytest.mark.parametrize("scenario", ["ddp", "flat", "original"])
def test_figures_are_those_of_one_process_with_all_batches(two: Results, scenario: str) -> None:
    """Counts to the last one; gradients, too, although FSDP holds no whole weight between layers."""
    alone, result = one_by_one(2), two[scenario][0]
    assert result["sites"] == alone["sites"]
    assert result["fired"] == alone["fired"]
    for name, (gradient, weight, _) in alone["norms"].items():
        assert result["norms"][name][:2] == pytest.approx((gradient, weight), rel=1e-6)


@pytest.mark.parametrize("scenario", ["ddp", "flat", "original"])
def test_gradients_at_the_outputs_are_over_the_first_batch_of_every_rank(two: Results, scenario: str) -> None:
    firsts = [ranks.batches(rank, 2)[:1] for rank in range(2)]
    parts = [ranks.figures(ranks.trained(ranks.network(), first).report)["norms"] for first in firsts]
    for name, (_, _, rms) in two[scenario][0]["norms"].items():
        assert rms == pytest.approx((sum(part[name][2] ** 2 for part in parts) / 2) ** 0.5, rel=1e-6)


@pytest.mark.parametrize("scenario", ["ddp_learning", "nested"])
def test_counts_are_those_of_training_on_the_concatenated_batches(two: Results, scenario: str) -> None:
    alone, result = concatenated(2), two[scenario][0]
    assert result["sites"] == alone["sites"]
    assert result["fired"] == alone["fired"]


def test_the_same_with_four_ranks(four: Results) -> None:
    alone = one_by_one(4)
    for result in four["ddp"]:
        assert (result["sites"], result["fired"]) == (alone["sites"], alone["fired"])
        assert result["networks"] == [("Sequential", (0, 1, 2, 3), 6, [4 * ranks.STEPS * ranks.BATCH])]
    learnt = concatenated(4)
    for scenario in ("ddp_learning", "nested"):
        assert four[scenario][3]["fired"] == learnt["fired"]


@pytest.mark.parametrize("scenario", ["ddp_learning", "nested", "flat_learning", "original_learning"])
def test_the_updates_are_those_of_whole_weights(two: Results, scenario: str) -> None:
    """Also where no rank holds one: the squares of the shards' changes add up."""
    alone, result = concatenated(2), two[scenario][0]
    for name, update in alone["updates"].items():
        assert result["updates"][name] == pytest.approx(update, rel=1e-3)
    (first,) = alone["first_updates"].values()
    assert result["first_updates"]["Sequential"] == pytest.approx(first, rel=1e-5)


def test_the_same_of_four_shards(four: Results) -> None:
    """The last layer's weight has three rows, so that one rank has none of it."""
    alone = concatenated(4)
    for name, update in alone["updates"].items():
        assert four["nested"][3]["updates"][name] == pytest.approx(update, rel=1e-3)


def test_a_logger_of_one_rank_waits_for_nobody(two: Results) -> None:
    """Figures of a step are of the process that tells them: of its own batch, and of its shards' change."""
    first, second = two["told"]
    assert (len(first["figures"]), second["figures"]) == (
        ranks.STEPS + 1,
        [],
    )  # the last is of the window's end
    told, plain = first["figures"][0], two["nested"][0]
    assert set(told) == {
        f"relucheck/Sequential.{n}/{f}" for n in "024" for f in ("gradient", "elasticity", "update")
    }
    weight = told["relucheck/Sequential.0/elasticity"] / told["relucheck/Sequential.0/gradient"]
    assert weight == pytest.approx(plain["norms"]["0"][1], rel=1e-3)


def test_an_affine_network_is_found(two: Results) -> None:
    for result in two["affine"]:
        assert result["findings"] == [("RLU621", "2")]
        assert "one nn.Linear(8, 3) does the same" in result["messages"][0]
        assert result["crashes"] == []


def test_the_operation_that_is_not_finite_is_found_by_the_rank_whose_batch_it_was(two: Results) -> None:
    for result in two["infinite"]:
        assert ("RLU614", "0") in result["findings"]
        assert "Inf appears first in the output of linear in '0' on batch 0" in result["messages"]
        assert result["crashes"] == []


def test_no_pass_is_run_in_which_other_processes_would_have_to_take_part(two: Results) -> None:
    for result in two["gathering"]:
        assert [message for message in result["messages"] if "appears first" in message] == [
            "NaN appears first in the output of loss on batch 0"
        ]
        assert result["crashes"] == []
    for result in two["linear_gathering"]:
        assert "RLU621" not in [code for code, _ in result["findings"]]
        assert result["crashes"] == []


def test_the_samples_of_all_ranks_fill_a_window(two: Results) -> None:
    """A window of 384 samples is full after three steps of two ranks with 64 each."""
    assert two["ddp_windows"][0]["networks"] == [("Sequential", (0, 1), 6, [384, 384])]


def test_ranks_with_batches_left_over_count_all_of_them(two: Results) -> None:
    assert two["uneven"][0]["sites"]["1"] == ((2 * ranks.STEPS - 2) * ranks.BATCH, DEAD, ())


def test_networks_of_different_weights_are_not_merged(two: Results) -> None:
    (first, own, _, _), (second, other, _, _) = two["seeds"][0]["networks"]
    assert ((first, own), (second, other)) == (("Sequential", (0,)), ("Sequential", (1,)))
    assert "inspected steps on rank 1\n" in two["seeds"][0]["table"]


def test_names_are_those_of_the_users_model(two: Results) -> None:
    for scenario in ("ddp", "flat", "original", "nested"):
        result = two[scenario][0]
        assert result["networks"][0][0] == "Sequential"
        assert (list(result["sites"]), list(result["norms"])) == (["1", "3"], ["0", "2", "4"])


def test_the_table_says_which_ranks_are_in_it(two: Results) -> None:
    assert two["ddp"][0]["table"].startswith("6 steps (backward passes), 6 inspected on each of 2 ranks\n")
    assert two["alone"][0]["table"].startswith(
        "6 steps (backward passes), 6 inspected on rank 0 only, of 2 ranks\n"
    )


# ------------------------------------------------------------------ communication


def test_no_collective_is_added(two: Results) -> None:
    for result in two["collectives"]:
        assert result["watched"] == result["plain"] > 0


def test_nothing_is_sent_outside_inspected_steps(two: Results) -> None:
    for result in two["requests"]:
        after, steps = result["after"], len(result["after"]) - 1
        sent = [step for step in range(steps + 1) if after[step] > (after[step - 1] if step else 0)]
        assert sent[0] == 0
        assert sent[-1] == steps  # the end
        assert set(sent) <= {0, ranks.INSPECTED_EVERY, 2 * ranks.INSPECTED_EVERY + 1, steps}
        assert result["inspected"] == 3


def test_a_rank_that_raises_is_not_waited_for(two: Results, four: Results) -> None:
    assert [r["ranks"] for r in two["raising"]] == [(0, (0,), 2), (1, (1,), 2)]
    healthy = [r["ranks"] for r in four["raising"]]
    assert healthy == [(0, (0, 1, 2), 4), (1, (0, 1, 2), 4), (2, (0, 1, 2), 4), (3, (3,), 4)]
    assert four["raising"][0]["sites"] == four["raising"][2]["sites"]


def test_a_batch_that_is_not_finite_on_one_rank_only(two: Results) -> None:
    """The search for its cause runs a pass, in which the other rank would not take part."""
    for result in two["not_finite"]:
        assert [code for code, _ in result["findings"]] == ["RLU614"]
        assert result["crashes"] == []


def test_a_probe_is_of_one_process(two: Results) -> None:
    assert two["probed"][0]["probed"][0] == ("2", 6)
    assert all("the weights are in shards (FSDP)" in result["refused"] for result in two["probed"])


# ------------------------------------------------------------------ the meeting, without processes


def meetings(world: int) -> list[Meeting]:
    store = distributed.HashStore()
    joined = [Meeting(store, rank, world, "relucheck/test/1") for rank in range(world)]
    for one in joined:
        store.set(one._key("here", one.rank), "1")
    return joined


def test_large_figures_are_sent_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(meeting, "_PART", 100)
    first, second = meetings(2)
    noise = torch.randn(5000)
    second.give(noise)
    assert torch.equal(first.all(torch.zeros(1), 5.0)[1], noise)
    assert first.store.num_keys() > 100


def test_a_process_that_ends_late_is_waited_for_and_one_that_never_does_is_left_out() -> None:
    first, second, _ = meetings(3)
    late = threading.Timer(0.2, lambda: second.give("late"))
    late.start()
    assert first.all("own", 1.0) == {0: "own", 1: "late"}
    late.join()


def test_many_that_do_not_watch_are_waited_for_together(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    clock = SimpleNamespace(monotonic=lambda: now[0], sleep=lambda pause: now.__setitem__(0, now[0] + pause))
    monkeypatch.setattr(meeting, "time", clock)
    only = Meeting(distributed.HashStore(), 0, 64, "relucheck/test/1")
    assert only.all("own", meeting.PATIENCE) == {0: "own"}
    assert meeting.GRACE <= now[0] < meeting.GRACE + 1


def test_figures_that_cannot_be_sent_cost_the_report_not_the_training(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first, second = meetings(2)
    with relucheck.watch(every=1) as watch:
        ranks.network()(torch.randn(10, 8)).sum().backward()
        assert watch._watcher is not None
        watch._watcher.meeting = second
        monkeypatch.setattr(meeting.pickle, "dumps", lambda value: {}[value])
    assert [crash.message for crash in watch._watcher._own().crashes] != []
    assert first.all("own", 5.0) == {0: "own"}


def test_a_fault_of_one_rank_is_told_by_the_others() -> None:
    first, second = meetings(2)
    with relucheck.watch(every=1) as watch:
        ranks.network()(torch.randn(10, 8)).sum().backward()
        assert watch._watcher is not None
        watch._watcher.meeting = second
        watch._watcher.listener.crash = Crash("", "a training step could not be recorded", "")
    seen = first.all(Seen((), 0, 0, ()), 5.0)
    assert [crash.message for crash in seen[1].crashes] == ["a training step could not be recorded"]


def test_the_same_processes_are_found_by_all() -> None:
    every = meetings(3)
    for one in every:
        one.give(f"of {one.rank}")
    found = [one.all(f"of {one.rank}", 5.0) for one in every]
    assert found == [{0: "of 0", 1: "of 1", 2: "of 2"}] * 3


def test_a_store_that_is_gone_costs_the_others_figures_only(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(*_: Any) -> None:
        raise distributed.DistNetworkError("connection closed")

    store = SimpleNamespace(set=gone, check=gone, add=gone)
    one = Meeting(store, 0, 2, "relucheck/test/1")
    one.leave()
    one.give("own")
    assert one.all("own", 1.0) == {0: "own"}
    monkeypatch.setattr(meeting, "in_group", lambda: True)
    monkeypatch.setattr(distributed, "get_rank", lambda: 0)
    monkeypatch.setattr(distributed, "get_world_size", lambda: 2)
    monkeypatch.setattr(distributed.distributed_c10d, "_get_default_store", lambda: store)
    assert Meeting.joined("a:1") is None


def test_watches_meet_by_place_and_number(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second watch at a line meets the second; one that is over for the others is passed over."""
    store, rank = distributed.HashStore(), [0]
    monkeypatch.setattr(meeting, "in_group", lambda: True)
    monkeypatch.setattr(distributed, "get_rank", lambda: rank[0])
    monkeypatch.setattr(distributed, "get_world_size", lambda: 2)
    monkeypatch.setattr(distributed.distributed_c10d, "_get_default_store", lambda: store)

    def joined(place: str, of: int) -> Meeting:
        rank[0] = of
        one = Meeting.joined(place)
        assert one is not None
        return one

    alone = joined("train.py:1", 0)
    assert alone.all("own", 0.1) == {0: "own"}  # rank 1 has not come
    again, other = joined("train.py:1", 0), joined("train.py:1", 1)
    assert again.name == other.name != alone.name
    assert (again.present, joined("train.py:9", 0).present) == (2, 1)


def test_the_live_line_is_that_of_rank_0(capsys: pytest.CaptureFixture[str]) -> None:
    watcher: Any = SimpleNamespace(step=3, inspections=1, subjects={}, meeting=SimpleNamespace(rank=1))
    Line().told(watcher)
    assert capsys.readouterr().err == ""
    watcher.meeting.rank = 0
    Line().told(watcher)
    assert "step 3, 1 inspected" in capsys.readouterr().err


# ------------------------------------------------------------------ tallies


def tally_of(*sizes: int) -> Tally:
    with relucheck.watch(every=1, window=float("inf")) as watch:
        model = ranks.network()
        for size in sizes:
            model(torch.randn(size, 8)).sum().backward()
    (share,) = watch._watcher._own().shares
    return share.first


def test_every_figure_is_merged() -> None:
    """A field that is added to what is kept must be merged as well."""
    assert {f.name for f in fields(Tally)} == {
        "name", "has_loss", "sites", "watch", "sums", "updates", "outputs", "weights", "read", "input_signal",
        "detached", "non_finite", "samples", "batches", "training", "optimiser", "affine",
        "first_updates", "lost", "loss_scale",
    }  # fmt: skip
    assert {f.name for f in fields(Counts)} == {
        "function", "plateau", "units", "by_sample", "fired", "on", "responded", "samples", "calls", "producer",
        "raw", "node", "span", "signal", "certified", "current",
        "bins", "cosine", "dimension",
    }  # fmt: skip
    assert {f.name for f in fields(Session)} - {f.name for f in fields(Tally)} == {
        "model", "names", "loss_fn", "batch_axis", "gathered", "first_batch",
        "moving", "trace", "reentrant", "unbatched",
    }  # fmt: skip


def test_a_site_that_only_one_rank_reached_is_kept() -> None:
    """An expert that the samples of the first rank were not sent to."""
    first, second = tally_of(10), tally_of(20)
    missing = next(iter(first.sites.counts))
    del first.sites.counts[missing]
    (site,) = [c for key, c in merged([first, second]).sites.counts.items() if key == missing]
    assert (site.samples, site.node) == (20, None)


def test_the_first_fault_of_all_ranks_is_reported() -> None:
    first, second = tally_of(10), tally_of(10)
    first.non_finite = NonFinite(Phase.FORWARD, "NaN", "loss", "", 7)
    second.non_finite = NonFinite(Phase.INPUT, "Inf", "input", "", 3)
    assert merged([first, second]).non_finite == second.non_finite


def test_twins_on_one_rank_stay_two() -> None:
    """Two networks that begin with the same weights are told apart, rank by rank, by their order."""
    with relucheck.watch(every=1) as watch:
        for model in (ranks.network(), ranks.network()):
            model(torch.randn(10, 8)).sum().backward()
    shares: tuple[Share, ...] = watch._watcher._own().shares
    together = shares_over({0: shares, 1: shares})
    assert [(share.ranks, share.first.samples) for share in together] == [((0, 1), 20), ((0, 1), 20)]
    assert isinstance(watch._watcher._own(), Seen)


# ------------------------------------------------------------------ wrappers


def test_wrappers_are_taken_off() -> None:
    model = ranks.network()
    assert unwrapped(nn.DataParallel(model)) is model
    assert unwrapped(torch.compile(nn.DataParallel(model), backend="eager")) is model
    assert unwrapped(model) is model
    assert (class_name(model), sharded(model)) == ("Sequential", False)
    assert without_prefixes("_orig_mod.module.fc._fsdp_wrapped_module.weight") == "fc.weight"


# ------------------------------------------------------------------ relucheck run

TRAIN = """
import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

distributed.init_process_group("gloo")
torch.manual_seed(0)
model = nn.Sequential(nn.Linear(8, 20), nn.ReLU(), nn.Linear(20, 3))
with torch.no_grad():
    model[0].bias[:12] = -25.0
wrapped = DistributedDataParallel(model)
optimizer = torch.optim.SGD(wrapped.parameters(), 0.01)
torch.manual_seed(distributed.get_rank())
for step in range(8):
    optimizer.zero_grad()
    loss = nn.functional.cross_entropy(wrapped(torch.randn(64, 8)), torch.randint(0, 3, (64,)))
    loss.backward()
    optimizer.step()
distributed.destroy_process_group()
"""


def test_torchrun(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(TRAIN)
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [sys.executable, *launcher, "-m", "relucheck", "run", "train.py"],
        cwd=tmp_path,
        env=ranks.environment(),
        capture_output=True,
        text=True,
        timeout=ranks.LIMIT,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    assert re.findall(r"relucheck: .*", done.stderr) == [
        "relucheck: 8 steps (backward passes), 5 inspected on each of 2 ranks"
    ]
    assert done.stderr.count("12 of 20 units (60%) of '1' are dead on all 384 samples") == 1


def test_rank_0_alone_reports_and_has_the_status_of_findings(two: Results) -> None:
    first, second = two["command"]
    assert first["said"].count("50 of 64 units (78%) of '1' are dead on all ") == 1
    assert "5 inspected on each of 2 ranks" in first["said"]
    assert (first["status"], second["status"], second["said"]) == (1, 0, "")


def test_a_script_that_ends_in_an_exception_on_another_rank(two: Results) -> None:
    first, second = two["command_raising"]
    assert "5 inspected on rank 0 only, of 2 ranks" in first["said"]
    assert "ValueError: too much" in second["said"]
    assert "relucheck:" not in second["said"]
    assert second["status"] == 1


def test_the_launcher_says_who_reports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the script does not get as far as a process group."""
    (tmp_path / "train.py").write_text("print('trained')")
    monkeypatch.setenv("RANK", "1")
    done = CliRunner().invoke(run, [str(tmp_path / "train.py")], standalone_mode=False)
    assert (done.return_value, done.stdout, done.stderr) == (0, "trained\n", "")


def test_a_step_is_the_users_own_again_afterwards() -> None:
    """Nothing of the watching of a wrapped model is left on it."""
    model = nn.DataParallel(ranks.network())
    ranks.trained(model, ranks.batches(0, 1))
    assert all(p._backward_hooks is None for p in model.parameters())
    F.cross_entropy(model(torch.randn(4, 8)), torch.zeros(4, dtype=torch.long)).backward()
