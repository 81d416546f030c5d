"""One thread and one seed, and nothing of a watch left behind by any test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def _no_trace() -> Iterator[None]:
    torch = pytest.importorskip("torch")
    from tests.tape.test_watch import traces

    torch.set_num_threads(1)
    torch.manual_seed(0)
    before = traces()
    yield
    assert traces() == before
