"""Larger changes of calls: another function, another order, containers, copies: one test a layout."""

import pytest

from relucheck.finding import Exchange, Forget, Inline, Omit, Recall, Register, Renew, SetArg, Unwrap
from tests.source.test_edits import after, at, body, edited, refused

RELU = (("nonlinearity", '"relu"'),)


def recalled(text, old, code, *arguments, keep=True):
    return after(text, Recall(at(text, old), code, arguments, keep))


# ---------------------------------------------------------------- another function


@pytest.mark.parametrize(
    ("imports", "old", "new"),
    [
        ("from torch import nn", "nn.init.xavier_normal_(w)", 'nn.init.kaiming_normal_(w, nonlinearity="relu")'),
        ("import torch.nn.init as init", "init.xavier_normal_(tensor=w, gain=2)",
         'init.kaiming_normal_(w, nonlinearity="relu")'),
        ("import torch", "torch.nn.init.constant_(\n    w,\n    0.1,\n)",
         'torch.nn.init.kaiming_normal_(w, nonlinearity="relu")'),
        ("from torch import nn", "fc.weight.data.zero_()",
         'nn.init.kaiming_normal_(fc.weight.data, nonlinearity="relu")'),
    ],
)  # fmt: skip
def test_an_initialisation_keeps_its_tensor_alone(imports, old, new):
    text = f"{imports}\n{old}  # start\n"
    assert recalled(text, old, "nn.init.kaiming_normal_", *RELU) == f"{imports}\n{new}  # start\n"


def test_an_initialisation_that_is_imported_by_name_gets_its_neighbour_and_its_gain():
    text = "from torch.nn.init import xavier_normal_\nxavier_normal_(w)\n"
    gain = ("gain", 'nn.init.calculate_gain("tanh")')
    assert recalled(text, "xavier_normal_(w)", "nn.init.xavier_uniform_", gain) == (
        "from torch.nn.init import xavier_normal_, xavier_uniform_, calculate_gain\n"
        'xavier_uniform_(w, gain=calculate_gain("tanh"))\n'
    )


@pytest.mark.parametrize(
    ("old", "code", "new"),
    [
        ("torch.relu(a + b)", "F.tanh", "torch.tanh(a + b)"),
        ("F.relu(a, inplace=True)", "F.gelu", "F.gelu(a)"),
        ("torch.relu(a)", "F.gelu", "F.gelu(a)"),
        ("(a + b).relu()", "F.tanh", "(a + b).tanh()"),
        ("a.relu()", "F.gelu", "F.gelu(a)"),
        ("F.softmax(a, dim=-1)", "F.sigmoid", "torch.sigmoid(a)"),
        ("a.softmax(-1)", "F.sigmoid", "a.sigmoid()"),
    ],
)
def test_an_activation_by_another_keeps_its_value_and_its_spelling(old, code, new):
    text = body(f"y = {old}")
    assert recalled(text, old, code) == body(f"y = {new}")


def test_a_module_by_another_keeps_no_argument():
    text = body("net = nn.Sequential(nn.Linear(3, 1), nn.Softmax(dim=1))")
    expected = body("net = nn.Sequential(nn.Linear(3, 1), nn.Sigmoid())")
    assert recalled(text, "nn.Softmax(dim=1)", "nn.Sigmoid", keep=False) == expected


@pytest.mark.parametrize(
    ("old", "reason"),
    [
        ("nn.init.constant_(*args)", "arguments are passed with a star"),
        ("nn.init.constant_(\n    w,  # all\n    0.1,\n)", "a comment would be lost"),
        ("nn.init.constant_(val=0.1)", "the value that it is applied to is not plain to see"),
    ],
)
def test_a_call_that_cannot_be_read_is_left_alone(old, reason):
    text = body(old)
    assert refused(text, Recall(at(text, old), "nn.init.zeros_")) == reason


# --------------------------------------------------------------------- another order


@pytest.mark.parametrize(
    ("text", "one", "other", "expected"),
    [
        ("net = nn.Sequential(nn.Dropout(0.5), nn.ReLU(True))", "nn.Dropout(0.5)", "nn.ReLU(True)",
         "net = nn.Sequential(nn.ReLU(True), nn.Dropout(0.5))"),
        ("net = nn.Sequential(OrderedDict([('d', nn.Dropout()), ('a', nn.ReLU())]))", "nn.Dropout()", "nn.ReLU()",
         "net = nn.Sequential(OrderedDict([('a', nn.ReLU()), ('d', nn.Dropout())]))"),
        ("layers.append(nn.ReLU())\nlayers.append(nn.BatchNorm1d(3))", "nn.ReLU()", "nn.BatchNorm1d(3)",
         "layers.append(nn.BatchNorm1d(3))\nlayers.append(nn.ReLU())"),
        ("y = bn(F.relu(fc(x)))", "F.relu(fc(x))", "bn(F.relu(fc(x)))", "y = F.relu(bn(fc(x)))"),
        ("y = drop(fc(x)).relu()", "drop(fc(x))", "drop(fc(x)).relu()", "y = drop(fc(x).relu())"),
        ("y = F.dropout(x, 0.5, tr)\nz = F.relu(y, True)", "F.dropout(x, 0.5, tr)", "F.relu(y, True)",
         "y = F.relu(x, True)\nz = F.dropout(y, 0.5, tr)"),
    ],
)  # fmt: skip
def test_two_steps_change_places(text, one, other, expected):
    text = body(text)
    assert after(text, Exchange(at(text, one), at(text, other))) == body(expected)


@pytest.mark.parametrize(
    ("text", "one", "other", "reason"),
    [
        ("net = nn.Sequential(nn.Dropout(), nn.Flatten(), nn.ReLU())", "nn.Dropout()", "nn.ReLU()",
         "the two do not stand side by side"),
        ("y = drop(a + b).relu()", "drop(a + b)", "drop(a + b).relu()",
         "the value that it is applied to would bind otherwise"),
    ],
)  # fmt: skip
def test_steps_that_are_no_neighbours_or_would_bind_otherwise_stay(text, one, other, reason):
    text = body(text)
    assert refused(text, Exchange(at(text, one), at(text, other))) == reason


# ------------------------------------------------------------------------ containers

LISTS = """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = {value}

    def forward(self, x):
        return self.layers[0](x)


class Other:
    def __init__(self):
        self.layers = []
"""


@pytest.mark.parametrize(
    ("value", "container", "expected"),
    [
        ("[nn.Linear(3, 3)]", "ModuleList", "nn.ModuleList([nn.Linear(3, 3)])"),
        ("[make() for _ in range(3)]  # all", "ModuleList", "nn.ModuleList([make() for _ in range(3)])  # all"),
        ("[]", "ModuleList", "nn.ModuleList()"),
        ("dict()", "ModuleDict", "nn.ModuleDict()"),
        ("{\n            'a': make(),\n        }", "ModuleDict",
         "nn.ModuleDict({\n            'a': make(),\n        })"),
        ("made", "ModuleList", "nn.ModuleList(made)"),
    ],
)  # fmt: skip
def test_a_list_of_one_class_is_registered(value, container, expected):
    text = body(LISTS.format(value=value))
    edit = Register(at(text, "self.layers[0](x)"), "layers", container)
    assert after(text, edit) == body(LISTS.format(value=expected))


def test_a_list_whose_methods_torch_lacks_stays():
    text = body(LISTS.format(value="[]") + "\n    def drop(self):\n        self.layers.remove(1)\n")
    reason = refused(text, Register(at(text, "self.layers[0](x)"), "layers", "ModuleList"))
    assert reason == "nn.ModuleList has not all the methods that are called"


def test_a_layer_is_made_anew_for_each_place():
    text = body("layers = nn.ModuleList([Block(dim, act=nn.ReLU())] * (n + 1))  # deep\n")
    edit = Renew(at(text, "nn.ModuleList([Block(dim, act=nn.ReLU())] * (n + 1))"))
    assert after(text, edit) == body(
        "layers = nn.ModuleList([Block(dim, act=nn.ReLU()) for _ in range(n + 1)])  # deep\n"
    )


def test_a_layer_that_is_made_elsewhere_is_not():
    text = body("layers = nn.ModuleList([block] * 3)\n")
    reason = refused(text, Renew(at(text, "nn.ModuleList([block] * 3)")))
    assert reason == "the layer is not made where it is repeated"


# ------------------------------------------------------------- copies, modules, leftovers


@pytest.mark.parametrize(
    ("statement", "copy", "expected"),
    [
        ("total = torch.tensor(loss.item(), requires_grad=True)", None, "total = loss"),
        ("total = (a + b).detach().requires_grad_()", None, "total = (a + b)"),
        ("Variable(losses[0].data, requires_grad=True).backward()", "Variable(losses[0].data, requires_grad=True)",
         "losses[0].backward()"),
        ("total = torch.tensor(loss, requires_grad=True)", None, "total = loss"),
    ],
)  # fmt: skip
def test_a_copy_becomes_the_tensor_itself(statement, copy, expected):
    text = body(f"{statement}  # now\n")
    span = at(text, copy or statement.partition(" = ")[2])
    assert after(text, Unwrap(span)) == body(f"{expected}  # now\n")


def test_a_copy_under_its_own_name_goes_with_its_line():
    text = body("a = 1\nloss = loss.detach().requires_grad_()\nloss.backward()\n")
    assert after(text, Unwrap(at(text, "loss.detach().requires_grad_()"))) == body("a = 1\nloss.backward()\n")


def test_a_number_that_was_taken_out_before_stays():
    text = body("value = loss.item()\ntotal = torch.tensor(value, requires_grad=True)\n")
    reason = refused(text, Unwrap(at(text, "torch.tensor(value, requires_grad=True)")))
    assert reason == "the value was cut off in another statement"


def test_a_module_that_is_made_and_applied_becomes_a_function():
    text = body("x = nn.Dropout(p=0.5)(self.fc(x))\n")
    edit = Inline(at(text, "nn.Dropout(p=0.5)"), "F.dropout", (("training", "self.training"),))
    assert after(text, edit) == body("x = F.dropout(self.fc(x), p=0.5, training=self.training)\n")
    text = body("drop = nn.Dropout(0.5)\n")
    reason = refused(text, Inline(at(text, "nn.Dropout(0.5)"), "F.dropout"))
    assert reason == "the module is not applied where it is made"


@pytest.mark.parametrize("more", ["", "\n    def probabilities(self, x):\n        return self.softmax(x)\n"])
def test_an_attribute_is_forgotten_where_nothing_else_names_it(more):
    text = body(
        "class Net(nn.Module):\n    def __init__(self):\n        self.fc = nn.Linear(3, 3)\n"
        "        self.softmax = nn.Softmax(dim=1)  # scores\n\n    def forward(self, x):\n"
        f"        return self.softmax(self.fc(x))\n{more}"
    )
    edit = Forget(at(text, "nn.Softmax(dim=1)"))
    if more:
        assert refused(text, edit) == "the module is used elsewhere too"
    else:
        assert after(text, edit) == text.replace("        self.softmax = nn.Softmax(dim=1)  # scores\n", "")


def test_an_argument_is_left_out():
    text = body("act = nn.Softplus(True)\n")
    assert after(text, Omit(at(text, "nn.Softplus(True)"), 0)) == body("act = nn.Softplus()\n")


@pytest.mark.parametrize(
    ("call", "name", "value", "expected"),
    [
        ("F.relu(x, True)", "inplace", "False", "F.relu(x, inplace=False)"),
        ("F.softmax(x, 0)", "dim", "1", "F.softmax(x, 1)"),
        ("x.softmax(0)", "dim", "-1", "x.softmax(-1)"),
        ("F.leaky_relu(x, 1.5, True)", "negative_slope", "0.5", "F.leaky_relu(x, 0.5, True)"),
        ("F.softmax(x)", "dim", "1", "F.softmax(x, dim=1)"),
    ],
)
def test_an_argument_that_a_function_has_already_is_replaced(call, name, value, expected):
    text = body(f"y = {call}\n")
    assert after(text, SetArg(at(text, call), name, value)) == body(f"y = {expected}\n")


@pytest.mark.parametrize("mask", ["x * (x > 0)", "(x > 0) * x", "(x > 0).float() * x"])
def test_a_rectifier_that_is_written_out_is_dropped_with_its_mask(mask):
    from relucheck.finding import Drop

    text = body(f"y = {mask}\n")
    result = edited(text, Drop(at(text, mask)))
    assert result.text == (text if "float" in mask else body("y = x\n"))
