"""What ``on_step`` of ``relucheck.watch`` hears, against what the loop itself computes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import relucheck
from relucheck.timeline import Inspection
from tests.tape.test_watch import mlp, traces


@pytest.fixture(autouse=True)
def _no_trace() -> Any:
    before = traces()
    yield
    assert traces() == before


def weights(model: nn.Module) -> dict[str, Tensor]:
    return {n.removesuffix(".weight"): p.detach().clone() for n, p in model.named_parameters() if p.ndim == 2}


def test_figures_are_those_of_the_step_itself() -> None:
    model, heard, expected = mlp(12), [], []
    optimiser = torch.optim.Adam(model.parameters(), 1e-2)
    with relucheck.watch(model, every=3, first=2, on_step=heard.append):
        for step in range(9):
            optimiser.zero_grad()
            F.cross_entropy(model(torch.randn(32, 8)), torch.randint(0, 3, (32,))).backward()
            before, flow = weights(model), {}
            for layer, weight in before.items():
                gradient = model[int(layer)].weight.grad.norm().item()  # type: ignore[union-attr, operator]
                flow[f"relucheck/{layer}/gradient"] = gradient
                flow[f"relucheck/{layer}/elasticity"] = gradient * weight.norm().item()
            optimiser.step()
            for layer, weight in weights(model).items():
                change = (weight - before[layer]).norm() / before[layer].norm()
                flow[f"relucheck/{layer}/update"] = change.item()
            if step in (0, 1, 4, 8):
                expected.append((step, flow))
    *steps, end = heard  # the end of the watching closes a window of 128 samples
    for seen, (step, flow) in zip(steps, expected, strict=True):
        assert seen.step == step
        assert seen.figures == pytest.approx(flow, rel=1e-4)
    assert (end.step, list(end.figures.values())) == (8, [0.6])


def test_units_are_told_when_a_window_is_complete() -> None:
    model, heard, inputs = mlp(12), [], []
    optimiser = torch.optim.SGD(model.parameters(), 1e-9)
    with relucheck.watch(model, every=1, window=100, on_step=heard.append) as watch:
        for _ in range(5):
            inputs.append(torch.randn(50, 8))
            model(inputs[-1]).sum().backward()
            optimiser.step()
    told = [(seen.step, seen.figures.get("relucheck/1/silent")) for seen in heard]
    silent = [
        (model[0](torch.cat(inputs[at : at + 2])) <= 0).all(0).double().mean().item() for at in (0, 2, 4)
    ]
    assert told == [(0, None), (1, silent[0]), (2, None), (3, silent[1]), (4, None), (4, silent[2])]
    assert [moment.silent["1"] for moment in watch.report.networks[0].moments] == silent
    assert heard[1].activity["relucheck/1/activity"] == pytest.approx(
        (model[0](torch.cat(inputs[:2])) > 0).float().mean(0).tolist()
    )


def test_saturation_of_what_is_not_one_sided() -> None:
    model, heard = nn.Sequential(nn.Linear(8, 10), nn.Tanh(), nn.Linear(10, 1)), []
    with torch.no_grad():
        model[0].bias[:4] = 30.0
    with relucheck.watch(model, every=1, on_step=heard.append):
        model(torch.randn(300, 8)).sum().backward()
    assert {k: v for seen in heard for k, v in seen.figures.items() if "/1/" in k} == {
        "relucheck/1/saturated": 0.4
    }


def updates(heard: list[Inspection]) -> list[tuple[int, dict[str, float]]]:
    """By step, as far as a gradient was seen: the end of the watching tells of units only."""
    return [
        (seen.step, {k.split("/")[1]: v for k, v in seen.figures.items() if k.endswith("/update")})
        for seen in heard
        if any(name.endswith("/gradient") for name in seen.figures)
    ]


def test_a_closure_has_its_own_update() -> None:
    """An optimiser that calls the backward pass itself: its step is that of the pass inside."""
    model, heard, sizes = mlp(), [], []
    optimiser = torch.optim.SGD(model.parameters(), 0.5)

    def closure() -> Tensor:
        optimiser.zero_grad()
        loss = F.cross_entropy(model(torch.randn(32, 8)), torch.randint(0, 3, (32,)))
        loss.backward()
        return loss

    with relucheck.watch(model, every=2, first=0, on_step=heard.append):
        for _ in range(4):
            before = weights(model)
            optimiser.step(closure)
            sizes.append(
                {k: ((w - before[k]).norm() / before[k].norm()).item() for k, w in weights(model).items()}
            )
    assert updates(heard) == [(0, pytest.approx(sizes[0], rel=1e-4)), (2, pytest.approx(sizes[2], rel=1e-4))]


def test_two_optimisers_after_one_backward_pass() -> None:
    model, heard = mlp(), []
    first, second = (torch.optim.SGD(model[i].parameters(), 0.1) for i in (0, 2))
    with relucheck.watch(model, every=1, on_step=heard.append):
        for _ in range(2):
            model.zero_grad()
            model(torch.randn(32, 8)).square().mean().backward()
            first.step()
            second.step()
    assert [(step, set(of)) for step, of in updates(heard)] == [(0, {"0", "2"}), (1, {"0", "2"})]


def test_the_update_of_accumulated_gradients_is_that_of_the_last_part() -> None:
    model, heard = mlp(), []
    optimiser = torch.optim.SGD(model.parameters(), 0.1)
    with relucheck.watch(model, every=1, on_step=heard.append):
        for step in range(4):
            model(torch.randn(32, 8)).square().mean().backward()
            if step % 2:
                optimiser.step()
                optimiser.zero_grad()
    assert [(step, len(of)) for step, of in updates(heard)] == [(0, 0), (1, 2), (2, 0), (3, 2)]


def test_an_inspected_part_waits_for_the_optimiser() -> None:
    model, heard = mlp(), []
    optimiser = torch.optim.SGD(model.parameters(), 0.1)
    with relucheck.watch(model, every=9, first=1, on_step=heard.append):
        for step in range(4):
            model(torch.randn(32, 8)).square().mean().backward()
            if step == 3:
                optimiser.step()
    assert [(step, len(of)) for step, of in updates(heard)] == [(0, 2)]


class Pair(nn.Module):
    """Two networks that are called one by one, as in an autoencoder's training step."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.decoder = mlp(12), nn.Sequential(nn.Linear(3, 16), nn.ReLU(), nn.Linear(16, 8))


def test_the_parts_of_a_model_are_told_apart_by_their_paths() -> None:
    pair, other, heard = Pair(), mlp(3), []
    with relucheck.watch(pair, every=1, on_step=heard.append) as watch:
        for _ in range(10):
            x = torch.randn(32, 8)
            loss = (pair.decoder(pair.encoder(x)) - x).square().mean() + other(x).square().mean()
            loss.backward()
    assert [network.name for network in watch.report.networks] == [
        "encoder (Sequential)",
        "decoder (Sequential)",
    ]
    assert [(site.dead, site.units, site.samples) for site in watch.report.activations[:1]] == [(12, 20, 320)]
    assert {name.split("/")[1] for seen in heard for name in seen.figures} == {
        "encoder.0", "encoder.1", "encoder.2", "decoder.0", "decoder.1", "decoder.2",
    }  # fmt: skip


def test_networks_of_no_model_are_told_apart_by_their_classes() -> None:
    first, second, heard = mlp(), mlp(), []
    with relucheck.watch(every=1, on_step=heard.append):
        (first(torch.randn(4, 8)) + second(torch.randn(4, 8))).sum().backward()
    assert [n for n in heard[0].figures if n.endswith("gradient")] == [
        "relucheck/Sequential.0/gradient",
        "relucheck/Sequential.2/gradient",
        "relucheck/Sequential#2.0/gradient",
        "relucheck/Sequential#2.2/gradient",
    ]


def test_a_pass_that_no_backward_pass_reaches_is_not_counted() -> None:
    """Units that fire only where a generator makes samples for the other network's step."""
    maker = nn.Sequential(nn.Linear(1, 4), nn.ReLU(), nn.Linear(4, 2))
    judge = nn.Linear(2, 1)
    with torch.no_grad():
        maker[0].weight.fill_(1.0)
        maker[0].bias.zero_()
    with relucheck.watch(maker, every=1) as watch:
        for _ in range(3):
            judge(maker(torch.ones(20, 1)).detach()).sum().backward()
            judge(maker(-torch.ones(20, 1))).sum().backward()
    (site,) = watch.report.activations
    assert (site.dead, site.samples) == (4, 60)


def test_an_error_of_the_logger_is_the_users() -> None:
    def fail(_: Inspection) -> None:
        raise OSError("disk full")

    model = mlp()
    optimiser = torch.optim.SGD(model.parameters(), 0.1)

    def step() -> None:
        with relucheck.watch(model, on_step=fail):
            model(torch.randn(4, 8)).sum().backward()
            optimiser.step()

    with pytest.raises(OSError, match="disk full"):
        step()


def test_after_an_exception_nothing_more_is_told() -> None:
    model, heard = mlp(), []

    def step() -> None:
        with relucheck.watch(model, on_step=heard.append):
            model(torch.randn(4, 8)).sum().backward()
            raise ValueError("x")

    with pytest.raises(ValueError, match="x"):
        step()
    assert heard == []


def test_what_ended_without_a_word_is_left_at_the_next_pass() -> None:
    before, model, running = traces(), mlp(), [True]
    watch = relucheck.watch(model, every=1, alive=lambda: running[0])
    watch.__enter__()
    model(torch.randn(4, 8)).sum().backward()
    running[0] = False
    assert traces() != before
    model(torch.randn(4, 8))
    assert traces() == before
    assert watch.report.steps == 1


def test_what_was_put_on_top_since_stays() -> None:
    plain, model, called = torch.Tensor.backward, mlp(), []
    watch = relucheck.watch(model, every=1)
    with watch:
        under = torch.Tensor.backward

        def top(self: Tensor) -> None:
            called.append(self)
            under(self)

        torch.Tensor.backward = top  # type: ignore[method-assign, assignment]
    assert torch.Tensor.backward is top
    model(torch.randn(4, 8)).sum().backward()
    torch.Tensor.backward = plain  # type: ignore[method-assign]
    assert (len(called), watch.report.steps) == (1, 0)


def test_a_logger_must_be_callable() -> None:
    with pytest.raises(TypeError, match="on_step must be callable, not dict"):
        relucheck.watch(on_step={})  # type: ignore[arg-type]
