"""One network in a training loop: the figures of its inspected steps, window by window.

A unit that fired in the first steps may have died since, so figures over a whole training would say
nothing about its end. A *window* is a run of inspected steps with enough samples to judge a unit;
each is a session of its own, read and counted as a probe does it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from torch import Tensor, nn

from relucheck.measurements import DETERMINED_FROM, Affine, NonFinite, Verdict
from relucheck.tape.affine import affine_path, identities, judge_affine
from relucheck.tape.alone import CommunicatesError, alone
from relucheck.tape.batches import Batch
from relucheck.tape.finite import finite
from relucheck.tape.meeting import in_group
from relucheck.tape.names import Names
from relucheck.tape.probe import Measured
from relucheck.tape.reference import keep_lost_of_step
from relucheck.tape.session import Session
from relucheck.tape.shares import Share
from relucheck.tape.state import no_trace, settle_modes
from relucheck.tape.tally import Tally
from relucheck.tape.underflow import Lost
from relucheck.tape.windows import Window
from relucheck.tape.wrappers import sharded, unwrapped
from relucheck.timeline import Moment, thinned


@dataclass(slots=True)
class Subject:
    """A network whose own call was the outermost one, with everything kept about it.

    ``lost`` are the gradients that half precision loses, counted once, and ``scale`` what the loss was multiplied
    by then; ``updated`` are the weights that an optimiser was seen to step.
    ``path`` is what its layers' names begin with where networks are told apart, ``title`` what the
    report calls it. ``untold`` is a window that has closed and that no logger has heard of.
    ``varies``: its passes do not all do the same. ``ranks`` processes run copies of it, whose samples
    count together; ``sharded``: each holds a part of the weights.
    """

    model: nn.Module
    names: Names
    session: Session
    sharded: bool
    window: float = DETERMINED_FROM
    path: str = ""
    title: str = ""
    optimiser: str = ""
    since: int = 0
    until: int = 0
    lost: Mapping[str, Lost] | None = None
    scale: float = 1.0
    updated: set[str] = field(default_factory=set)
    steps: int = 0
    ranks: int = 1
    norms: dict[str, float] = field(default_factory=dict)
    windows: list[Window] = field(default_factory=list)
    first: Tally | None = None
    last: Tally | None = None
    non_finite: NonFinite | None = None
    affine: Affine | None = None
    varies: bool = False
    untold: Tally | None = None

    @classmethod
    def of(cls, called: nn.Module, window: float, path: str, title: str) -> Subject:
        """The network behind a call, which may be that of a wrapper."""
        model = unwrapped(called)
        names = Names.of(model)
        session = Session.of(model, names, has_loss=True)
        return cls(model, names, session, sharded(called), window, path, title)

    @property
    def full(self) -> bool:
        """Whether the window has enough samples to judge a unit."""
        return self.session.samples * self.ranks >= self.window

    @property
    def latest(self) -> Moment | None:
        """The last window that has ended."""
        return self.windows[-1].moment if self.windows else None

    def renew(self, step: int, ranks: int = 1) -> Session:
        """The session for an inspected step, a new one where the window before is full."""
        self.ranks = ranks
        self.close_if_full()
        if self.session.batches == 0:
            self.since = step
        self.until = step
        return self.session

    def judge(self, batch: Batch) -> None:
        """Whether the network is affine, asked once, on the first batch, where its operations allow it.

        In a distributed training the passes are this process's own, and the question stays open where the
        model needs the others, as it always does where its weights are in shards.
        """
        if not self.norms:
            self.norms = {name: weight.norm for name, weight in self.session.weights_now().items()}
        if self.affine is not None or self.sharded:
            return
        net = self.session.net
        path = affine_path(net, identities(net, self.model))
        if path is None:
            self.affine = Affine(Verdict.NOT_AFFINE)
            return
        try:
            with no_trace(self.model), alone():
                settle_modes(self.model)
                self.affine = judge_affine(self.model, batch, path, net)
        except CommunicatesError:
            self.affine = Affine()

    def count_lost(self, batch: Batch, received: Sequence[Tensor | None], scale: float) -> None:
        """What half precision takes from the gradients, asked once, on the first pass that did not overflow.

        Later shares are no measure: up to 70 % were harmless, since a fitted sample has hardly a gradient.
        Never asked in a distributed training, as it takes a pass of its own.
        """
        if self.lost is not None or in_group() or not all(finite(g) for g in received if g is not None):
            return
        with no_trace(self.model):
            settle_modes(self.model)
            keep_lost_of_step(self.session, batch, received)
        self.lost, self.scale = self.session.lost, scale

    def close_if_full(self) -> None:
        """Ends the window once it has the samples to judge a unit by."""
        if self.full:
            self.close()

    def close(self) -> None:
        """Ends a window; one with too few samples at the end does not replace a full one."""
        session = self.session
        if session.batches and session.read is not None:
            tally = self._tally(session)
            self.windows = thinned([*self.windows, Window.of(tally, self.since, self.until)])
            self.first, self.untold = self.first or tally, tally
            if self.last is None or self.full:
                self.last = tally
        self.session = Session.of(self.model, self.names, has_loss=True)

    def told(self) -> Measured | None:
        """The window that closed since this was asked last."""
        tally, self.untold = self.untold, None
        return Measured.of(tally) if tally is not None else None

    def _tally(self, session: Session) -> Tally:
        affine = self.affine if self.first is None else None
        session.lost, session.loss_scale = dict(self.lost or {}), self.scale
        tally = session.sealed(self.model.training, self.optimiser)
        return replace(tally, affine=affine or Affine(), non_finite=self.non_finite)

    @property
    def share(self) -> Share | None:
        """All of it, without the model; None before the first window has ended."""
        if self.first is None or self.last is None:
            return None
        parameters = tuple(self.names.parameters.values())
        return Share(
            parameters, self.norms, self.steps, tuple(self.windows), self.first, self.last, title=self.title
        )
