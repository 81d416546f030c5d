"""Later passes that do what the first one did are followed, not read again; others are read in full.

They are followed by their calls of functions where these show all that matters, else by their operations.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from relucheck.measurements import Activation
from relucheck.tape import passes
from relucheck.tape.probe import measure
from relucheck.tape.recorder import Recorder
from relucheck.tape.replay import CallReplay, OperationReplay, Replay, Trace, Tracer
from relucheck.tape.units import Sites
from relucheck.training import watch


@pytest.fixture
def recorders(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """One entry for each pass that is read in full."""
    made: list[bool] = []

    def recorder(*args: object, **kwargs: object) -> Recorder:
        made.append(True)
        return Recorder(*args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(passes, "Recorder", recorder)
    return made


def fired(layer: nn.Linear, inputs: list[Tensor]) -> tuple[float, ...]:
    """The share of the samples in which each unit is on, by brute force."""
    return tuple((layer(torch.cat(inputs)) > 0).float().mean(0).tolist())


def batches(*sizes: int) -> list[Tensor]:
    return [torch.randn(size, 6) for size in sizes]


def activations(model: nn.Module, inputs: list[Tensor]) -> dict[str, Activation]:
    measured = measure(model, [(x, x) for x in inputs], lambda y, _: y.square().mean())
    return {site.name: site for site in measured.measurements.activations}


def test_only_the_first_of_equal_passes_is_read(recorders: list[bool]) -> None:
    model, inputs = nn.Sequential(nn.Linear(6, 12), nn.ReLU(), nn.Linear(12, 3)), batches(16, 16, 16, 7)
    (site,) = activations(model, inputs).values()
    assert len(recorders) == 1
    assert site.samples == 55
    assert site.activity == pytest.approx(fired(model[0], inputs))


class Branching(nn.Module):
    """Takes one of two paths by the sign of the first number of a batch; both have the same operations."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Linear(6, 12), nn.Linear(6, 12)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu((self.left if x[0, 0] > 0 else self.right)(x))


def test_another_path_with_the_same_operations_is_no_replay(recorders: list[bool]) -> None:
    inputs = batches(8, 8, 8, 8)
    for x, sign in zip(inputs, (1, 1, -1, 1), strict=True):
        x[0, 0] = sign
    model = Branching()
    sites = activations(model, inputs)
    assert len(recorders) == 3  # the first, the third, which is run again in full, and the one after
    assert sites["left:relu"].samples == 24
    assert sites["right:relu"].samples == 8
    assert sites["left:relu"].activity == pytest.approx(fired(model.left, [x for x in inputs if x[0, 0] > 0]))
    assert sites["right:relu"].activity == pytest.approx(fired(model.right, [inputs[2]]))


class Loop(nn.Module):
    """As many steps as the input is long."""

    def __init__(self) -> None:
        super().__init__()
        self.into, self.over = nn.Linear(6, 5), nn.Linear(5, 5)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.zeros(x.shape[0], 5)
        for step in x.unbind(1):
            h = torch.relu(self.into(step) + self.over(h))
        return h


def test_a_longer_sequence_is_no_replay(recorders: list[bool]) -> None:
    inputs = [torch.randn(4, length, 6) for length in (3, 3, 5, 2)]
    (site,) = activations(Loop(), inputs).values()
    assert len(recorders) == 3
    assert site.samples == 16
    assert site.calls == 5


class Annealed(nn.Module):
    """A clamp whose upper bound falls from pass to pass."""

    def __init__(self) -> None:
        super().__init__()
        self.fc, self.bound = nn.Linear(6, 4), 8.0

    def forward(self, x: Tensor) -> Tensor:
        self.bound /= 2
        return self.fc(x).clamp(0.0, self.bound)


def test_an_activation_with_another_bound_is_no_replay(recorders: list[bool]) -> None:
    activations(Annealed(), batches(8, 8))
    assert len(recorders) == 2


class Experts(nn.Module):
    """Each sample goes to one of two experts; an expert may get none."""

    def __init__(self) -> None:
        super().__init__()
        self.experts = nn.ModuleList(nn.Sequential(nn.Linear(6, 4), nn.ReLU()) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        right = x[:, 0] > 0
        return torch.cat([self.experts[0](x[right]), self.experts[1](x[~right])])


def test_an_expert_that_got_no_sample_at_first_is_counted_later() -> None:
    first, second = batches(8, 8)
    first[:, 0] = first[:, 0].abs() + 0.1
    sites = activations(Experts(), [first, second])
    assert set(sites) == {"experts.0.1", "experts.1.1"}
    assert sites["experts.1.1"].samples == 8


def masked(x: Tensor) -> Tensor:
    """ReLU written out; the mask is made by a step of its own."""
    return x * (x > 0)


def in_two_calls(z: Tensor) -> Tensor:
    """One site on batches of two sizes in one pass, which cannot be joined sample by sample."""
    return torch.cat([torch.relu(z[:2]), torch.relu(z[2:])])


class Spelled(nn.Module):
    def __init__(self, act: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.fc1, self.act, self.fc2 = nn.Linear(6, 12), act, nn.Linear(12, 3)
        with torch.no_grad():
            self.fc1.bias[:3] = -25.0

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(self.act(self.fc1(x)))


def cut(z: Tensor) -> Tensor:
    """Parts of the units one after the other, and back."""
    low, high = z.chunk(2, dim=1)
    return torch.stack([low.relu(), high.clamp(0, 6)], 1).transpose(1, 2).flatten(1)


def into(z: Tensor) -> Tensor:
    """An item assignment, which returns nothing."""
    y = torch.zeros_like(z)
    y[:, 1:] = z[:, 1:].sigmoid()
    return y


def scripted(z: Tensor) -> Tensor:
    return torch.jit.trace(lambda x: x.relu(), z.detach())(z)  # type: ignore[no-any-return, no-untyped-call]


def mapped(z: Tensor) -> Tensor:
    return torch.vmap(lambda row: torch.tanh(row) + row.relu())(z)


def half(z: Tensor) -> Tensor:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        return nn.functional.softplus(z @ z.T @ z).float()


def kept_for_later(z: Tensor) -> Tensor:
    return checkpoint(torch.relu, z, use_reentrant=False)  # type: ignore[no-any-return]


def recurrent(z: Tensor) -> Tensor:
    torch.manual_seed(0)
    cell = nn.RNN(12, 12, nonlinearity="relu")
    return cell(z)[0]  # type: ignore[no-any-return]


BY_CALLS: list[Callable[[Tensor], Tensor]] = [
    torch.relu,
    torch.relu_,
    nn.ReLU6(inplace=True),
    nn.Hardtanh(),
    nn.GELU("tanh"),
    masked,
    in_two_calls,
    cut,
    into,
    kept_for_later,
]
BY_OPERATIONS: list[Callable[[Tensor], Tensor]] = [scripted, mapped, recurrent]


def how(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets every later pass be read in full, or followed by its operations."""
    if kind == "read":
        monkeypatch.setattr(passes, "_replayed", lambda session, batch: None)
    elif kind == "operations":
        monkeypatch.setattr(
            Tracer, "trace", property(lambda t: replace(TRACE(t), calls=None) if TRACE(t) else None)
        )


TRACE = Tracer.trace.fget  # type: ignore[attr-defined]


@pytest.mark.parametrize("kind", ["operations", "calls"])
@pytest.mark.parametrize("act", [*BY_CALLS, *BY_OPERATIONS, nn.functional.softsign, half])
def test_counts_are_those_of_reading_every_pass(
    act: Callable[[Tensor], Tensor], kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, inputs = Spelled(act), batches(8, 8, 8)
    with monkeypatch.context() as patched:
        how(kind, patched)
        replayed = activations(model, inputs)
    how("read", monkeypatch)
    assert replayed == activations(model, inputs)
    assert all(site.samples == 24 for site in replayed.values())


@pytest.mark.parametrize("act", [*BY_CALLS, *BY_OPERATIONS])
def test_calls_are_followed_where_they_show_everything(
    act: Callable[[Tensor], Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Replay] = []

    def replay(trace: Trace, sites: Sites) -> Replay:
        made.append(REPLAY(trace, sites))
        return made[-1]

    monkeypatch.setattr(Replay, "of", replay)
    activations(Spelled(act), batches(8, 8, 8))
    assert [type(replay) for replay in made] == [CallReplay if act in BY_CALLS else OperationReplay] * 2
    assert all(replay.done for replay in made)


REPLAY = Replay.of


def test_a_pass_that_turns_out_to_be_another_one_leaves_no_counts() -> None:
    class Late(nn.Module):
        """Does something else after its activations, once."""

        def __init__(self) -> None:
            super().__init__()
            self.body, self.turn = Spelled(in_two_calls), iter((False, True, False, False))

        def forward(self, x: Tensor) -> Tensor:
            y = self.body(x)
            return y.exp().log() if next(self.turn) else y

    (site,) = activations(Late(), batches(8, 8, 8)).values()
    assert site.samples == 24
    assert site.dead == 3


def test_an_error_in_a_replayed_pass_names_its_batch() -> None:
    class Raises(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc, self.left = nn.Linear(6, 4), iter(range(2))

        def forward(self, x: Tensor) -> Tensor:
            if next(self.left, None) is None:
                raise ValueError("no more")
            return torch.relu(self.fc(x))

    with pytest.raises(ValueError, match=r"the model failed on batch 2 .*no more"):
        activations(Raises(), batches(8, 8, 8))


def test_dropout_and_batch_norm_are_replayed(recorders: list[bool]) -> None:
    def layers() -> Iterator[nn.Module]:
        for _ in range(2):
            yield from (nn.Linear(6, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Dropout(0.5))

    assert len(activations(nn.Sequential(*layers()).train(), batches(8, 8, 8))) == 2
    assert len(recorders) == 1


# -- trainings ----------------------------------------------------------------------------------


def trained(model: nn.Module, inputs: list[Tensor], **options: int) -> tuple[int, dict[str, int]]:
    """Inspected steps, and the samples that the report's windows hold by site."""
    with watch(every=1, window=10**9, **options) as watching:
        for x in inputs:
            model(x).square().mean().backward()
            model.zero_grad()
    (network,) = watching.report.networks
    return watching.report.inspected, {site.name: site.samples for site in network.last.activations}


@pytest.mark.parametrize("kind", ["operations", "calls"])
def test_steps_of_a_training_are_replayed(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    how(kind, monkeypatch)
    model, inputs = Spelled(torch.relu), batches(8, 8, 8, 5)
    replays: list[Replay] = []
    monkeypatch.setattr(Replay, "of", lambda *args: replays.append(REPLAY(*args)) or replays[-1])
    with watch(every=1) as watching:
        for x in inputs:
            model(x).square().mean().backward()
    (network,) = watching.report.networks
    (site,) = network.last.activations
    assert [type(replay) for replay in replays] == [CallReplay if kind == "calls" else OperationReplay] * 3
    assert site.samples == 29
    assert site.activity == pytest.approx(fired(model.fc1, inputs))


def test_a_step_that_does_something_else_is_left_out_and_the_next_one_read() -> None:
    inputs = batches(8, 8, 8, 8)
    for x, sign in zip(inputs, (1, 1, -1, -1), strict=True):
        x[0, 0] = sign
    assert trained(Branching(), inputs) == (3, {"left:relu": 16, "right:relu": 8})


def test_every_step_of_a_network_that_varies_is_read() -> None:
    model, inputs = Branching(), batches(*[8] * 12)
    for index, x in enumerate(inputs):
        x[0, 0] = (-1) ** index
    assert trained(model, inputs) == (11, {"left:relu": 48, "right:relu": 40})


def test_two_calls_before_one_backward_are_one_replayed_pass() -> None:
    model, (x, y) = Spelled(torch.relu), batches(8, 8)
    with watch(every=1) as watching:
        for _ in range(4):
            (model(x).sum() + model(y).sum()).backward()
    (network,) = watching.report.networks
    (site,) = network.last.activations
    assert watching.report.inspected == 4
    assert site.dead == 3


def test_a_loop_that_feeds_its_own_output_is_replayed() -> None:
    cell = nn.Sequential(nn.Linear(6, 6), nn.ReLU())
    with watch(every=1) as watching:
        for x in batches(8, 8, 8):
            for _ in range(3):
                x = cell(x)
            x.sum().backward()
    (network,) = watching.report.networks
    assert watching.report.inspected == 3
    assert [site.samples for site in network.last.activations] == [24]
