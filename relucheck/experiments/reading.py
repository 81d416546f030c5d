"""The net of one pass of a model, for what has to be known before it is changed."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

from torch import nn

from relucheck.net import Net
from relucheck.tape.batches import Batch
from relucheck.tape.modes import recording
from relucheck.tape.names import Names
from relucheck.tape.passes import keep_net, keep_outputs
from relucheck.tape.recorder import Recorder
from relucheck.tape.session import Session

Calls = Callable[[], AbstractContextManager[object]]
"""Makes the context in which a model is called."""


def net_read(model: nn.Module, batch: Batch, calls: Calls) -> Net:
    """The net of one forward pass; buffers change as in any pass, so hand in a copy."""
    session = Session.of(model, Names.of(model), has_loss=False)
    session.sites.samples = batch.samples(0)
    recorder = Recorder(session.names, session.sites, session.watch, net_read.__code__, True)
    own = batch.copied()
    recorder.feed(own)
    with recording(recorder), calls():
        output = model(*own.args, **own.kwargs)
    keep_outputs(session, recorder.values.get, output)
    keep_net(session, recorder, own)
    return session.net
