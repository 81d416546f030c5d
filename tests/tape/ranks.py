"""Trainings that ``test_distributed`` runs in several processes: ``python -m tests.tape.ranks``.

Every process goes through the scenarios of its group in order, and writes down what each gave it.
"""

from __future__ import annotations

import faulthandler
import multiprocessing
import os
import pickle
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from click.testing import CliRunner
from torch import Tensor, distributed, nn
from torch.distributed.fsdp import FullyShardedDataParallel, fully_shard
from torch.nn.parallel import DistributedDataParallel

import relucheck
from relucheck.cli_run import run
from relucheck.training import TrainingReport

STEPS, BATCH, INSPECTED_EVERY = 6, 64, 4
ROOT = Path(__file__).parent.parent.parent
LIMIT = 120  # seconds after which processes that hang are ended

Result = dict[str, Any]


def network() -> nn.Sequential:
    """Units 0-5 of the first layer are dead; 6-37 are alive where the first feature is positive."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 64), nn.ReLU(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 3))
    with torch.no_grad():
        model[0].bias[:6] = -25.0
        model[0].weight[6:38] = 0.0
        model[0].weight[6:38, 0] = 1.0
        model[0].bias[6:38] = -0.001
    return model


def batches(rank: int, world: int) -> list[tuple[Tensor, Tensor]]:
    """The data of one rank; the first feature is positive on the last rank only."""
    made = torch.Generator().manual_seed(100 + rank)
    data = []
    for _ in range(STEPS):
        x, y = torch.randn(BATCH, 8, generator=made), torch.randint(0, 3, (BATCH,), generator=made)
        x[:, 0] = x[:, 0].abs() * (1 if rank == world - 1 else -1)
        data.append((x, y))
    return data


def trained(model: nn.Module, data: list[tuple[Tensor, Tensor]], lr: float = 0.0, **options: Any) -> Any:
    """A plain training, watched; the watch."""
    optimiser = torch.optim.SGD(model.parameters(), lr)
    with relucheck.watch(**{"every": 1, "window": float("inf"), **options}) as watch:
        for x, y in data:
            optimiser.zero_grad()
            F.cross_entropy(model(x), y).backward()
            optimiser.step()
    return watch


def figures(report: TrainingReport) -> Result:
    """What a report says, as plain values."""
    return {
        "ranks": (report.rank, report.ranks, report.world),
        "sites": {a.name: (a.samples, a.dead_units, a.linear_units) for a in report.activations},
        "fired": {a.name: [round(share * a.samples) for share in a.activity] for a in report.activations},
        "norms": {g.name: (g.norm, g.weight_norm, g.rms) for g in report.gradients},
        "updates": {g.name: g.update for g in report.gradients},
        "first_updates": {n.name: [g.first_update for g in n.first.gradients] for n in report.networks},
        "networks": [(n.name, n.ranks, n.steps, [m.samples for m in n.moments]) for n in report.networks],
        "findings": [(f.code, f.layer) for f in report.findings],
        "messages": [f.message for f in report.findings],
        "table": report.table(),
        "crashes": [crash.traceback for crash in report.crashes],
    }


def ddp(rank: int, world: int) -> Result:
    return figures(trained(DistributedDataParallel(network()), batches(rank, world)).report)


def ddp_learning(rank: int, world: int) -> Result:
    return figures(trained(DistributedDataParallel(network()), batches(rank, world), lr=0.05).report)


def ddp_windows(rank: int, world: int) -> Result:
    model = DistributedDataParallel(network())
    return figures(trained(model, batches(rank, world), window=3 * BATCH * world).report)


def flat(rank: int, world: int) -> Result:
    model = FullyShardedDataParallel(network(), device_id=torch.device("cpu"))
    return figures(trained(model, batches(rank, world)).report)


def original(rank: int, world: int) -> Result:
    model = FullyShardedDataParallel(network(), use_orig_params=True, device_id=torch.device("cpu"))
    return figures(trained(model, batches(rank, world)).report)


def nested(rank: int, world: int) -> Result:
    """The weights of each layer are gone as soon as it has run."""
    model, mesh = network(), distributed.device_mesh.init_device_mesh("cpu", (world,))
    for layer in (model[0], model[2]):
        fully_shard(layer, mesh=mesh)
    return figures(trained(fully_shard(model, mesh=mesh), batches(rank, world), lr=0.05).report)


def collectives(rank: int, world: int) -> Result:
    """The collectives of a training, plain and watched, and the steps with requests to the store."""
    group = distributed.distributed_c10d._get_default_group()

    def count(every: int, first: int) -> int:
        model, start = DistributedDataParallel(network()), group._get_sequence_number_for_group()
        trained(model, batches(rank, world), every=every, first=first)
        return int(group._get_sequence_number_for_group() - start)

    return {"plain": count(10**9, 0), "watched": count(1, 0)}


class Counting:
    """A store that counts what is asked of it."""

    def __init__(self, store: Any) -> None:
        self.store, self.requests = store, 0

    def __getattr__(self, name: str) -> Any:
        self.requests += 1
        return getattr(self.store, name)


def requests(rank: int, world: int) -> Result:
    """The number of requests to the store after each step, and after the end."""
    plain = distributed.distributed_c10d._get_default_store
    store = Counting(plain())
    distributed.distributed_c10d._get_default_store = lambda: store
    model, seen = DistributedDataParallel(network()), []
    try:
        with relucheck.watch(every=INSPECTED_EVERY, first=1) as watch:
            for x, y in [*batches(rank, world), *batches(rank, world)]:
                F.cross_entropy(model(x), y).backward()
                seen.append(store.requests)
    finally:
        distributed.distributed_c10d._get_default_store = plain
    return {"after": [*seen, store.requests], "inspected": watch.report.inspected}


def raising(rank: int, world: int) -> Result:
    """The last rank fails while the others train on; nothing else makes them wait for each other."""
    watch, model = relucheck.watch(every=1), network()
    try:
        with watch:
            for x, y in batches(rank, world):
                F.cross_entropy(model(x), y).backward()
                if rank == world - 1:
                    raise ValueError("too much")
    except ValueError:
        pass
    return figures(watch.report)


def alone(rank: int, world: int) -> Result:
    """Only rank 0 watches."""
    model, watch = DistributedDataParallel(network()), relucheck.watch(every=1, patience=0.3)
    with watch if rank == 0 else nullcontext():
        for x, y in batches(rank, world):
            F.cross_entropy(model(x), y).backward()
    return figures(watch.report) if rank == 0 else {}


def seeds(rank: int, world: int) -> Result:
    """Every rank trains a network of its own: unit 3 of one is not unit 3 of another."""
    model = network()
    torch.manual_seed(rank)
    model[2].reset_parameters()
    return figures(trained(model, batches(rank, world)).report)


def uneven(rank: int, world: int) -> Result:
    """Rank 0 has two batches less; DDP's join lets the others go on."""
    model = DistributedDataParallel(network())
    data = batches(rank, world)[2 if rank == 0 else 0 :]
    with model.join():
        watch = trained(model, data)
    return figures(watch.report)


def not_finite(rank: int, world: int) -> Result:
    """One batch of one rank overflows."""
    data = batches(rank, world)
    if rank == world - 1:
        data[0][0].fill_(1e30)
    model = network()
    model.append(nn.Softplus())
    return figures(trained(DistributedDataParallel(model), [(x * x, y) for x, y in data]).report)


def overflowing(rank: int, world: int) -> list[tuple[Tensor, Tensor]]:
    """One batch of one rank is so large that the result of ``sensitive``'s first layer is infinite."""
    data = batches(rank, world)
    if rank == world - 1:
        data[0][0].fill_(1e38)
    return data


def sensitive() -> nn.Sequential:
    model = network()
    with torch.no_grad():
        model[0].weight.mul_(100)
    return model


def infinite(rank: int, world: int) -> Result:
    return figures(trained(DistributedDataParallel(sensitive()), overflowing(rank, world)).report)


class Gathering(nn.Module):
    """A network that, in its forward, waits for all processes: a contrastive loss gathers features like that."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        features = self.inner(x)
        every = [torch.empty_like(features) for _ in range(distributed.get_world_size())]
        distributed.all_gather(every, features.detach())
        return features - torch.stack(every).mean()


def gathering(rank: int, world: int) -> Result:
    """One rank has a batch that overflows: the other takes no part in a search for the cause."""
    model = DistributedDataParallel(Gathering(sensitive()))
    return figures(trained(model, overflowing(rank, world)).report)


def linear_gathering(rank: int, world: int) -> Result:
    """An affine network that gathers: whether it is affine would be asked in passes of one's own."""
    return figures(trained(DistributedDataParallel(Gathering(linear())), batches(rank, world)).report)


def linear() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 16), nn.Linear(16, 16), nn.Linear(16, 3))


def affine(rank: int, world: int) -> Result:
    return figures(trained(DistributedDataParallel(linear()), batches(rank, world)).report)


def flat_learning(rank: int, world: int) -> Result:
    model = FullyShardedDataParallel(network(), device_id=torch.device("cpu"))
    return figures(trained(model, batches(rank, world), lr=0.05).report)


def original_learning(rank: int, world: int) -> Result:
    model = FullyShardedDataParallel(network(), use_orig_params=True, device_id=torch.device("cpu"))
    return figures(trained(model, batches(rank, world), lr=0.05).report)


def told(rank: int, world: int) -> Result:
    """Only rank 0 logs what its steps show, of weights in shards."""
    model, mesh = network(), distributed.device_mesh.init_device_mesh("cpu", (world,))
    for layer in (model[0], model[2]):
        fully_shard(layer, mesh=mesh)
    heard: list[relucheck.Inspection] = []
    more = {"on_step": heard.append} if rank == 0 else {}
    trained(fully_shard(model, mesh=mesh), batches(rank, world), lr=0.05, **more)
    return {"figures": [dict(one.figures) for one in heard]}


def probed(rank: int, world: int) -> Result:
    """A probe is one process's own."""
    shards = FullyShardedDataParallel(network(), device_id=torch.device("cpu"))
    try:
        relucheck.probe(shards, batches(rank, world)[0][0])
        refused = ""
    except relucheck.ProbeError as error:
        refused = str(error)
    model = DistributedDataParallel(nn.Sequential(nn.BatchNorm1d(8), *network()))  # its buffers are broadcast
    report = relucheck.probe(model, batches(rank, world), F.cross_entropy) if rank == 0 else None
    return {"refused": refused, "probed": report and [(a.name, a.dead) for a in report.activations]}


SCRIPT = """
import sys
import torch
from torch import distributed
from tests.tape.ranks import batches, network

model = network()
with torch.no_grad():
    model[0].bias[:50] = -25.0
for x, y in batches(distributed.get_rank(), 2):
    torch.nn.functional.cross_entropy(model(x), y).backward()
    if "--raise" in sys.argv and distributed.get_rank() == 1:
        raise ValueError("too much")
"""


def _run(folder: Path, *arguments: str) -> Result:
    script = folder / "train.py"
    script.write_text(SCRIPT)
    done = CliRunner().invoke(run, [str(script), *arguments], standalone_mode=False)
    return {"status": done.return_value, "said": done.stderr}


def command(rank: int, world: int) -> Result:
    """``relucheck run`` in each process."""
    with tempfile.TemporaryDirectory() as folder:
        return _run(Path(folder))


def command_raising(rank: int, world: int) -> Result:
    """The same with a script that ends in an exception on rank 1."""
    with tempfile.TemporaryDirectory() as folder:
        return _run(Path(folder), "--raise")


GROUPS: dict[str, tuple[int, tuple[Callable[[int, int], Result], ...]]] = {
    "two": (
        2,
        (
            ddp,
            ddp_learning,
            ddp_windows,
            flat,
            original,
            nested,
            collectives,
            requests,
            raising,
            alone,
            seeds,
            uneven,
            not_finite,
            infinite,
            gathering,
            linear_gathering,
            affine,
            flat_learning,
            original_learning,
            told,
            probed,
            command,
            command_raising,
        ),
    ),
    "four": (4, (ddp, ddp_learning, nested, raising)),
}


def environment() -> dict[str, str]:
    """In which a process finds this package, and takes one core."""
    found = filter(None, (str(ROOT), os.environ.get("PYTHONPATH")))
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(found)}


def launched(folder: Path) -> dict[str, dict[str, list[Result]]]:
    """The results of all groups' scenarios, rank by rank; a process that hangs or fails is an error."""
    command = [sys.executable, "-m", "tests.tape.ranks", str(folder)]
    done = subprocess.run(
        command, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=2 * LIMIT, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return {group: _results(folder / group, world) for group, (world, _) in GROUPS.items()}


def _results(folder: Path, world: int) -> dict[str, list[Result]]:
    results = [pickle.loads((folder / f"{rank}.pickle").read_bytes()) for rank in range(world)]
    return {name: [result[name] for result in results] for name in results[0]}


def process(group: str, folder: Path, rank: int) -> None:
    """One process of a group."""
    faulthandler.dump_traceback_later(0.8 * LIMIT)  # says where it hangs
    world, scenarios = GROUPS[group]
    store = f"file://{folder / 'store'}"
    distributed.init_process_group("gloo", init_method=store, rank=rank, world_size=world)
    results = {scenario.__name__: scenario(rank, world) for scenario in scenarios}
    (folder / f"{rank}.pickle").write_bytes(pickle.dumps(results))
    distributed.barrier()
    distributed.destroy_process_group()


def main(folder: Path) -> None:
    """Runs one group after the other; processes are forked, since importing torch takes long."""
    torch.set_num_threads(1)
    start = multiprocessing.get_context("fork").Process
    for group, (world, _) in GROUPS.items():
        (folder / group).mkdir()
        processes = [start(target=process, args=(group, folder / group, rank)) for rank in range(world)]
        for one in processes:
            one.start()
        for one in processes:
            one.join(LIMIT)
        codes = [one.exitcode for one in processes]
        for one in processes:
            one.kill()
        if any(codes) or None in codes:
            sys.exit(f"the processes of group {group!r} ended with {codes}; None stands for one that hangs")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
