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
from relucheck.tape.batches import Batch
from relucheck.tape.figures import measurements_of
from relucheck.tape.finite import finite
from relucheck.tape.names import Names
from relucheck.tape.probe import Measured
from relucheck.tape.reference import keep_lost_of_step
from relucheck.tape.session import Session
from relucheck.tape.state import no_trace, settle_modes
from relucheck.tape.underflow import Lost
from relucheck.timeline import Moment, moment_of, thinned


@dataclass(slots=True)
class Subject:
    """A network whose own call was the outermost one, with everything kept about it.

    ``lost`` are the gradients that half precision loses, counted once, and ``scale`` what the loss was multiplied
    by then; ``updated`` are the weights that an optimiser was seen to step.
    """

    model: nn.Module
    names: Names
    session: Session
    window: float = DETERMINED_FROM
    optimiser: str = ""
    since: int = 0
    until: int = 0
    lost: Mapping[str, Lost] | None = None
    scale: float = 1.0
    updated: set[str] = field(default_factory=set)
    steps: int = 0
    moments: list[Moment] = field(default_factory=list)
    first: Measured | None = None
    last: Measured | None = None
    non_finite: NonFinite | None = None
    affine: Affine | None = None

    @classmethod
    def of(cls, model: nn.Module, window: float) -> Subject:
        names = Names.of(model)
        return cls(model, names, _session(model, names), window)

    def renew(self, step: int) -> Session:
        """The session for an inspected step, a new one where the window before is full."""
        if self.session.samples >= self.window:
            self.close()
        if self.session.batches == 0:
            self.since = step
        self.until = step
        return self.session

    def judge(self, batch: Batch) -> None:
        """Whether the network is affine, asked once, on the first batch, where its operations allow it."""
        if self.affine is not None:
            return
        path = affine_path(self.session.net, identities(self.session.net, self.model))
        if path is None:
            self.affine = Affine(Verdict.NOT_AFFINE)
            return
        with no_trace(self.model):
            settle_modes(self.model)
            self.affine = judge_affine(self.model, batch, path, self.session.net)

    def count_lost(self, batch: Batch, received: Sequence[Tensor | None], scale: float) -> None:
        """What half precision takes from the gradients, asked once, on the first pass that did not overflow.

        Later shares are no measure: up to 70 % were harmless, since a fitted sample has hardly a gradient.
        """
        if self.lost is not None or not all(finite(g) for g in received if g is not None):
            return
        with no_trace(self.model):
            settle_modes(self.model)
            keep_lost_of_step(self.session, batch, received)
        self.lost, self.scale = self.session.lost, scale

    def close(self) -> None:
        """Ends a window; one with too few samples at the end does not replace a full one."""
        session = self.session
        if session.batches and session.read is not None:
            measured = self._measured(session)
            self.moments = thinned([*self.moments, moment_of(measured.measurements, self.since, self.until)])
            self.first = self.first or measured
            if self.last is None or session.samples >= self.window:
                self.last = measured
        self.session = _session(self.model, self.names)

    def _measured(self, session: Session) -> Measured:
        affine = self.affine if self.first is None else None
        session.lost, session.loss_scale = dict(self.lost or {}), self.scale
        figures = measurements_of(session, affine or Affine(), self.model.training, self.optimiser)
        return Measured(session.net, replace(figures, non_finite=self.non_finite))


def _session(model: nn.Module, names: Names) -> Session:
    return Session(model, names, None, 0, trained=True)
