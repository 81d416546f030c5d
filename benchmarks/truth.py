"""What checkers say of networks whose dead units and gradient faults are known by brute force.

    python benchmarks/truth.py
    python benchmarks/truth.py --verbose
    python benchmarks/truth.py --only relucheck --seeds 0

Prints, for relucheck and each installed peer, how many networks it counts exactly, and how often it is
wrong or raises a false alarm. The peers are optional: pip install traintools torchtest2 torchdiag. A
second table counts alarms on healthy ordinary networks. Takes some minutes, nearly all of them the peers'.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.truth_peers import PEERS, Said, Tool, installed, relucheck, said_by
from tests.tape.truth.case import Case, Site, truth
from tests.tape.truth.cases import CASES
from tests.tape.truth.healthy import ORDINARY, ordinary

COLUMNS = ("crash", "exact", "flag", "wrong", "missed", "false dead", "faults", "false gradient")


@dataclass(frozen=True, slots=True)
class Verdict:
    """How one answer compares with the truth: about units, and about the gradient."""

    units: str
    gradient: str


def main() -> int:
    """Run all tools over all networks and print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--verbose", action="store_true", help="every network, what is true and what is said")
    parser.add_argument("--only", default="", help="only this tool")
    parser.add_argument("--seeds", type=int, default=20, help="seeds of each healthy ordinary network")
    options = parser.parse_args()
    torch.set_num_threads(1)
    tools = tools_of(options.only)
    known(tools, verbose=options.verbose)
    if options.seeds:
        healthy(tools, options.seeds, verbose=options.verbose)
    return 0


def tools_of(only: str) -> dict[str, Tool | None]:
    """The tools by name; None for a peer that is not installed."""
    tools: dict[str, Tool | None] = {"relucheck": relucheck}
    for name, (_, tool) in PEERS.items():
        tools[name] = tool if installed(name) else None
    return {name: tool for name, tool in tools.items() if not only or name == only}


def known(tools: Mapping[str, Tool | None], *, verbose: bool) -> None:
    """The first table: networks of known truth."""
    truths = {case.name: truth(case) for case in CASES}
    judged = [case for case in CASES if case.group != "gradient"]
    dead = sum(any(s.dead for s in truths[case.name]) for case in judged)
    faults = sum(bool(case.fault) for case in CASES)
    print(
        f"{len(CASES)} networks: {dead} with dead units, {len(judged) - dead} without, {faults} gradient faults"
    )
    print()
    rows = [("checker", *COLUMNS)]
    for name, tool in tools.items():
        if tool is None:
            rows.append((name, "not installed", *[""] * (len(COLUMNS) - 1)))
            continue
        verdicts = []
        for case in CASES:
            said = said_by(tool, case)
            verdicts.append(compared(case, truths[case.name], said))
            if verbose:
                print(detail(name, case, truths[case.name], said, verdicts[-1]))
        rows.append(
            (labelled(name), *counted(verdicts, dead, len(judged) - dead, faults, len(CASES) - faults))
        )
    print_table(rows)


def compared(case: Case, sites: Sequence[Site], said: Said) -> Verdict:
    """One answer beside the truth. Exact: every layer with dead units, with its units and their count, and no other."""
    if said.crash:
        missed = "missed" if case.fault else ""
        return Verdict("crash", missed)
    gradient = ("found" if said.gradient else "missed") if case.fault else ("false" if said.gradient else "")
    if case.group == "gradient":
        return Verdict("", gradient)
    true = sorted((site.units, len(site.dead)) for site in sites if site.dead)
    claims = sorted(said.counts)
    if not true:
        return Verdict("false dead" if claims or said.flag else "", gradient)
    if claims == true:
        return Verdict("exact", gradient)
    return Verdict("wrong" if claims else "flag" if said.flag else "missed", gradient)


def counted(verdicts: Sequence[Verdict], dead: int, alive: int, faults: int, sound: int) -> tuple[str, ...]:
    def units(*kinds: str) -> int:
        return sum(v.units in kinds for v in verdicts)

    def flow(kind: str) -> int:
        return sum(v.gradient == kind for v in verdicts)

    return (
        f"{units('crash')}/{len(verdicts)}",
        f"{units('exact')}/{dead}",
        f"{units('flag')}",
        f"{units('wrong')}",
        f"{units('missed')}",
        f"{units('false dead')}/{alive}",
        f"{flow('found')}/{faults}",
        f"{flow('false')}/{sound}",
    )


def detail(name: str, case: Case, sites: Sequence[Site], said: Said, verdict: Verdict) -> str:
    true = [(site.units, len(site.dead)) for site in sites if site.dead]
    words = " | ".join(part for part in (said.flag, said.gradient, said.crash) if part)[:160]
    outcome = ", ".join(part for part in (verdict.units, verdict.gradient) if part) or "silent"
    return f"{name:10} {case.name:44} {outcome:18} true {true} said {said.counts} {words}"


def healthy(tools: Mapping[str, Tool | None], seeds: int, *, verbose: bool) -> None:
    """The second table: ordinary networks without a dead unit, several seeds each."""
    print(f"\nhealthy networks of {seeds} seeds: dead alarm or count / gradient alarm / crash\n")
    rows = [("checker", *ORDINARY)]
    for name, tool in tools.items():
        if tool is None:
            rows.append((name, "not installed", *[""] * (len(ORDINARY) - 1)))
            continue
        cells = []
        for kind in ORDINARY:
            said = [said_by(tool, ordinary(kind, seed)) for seed in range(seeds)]
            if verbose:
                print(
                    *(f"{name:10} {kind}: {s.counts} {s.flag} {s.gradient} {s.crash}" for s in said), sep="\n"
                )
            dead = sum(bool(s.counts or s.flag) for s in said)
            cells.append(f"{dead}/{sum(bool(s.gradient) for s in said)}/{sum(bool(s.crash) for s in said)}")
        rows.append((labelled(name), *cells))
    print_table(rows)


def labelled(name: str) -> str:
    return name if name == "relucheck" else f"{name} {version(PEERS[name][0])}"


def print_table(rows: Sequence[Sequence[str]]) -> None:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        cells = [row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True))]
        print("  ".join(cells).rstrip())


if __name__ == "__main__":
    raise SystemExit(main())
