"""What rules conclude from a graph alone: alternatives, symbolic widths, memory, carried states."""

from __future__ import annotations

import pytest

from relucheck.finding import Finding, Severity
from relucheck.rules import (
    constant_init,
    double_activation,
    inplace_overwrites,
    linear_stack,
    missing_sigmoid_bce,
    relu_before_squash,
    relu_output,
    softmax_before_cross_entropy,
)
from relucheck.rules._walk import is_dropout, next_steps, origins
from tests.nets import at, net

HEAD = "x = input()\n"


def rows(findings: list[Finding]) -> list[int]:
    return [f.span.row for f in findings if f.span is not None]


def check(rule, text: str, **options: bool) -> list[Finding]:
    return list(rule.check(net(HEAD + text, **options)))


# -- walking ------------------------------------------------------------------------------------


def test_origins_are_all_sides_of_a_branch_and_the_end_of_a_loop():
    graph = net("x = input()\na = relu(x)\nb = tanh(x)\nc = branch(a, view(b))\nd = loop(x, c)")
    assert [n.op for n in origins(graph, graph.nodes[-1])] == ["relu", "tanh"]


def test_origins_are_followed_through_what_is_asked_for():
    graph = net("x = input()\na = relu(x)\nb = dropout(a)")
    assert [n.op for n in origins(graph, graph.nodes[-1])] == ["dropout"]
    assert [n.op for n in origins(graph, graph.nodes[-1], is_dropout)] == ["relu"]


def test_next_steps_skip():
    graph = net("x = input()\na = dropout(x)\nb = relu(a)\nc = tanh(x)")
    assert [n.op for n in next_steps(graph, graph.nodes[0], is_dropout)] == ["tanh", "relu"]


# -- what a loss receives -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "last", ["softmax(h, dim=1)", "view(softmax(h, dim=1))", "branch(softmax(h), sigmoid(h))"]
)
def test_cross_entropy_on_a_squash_on_every_path(last: str):
    assert check(softmax_before_cross_entropy, f"h = fc.Linear(4, 3)(x)\np = {last}\nl = cross_entropy(p)")


@pytest.mark.parametrize("last", ["h", "branch(softmax(h), h)", "mul(softmax(h), x)", "unknown(softmax(h))"])
def test_a_path_without_the_squash_is_silence(last: str):
    text = f"h = fc.Linear(4, 3)(x)\np = {last}\nl = cross_entropy(p)"
    assert not check(softmax_before_cross_entropy, text)


def test_log_softmax_twice_is_advice():
    text = "h = fc.Linear(4, 3)(x)\np = log_softmax(h)\nl = cross_entropy(p)"
    assert [f.severity for f in check(softmax_before_cross_entropy, text)] == [Severity.ADVICE]


@pytest.mark.parametrize(
    ("last", "speaks"),
    [
        ("h", True),
        ("tanh(h)", True),
        ("leaky_relu(h)", True),
        ("sigmoid(h)", False),
        ("some_activation(h)", False),
    ],
)
def test_bce_wants_probabilities(last: str, speaks: bool):
    text = f"h = fc.Linear(4, 1)(x)\np = {last}\nl = bce_loss(p)"
    assert bool(check(missing_sigmoid_bce, text)) is speaks


def test_one_network_behind_two_losses_is_one_mistake():
    text = "h = fc.Linear(4, 1)(x)\na = bce_loss(h)\nb = bce_loss(h)"
    assert rows(check(missing_sigmoid_bce, text)) == [3]


# -- the end of a network -----------------------------------------------------------------------

ENDS_RECTIFIED = "h = relu(a.Linear(8, 64)(x))\ny = relu(b.Linear(64, 3)(h))\nreturn y"


def test_a_root_network_that_ends_in_relu():
    assert rows(check(relu_output, ENDS_RECTIFIED)) == [3]


def test_a_network_inside_another_may_end_in_relu():
    assert not check(relu_output, ENDS_RECTIFIED, contained=True)


def test_a_loss_decides_before_the_end_does():
    assert [f.severity for f in check(relu_output, ENDS_RECTIFIED + "\nl = cross_entropy(y)")] == [
        Severity.ERROR
    ]
    assert not check(relu_output, ENDS_RECTIFIED + "\nl = poisson_nll(y)")


def test_a_final_layer_that_does_not_narrow_gives_features():
    assert not check(relu_output, ENDS_RECTIFIED.replace("64, 3", "64, 64"))


# -- stacks -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("widths", "speaks"),
    [
        ("8, 32|32, 4", True),
        ("8, 4|4, 8", False),
        ("8, 8|8, 8", True),
        ("dim, 4 * dim|4 * dim, dim", True),
        ("dim, dim // 4|dim // 4, dim", False),
        ("dim, hidden|hidden, out", False),
    ],
)
def test_a_middle_narrower_than_both_ends_is_a_factor(widths: str, speaks: bool):
    first, second = widths.split("|")
    text = f"h = a.Linear({first})(x)\ny = b.Linear({second})(h)"
    assert bool(check(linear_stack, text)) is speaks


@pytest.mark.parametrize("step", ["dropout(h)", "identity(h)", "bn.BatchNorm1d(32)(h)"])
def test_affine_steps_do_not_part_a_stack(step: str):
    assert rows(check(linear_stack, f"h = a.Linear(8, 32)(x)\nh = {step}\ny = b.Linear(32, 4)(h)")) == [4]


@pytest.mark.parametrize(
    "step",
    [
        "relu(h)",
        "layer_norm(h)",
        "unknown(h)",
        "branch(h, x)",
        "loop(x, h)",
        "permute(h)",
        "some_activation(h)",
    ],
)
def test_what_may_be_something_parts_a_stack(step: str):
    assert not check(linear_stack, f"h = a.Linear(8, 32)(x)\nh = {step}\ny = b.Linear(32, 4)(h)")


def test_a_value_used_twice_is_no_stack():
    assert not check(linear_stack, "h = a.Linear(8, 8)(x)\ny = b.Linear(8, 8)(h)\nz = add(h, y)")


def test_a_chain_is_one_finding_at_its_second_layer():
    found = check(linear_stack, "h = a.Linear(8, 32)(x)\nh = b.Linear(32, 16)(h)\nh = c.Linear(16, 4)(h)")
    assert rows(found) == [3]
    assert "nn.Linear(8, 4)" in found[0].message


# -- rows of activations ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "second", "speaks"),
    [
        ("relu", "relu", True),
        ("gelu", "relu", True),
        ("sigmoid", "relu", True),
        ("tanh", "sigmoid", True),
        ("sigmoid", "clip", False),
        ("leaky_relu", "softmax", False),
        ("softplus", "tanh", False),
        ("some_activation", "relu", False),
    ],
)
def test_pairs(first: str, second: str, speaks: bool):
    text = f"h = a.Linear(8, 8)(x)\nh = {first}(h)\ny = {second}(h)"
    assert bool(check(double_activation, text)) is speaks


def test_a_rectifier_that_is_used_alone_too_is_a_tap():
    assert not check(double_activation, "h = relu(x)\ny = relu(h)\nz = add(h, y)")


def test_a_squash_again_is_wrong_though_the_first_is_used_too():
    assert rows(check(double_activation, "h = tanh(x)\ny = tanh(h)\nz = add(h, y)")) == [3]


def test_a_rectifier_of_parameters_before_softmax_is_a_learned_graph():
    learned = "e = parameter()\np = softmax(relu(matmul(e, e)))"
    assert not check(relu_before_squash, learned)
    assert check(relu_before_squash, "p = softmax(dropout(relu(a.Linear(4, 3)(x))))")


# -- memory -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "row"),
    [
        ("h = a.Linear(8, 8)(x)\nr = relu(h, inplace=True)\ny = add(h, r)", 3),
        ("h = a.Linear(8, 8)(x)\nv = squeeze(h)\nr = relu(v, inplace=True)\ny = add(h, r)", 4),
        ("h = a.Linear(8, 8)(x)\ng = b.Linear(8, 8)(h)\nr = relu(h, inplace=True)", 4),
        ("h = tanh(a.Linear(8, 8)(x))\nr = elu(h, inplace=True)", 3),
    ],
)
def test_memory_that_is_still_needed(text: str, row: int):
    assert rows(check(inplace_overwrites, text)) == [row]


@pytest.mark.parametrize(
    "text",
    [
        "h = a.Linear(8, 8)(x)\nr = relu(h, inplace=True)\ny = add(r, x)",
        "h = a.Linear(8, 8)(x)\nr = relu(h, inplace=True)  # maybe\ny = branch(h, r)",
        "h = a.Linear(8, 8)(x)\nm = mul(h, sigmoid(h))  # maybe\nr = relu(h, inplace=True)  # maybe\ny = branch(m, r)",
        "h = a.Linear(8, 8)(x)\nr = relu(h, inplace=True)\ny = relu(h)",
        "h = clone(x)\nr = relu(h, inplace=True)\ny = add(x, r)",
    ],
)
def test_memory_that_nobody_needs(text: str):
    assert not check(inplace_overwrites, text)


# -- initialisation -----------------------------------------------------------------------------

MLP = "h = a.Linear(8, 16)(x)\nh = {act}(h)\ny = b.Linear(16, 2)(h)\n"


@pytest.mark.parametrize(
    ("act", "inits", "severity"),
    [
        ("relu", "zeros_(a.weight)\nzeros_(a.bias)", Severity.ERROR),
        ("relu", "zeros_(a.weight)", Severity.WARNING),
        ("relu", "constant_(a.weight, val=0.1)\nzeros_(a.bias)", Severity.WARNING),
        (
            "relu",
            "constant_(a.weight, val=0.1)\nzeros_(a.bias)\nconstant_(b.weight, val=0.1)",
            Severity.ERROR,
        ),
        ("tanh", "zeros_(a.weight)\nzeros_(a.bias)", Severity.WARNING),
    ],
)
def test_units_that_stay_equal_are_told_from_those_that_part(act: str, inits: str, severity: Severity):
    """As measured: fifty steps of SGD leave the rows of the weight equal exactly where it is an error."""
    found = check(constant_init, MLP.format(act=act) + inits)
    assert [(f.severity, f.related[0].span) for f in found] == [(severity, at(100))]


@pytest.mark.parametrize(
    "end", ["y = mul(tanh(g.Linear(8, 8)(x)), x)", "y = tanh(g.Linear(8, 2)(x))\nreturn y"]
)
def test_gates_and_outputs_may_start_at_zero(end: str):
    assert not check(constant_init, end + "\nzeros_(g.weight)\nzeros_(g.bias)")
