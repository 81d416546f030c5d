"""What the source reader understands: each test is one construct that networks are written with."""

from __future__ import annotations

from textwrap import dedent

import pytest

from relucheck.net import UNKNOWN, Arg, Net, Symbol, smaller
from tests.source.reading import chain, forward, read, read_files

RELUS = {
    "module": "nn.ReLU()(h)",
    "functional": "F.relu(h)",
    "torch": "torch.relu(h)",
    "method": "h.relu()",
    "in place": "F.relu_(h)",
    "clamp": "h.clamp(min=0)",
    "torch.clamp": "torch.clamp(h, 0)",
    "clamp_min": "torch.clamp_min(h, 0.0)",
    "mask": "h * (h > 0)",
    "float mask": "(h > 0).float() * h",
    "maximum": "torch.maximum(h, torch.zeros_like(h))",
    "max of two": "torch.max(h, torch.tensor(0.0))",
    "where": "torch.where(h > 0, h, torch.zeros_like(h))",
    "where zero": "torch.where(h > 0, h, 0.0)",
    "half sum": "(h + h.abs()) / 2",
    "threshold": "F.threshold(h, 0, 0)",
}


@pytest.mark.parametrize("spelling", RELUS.values(), ids=RELUS.keys())
def test_every_spelling_of_relu_is_one_operation(spelling: str) -> None:
    net = forward(f"h = self.fc(x)\nreturn {spelling}", "self.fc = nn.Linear(4, 4)")
    kept = [step for step in chain(net) if step not in ("constant",)]
    assert kept == ["linear[fc]", "relu"]


def test_hand_written_sigmoid_and_silu() -> None:
    assert chain(forward("return 1 / (1 + torch.exp(-x))")) == ["sigmoid"]
    assert chain(forward("return x * torch.sigmoid(x)")) == ["silu"]


@pytest.mark.parametrize(
    ("header", "call"),
    [
        ("import torch.nn as nn", "nn.Linear(3, 4)"),
        ("import torch", "torch.nn.Linear(3, 4)"),
        ("from torch.nn import Linear", "Linear(3, 4)"),
        ("from torch.nn import Linear as Dense", "Dense(3, 4)"),
        ("import torch.nn.modules.linear as lin\nfrom torch import nn", "lin.Linear(3, 4)"),
    ],
)
def test_every_import_spelling(header: str, call: str) -> None:
    base = "torch.nn.Module" if header == "import torch" else "Module"
    text = f"{header}\nfrom torch.nn import Module\nimport torch\nclass M({base}):\n    def __init__(self):\n"
    text += f"        super().__init__()\n        self.fc = {call}\n"
    text += "    def forward(self, x):\n        return self.fc(x)\n"
    net = read_files({"m.py": text}).nets[0]
    assert chain(net) == ["linear[fc]"]
    assert net.layers[0].args["out_features"] == 4


def test_bare_names_mean_torch_in_a_snippet_without_imports() -> None:
    text = "net = nn.Sequential(nn.Linear(2, 2), nn.ReLU())\n"
    text += "loss = F.mse_loss(net(torch.randn(4, 2)), torch.zeros(4, 2))\n"
    assert chain(read_files({"s.py": text}).nets[0]) == ["linear[0]", "relu[1]", "constant", "mse_loss"]


def test_a_name_that_the_file_binds_is_not_torch() -> None:
    text = "import jax.nn as nn\nimport torch\ny = nn.relu(torch.randn(3))\n"
    assert "relu" not in chain(read_files({"s.py": text}).nets[0])


def test_sequential_in_all_its_forms() -> None:
    init = """
    from collections import OrderedDict
    self.a = nn.Sequential(nn.Linear(2, 3), nn.ReLU())
    self.b = nn.Sequential(OrderedDict([("fc", nn.Linear(3, 3)), ("act", nn.Tanh())]))
    self.c = nn.Sequential()
    self.c.add_module("last", nn.Linear(3, 1))
    self.d = nn.Sequential(self.a, nn.Sequential(nn.GELU()))
    """
    net = forward("return self.c(self.b(self.a(x)))", init)
    assert [step.partition("[")[0] for step in chain(net)] == ["linear", "relu", "linear", "tanh", "linear"]


def test_loops_that_build_layers() -> None:
    init = """
    dims = [4, 8, 8, 2]
    layers = []
    for a, b in zip(dims[:-1], dims[1:]):
        layers += [nn.Linear(a, b), nn.ReLU()]
    self.net = nn.Sequential(*layers[:-1])
    """
    net = forward("return self.net(x)", init)
    assert [s.partition("[")[0] for s in chain(net)] == ["linear", "relu", "linear", "relu", "linear"]
    assert [layer.args["out_features"] for layer in net.layers if layer.op == "linear"] == [8, 8, 2]


def test_module_lists_and_the_last_layer_test() -> None:
    init = "self.fcs = nn.ModuleList([nn.Linear(4, 4) for _ in range(3)])"
    body = """
    for i, fc in enumerate(self.fcs):
        x = fc(x)
        if i < len(self.fcs) - 1:
            x = F.relu(x)
    return x
    """
    net = forward(body, init)
    assert chain(net) == ["linear[fcs.0]", "relu", "linear[fcs.1]", "relu", "linear[fcs.2]"]


def test_an_unknown_number_of_layers_is_read_as_two_and_never_as_certain() -> None:
    text = """
    class M(nn.Module):
        def __init__(self, depth):
            super().__init__()
            self.fcs = nn.ModuleList(nn.Linear(4, 4) for _ in range(depth))
        def forward(self, x):
            for i, fc in enumerate(self.fcs):
                x = F.relu(fc(x)) if i < len(self.fcs) - 1 else fc(x)
            return x
    """
    net = read(text)
    assert chain(net).count("branch") == 2
    assert chain(net)[-1] == "loop"


def test_an_if_that_is_not_known_joins_both_sides() -> None:
    text = """
    class M(nn.Module):
        def __init__(self, act: bool):
            super().__init__()
            self.act = act
            self.fc = nn.Linear(4, 4)
        def forward(self, x):
            x = self.fc(x)
            if self.act:
                x = F.relu(x)
            return x
    """
    net = read(text)
    assert chain(net) == ["linear[fc]", "relu", "branch"]
    assert [n.maybe for n in net.nodes if n.op == "relu"] == [True]


def test_a_known_flag_decides() -> None:
    text = """
    class M(nn.Module):
        def __init__(self, act=False):
            super().__init__()
            self.act = nn.ReLU() if act else nn.Identity()
            self.fc = nn.Linear(4, 4)
        def forward(self, x):
            return self.act(self.fc(x))
    net = M(act=True)
    net(torch.randn(2, 4))
    """
    assert chain(read(text)) == ["linear[fc]", "relu[act]"]


def test_a_default_is_doubted_where_some_caller_overrides_it() -> None:
    text = """
    class Block(nn.Module):
        def __init__(self, act=nn.ReLU):
            super().__init__()
            self.act = act()
        def forward(self, x):
            return self.act(x)
    def build(cfg):
        return Block(act=cfg.act)
    """
    assert "branch" in chain(read(text))


def test_early_return_leaves_the_other_path() -> None:
    net = forward(
        "if x.sum() > 0:\n    return torch.sigmoid(x)\nreturn self.fc(x)", "self.fc = nn.Linear(2, 2)"
    )
    assert chain(net)[-1] == "branch"


def test_inheritance_super_and_overridden_methods() -> None:
    text = """
    class Base(nn.Module):
        def __init__(self, n):
            super().__init__()
            self.fc = nn.Linear(n, n)
        def act(self, x):
            return x
        def forward(self, x):
            return self.act(self.fc(x))
    class Child(Base):
        def __init__(self):
            super(Child, self).__init__(4)
        def act(self, x):
            return F.gelu(super().act(x))
    Child()(torch.randn(1, 4))
    """
    assert chain(read(text)) == ["linear[fc]", "gelu"]


def test_helpers_lambdas_partials_and_factories() -> None:
    text = """
    from functools import partial
    def conv_block(c_in, c_out, act=nn.ReLU):
        return nn.Sequential(nn.Conv2d(c_in, c_out, 3), act())
    leaky = partial(nn.LeakyReLU, 0.2)
    class M(nn.Module):
        def __init__(self):
            super().__init__()
            make = lambda n: conv_block(n, n, act=leaky)
            self.a, self.b = make(3), conv_block(3, 8)
        def forward(self, x):
            return self.b(self.a(x))
    """
    net = read(text)
    assert [s.partition("[")[0] for s in chain(net)] == ["conv", "leaky_relu", "conv", "relu"]
    assert next(la for la in net.layers if la.op == "leaky_relu").args["negative_slope"] == 0.2


def test_registries_and_getattr() -> None:
    text = """
    ACTS = {"relu": nn.ReLU, "gelu": nn.GELU}
    class M(nn.Module):
        def __init__(self, act="gelu", other="Tanh"):
            super().__init__()
            self.act = ACTS[act]()
            self.other = getattr(nn, other)()
        def forward(self, x):
            return self.other(self.act(x))
    """
    assert chain(read(text)) == ["gelu[act]", "tanh[other]"]


def test_module_dicts_and_chosen_heads() -> None:
    init = 'self.heads = nn.ModuleDict({"a": nn.Linear(4, 1), "b": nn.Linear(4, 2)})'
    assert chain(forward('return self.heads["b"](x)', init)) == ["linear[heads.b]"]


def test_dataclass_configuration() -> None:
    text = """
    from dataclasses import dataclass
    @dataclass
    class Config:
        width: int = 32
        act: str = "relu"
    class M(nn.Module):
        def __init__(self, cfg):
            super().__init__()
            self.fc = nn.Linear(8, cfg.width)
            self.act = nn.ReLU() if cfg.act == "relu" else nn.Tanh()
        def forward(self, x):
            return self.act(self.fc(x))
    M(Config())(torch.randn(1, 8))
    """
    net = read(text)
    assert chain(net) == ["linear[fc]", "relu[act]"]
    assert net.layers[0].args["out_features"] == 32


def test_imports_between_files_in_every_form() -> None:
    files = {
        "pkg/__init__.py": "from .blocks import Block\n",
        "pkg/blocks.py": "from torch import nn\nfrom . import acts\nclass Block(nn.Module):\n"
        "    def __init__(self):\n        super().__init__()\n        self.act = acts.make()\n"
        "    def forward(self, x):\n        return self.act(x)\n",
        "pkg/acts.py": "from torch.nn import *\nimport torch.nn as nn\ndef make():\n    return nn.SiLU()\n",
        "main.py": "import torch\nfrom pkg import Block\nimport pkg.blocks as b\n"
        "print(Block()(torch.randn(2)), b.Block()(torch.randn(2)))\n",
    }
    net = next(n for n in read_files(files).nets if n.path == "main.py")
    assert chain(net) == ["silu[act]", "silu[act]"]


def test_import_cycles_end() -> None:
    files = {"a.py": "import torch\nimport b\nX = 1\n", "b.py": "import torch\nimport a\nY = a\n"}
    assert len(read_files(files).nets) == 2


def test_the_order_of_files_does_not_matter() -> None:
    files = {
        "train.py": "import torch\nimport torch.nn.functional as F\nfrom net import Net\n"
        "loss = F.cross_entropy(Net()(torch.randn(2, 4)), torch.zeros(2))\n",
        "net.py": "from torch import nn\nclass Net(nn.Module):\n    def __init__(self):\n        super().__init__()\n"
        "        self.fc = nn.Linear(4, 2)\n    def forward(self, x):\n        return self.fc(x)\n",
    }
    backwards = dict(reversed(files.items()))
    assert read_files(files) == read_files(backwards)


def test_loss_and_model_meet_across_functions_and_classes() -> None:
    text = """
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(4, 2)
        def forward(self, x):
            return self.fc(x).softmax(dim=1)
    class Trainer:
        def __init__(self, model, criterion):
            self.model, self.criterion = model, criterion
            self.opt = torch.optim.Adam(model.parameters(), lr=0.1)
        def step(self, batch):
            x, y = batch
            loss = self.criterion(self.model(x), y)
            self.opt.zero_grad()
            loss.backward()
            self.opt.step()
    if __name__ == "__main__":
        Trainer(Net(), nn.CrossEntropyLoss()).step((torch.randn(3, 4), torch.zeros(3)))
    """
    net = read(text)
    loss = next(n for n in net.nodes if n.op == "cross_entropy")
    assert net.inputs(loss)[0].op == "softmax"
    assert net.optimisers[0].kind == "Adam"
    assert net.optimisers[0].all_parameters
    assert [net.layers[i].name for i in net.optimisers[0].layers] == ["fc"]


def test_a_scheduler_is_noted() -> None:
    text = """
    net = nn.Linear(2, 2)
    opt = torch.optim.SGD(net.parameters(), lr=2.0)
    sched = torch.optim.lr_scheduler.StepLR(opt, 10)
    """
    assert read(text).optimisers[0].scheduled


def test_parameters_times_data_are_affine() -> None:
    init = "self.w = nn.Parameter(torch.randn(4, 4))"
    assert chain(forward("return x @ self.w", init))[-1] == "linear"
    assert chain(forward("return F.linear(x, self.w)", init))[-1] == "linear"


def test_in_place_statements_change_what_a_name_holds() -> None:
    net = forward(
        "x = self.fc(x)\nself.act(x)\nreturn self.fc(x)",
        "self.fc = nn.Linear(2, 2)\nself.act = nn.ReLU(True)",
    )
    last = net.nodes[-1]
    assert net.inputs(last)[0].op == "relu"


def test_checkpoint_runs_its_function() -> None:
    body = "return torch.utils.checkpoint.checkpoint(self.fc, x, use_reentrant=False)"
    assert chain(forward(body, "self.fc = nn.Linear(2, 2)")) == ["linear[fc]"]


def test_recursion_and_endless_loops_end() -> None:
    text = """
    def f(x):
        return f(torch.relu(x))
    def g(x):
        while True:
            x = torch.relu(x)
    f(torch.randn(2))
    g(torch.randn(2))
    """
    assert len(read(text).nodes) < 200


def test_match_statements_choose_layers() -> None:
    text = """
    def act(name):
        match name:
            case "relu":
                return nn.ReLU()
            case "tanh" | "th":
                return nn.Tanh()
            case _:
                return nn.Identity()
    nn.Sequential(act("th"), act("relu"))(torch.randn(3))
    """
    assert [s.partition("[")[0] for s in chain(read(text))] == ["tanh", "relu"]


def test_recurrent_layers_give_tuples() -> None:
    init = "self.rnn = nn.LSTM(4, 8)\nself.fc = nn.Linear(8, 1)"
    net = forward("out, (h, c) = self.rnn(x)\nreturn self.fc(h[-1])", init)
    assert chain(net)[0] == "lstm[rnn]"
    assert chain(net)[-1] == "linear[fc]"


def test_a_cell_over_time_is_unrolled_twice_with_one_layer() -> None:
    init = "self.i = nn.Linear(3, 5)\nself.h = nn.Linear(5, 5)"
    body = """
    h = x.new_zeros(x.size(0), 5)
    for t in range(x.size(1)):
        h = torch.relu(self.i(x[:, t]) + self.h(h))
    return h
    """
    net = forward(body, init)
    assert chain(net).count("linear[h]") == 2
    assert chain(net)[-1] == "loop"


def test_initialisations_are_facts_about_layers() -> None:
    text = """
    def init(m):
        if isinstance(m, nn.Linear):
            nn.init.constant_(m.weight, 0.5)
    class M(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(4, 4)
            self.bn = nn.BatchNorm1d(4)
            self.apply(init)
            self.fc.bias.data.zero_()
        def forward(self, x):
            return self.bn(self.fc(x))
    """
    net = read(text)
    facts = [(net.layers[i.layer].name, i.tensor, i.function) for i in net.inits]
    assert facts == [("fc", "weight", "constant_"), ("fc", "bias", "zeros_")]


def test_a_rewrapped_loss_is_noted() -> None:
    text = """
    net = nn.Linear(2, 1)
    loss = F.mse_loss(net(torch.randn(3, 2)), torch.zeros(3, 1))
    loss = torch.tensor(loss.item(), requires_grad=True)
    loss.backward()
    """
    assert len(read(text).rewraps) == 1


def test_named_sizes_compare_with_their_multiples_only() -> None:
    text = """
    class FF(nn.Module):
        def __init__(self, dim, other):
            super().__init__()
            self.up = nn.Linear(dim, 4 * dim)
            self.down = nn.Linear(4 * dim, dim // 2)
        def forward(self, x):
            return self.down(self.up(x))
    """
    up, down = read(text).layers[:2]
    assert smaller(up.args["in_features"], up.args["out_features"]) is True
    assert smaller(down.args["out_features"], up.args["in_features"]) is True
    assert smaller(up.args["in_features"], Symbol("other")) is None


def test_shapes_prove_the_batch_axis_and_the_last_width() -> None:
    net = read("net = nn.Linear(8, 1)\ny = net(torch.randn(16, 8))\n")
    assert net.nodes[-1].shape == (16, 1)
    flat = forward(
        "x = torch.flatten(self.conv(x), 1)\nreturn self.fc(x)",
        "self.conv = nn.Conv2d(1, 2, 3)\nself.fc = nn.Linear(9, 3)",
    )
    assert flat.nodes[-1].batch_first
    assert len(flat.nodes[-1].shape or ()) == 2


def test_outputs_say_who_returned_them_and_who_holds_them() -> None:
    text = """
    class Inner(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(2, 2)
        def forward(self, x):
            return self.fc(x)
    class Outer(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = Inner()
        def forward(self, x):
            return F.relu(self.inner(x))
    """
    outputs = read(text).outputs
    assert [(o.owner, o.contained) for o in outputs] == [("Outer", False)]


def test_what_is_not_known_is_an_unknown_node_and_keeps_its_inputs() -> None:
    net = forward("return mystery(self.fc(x))", "self.fc = nn.Linear(2, 2)")
    last = net.nodes[-1]
    assert last.op == "unknown"
    assert net.inputs(last)[0].op == "linear"


def test_a_registry_is_a_dict_with_a_getitem_of_its_own() -> None:
    text = """
    from collections import OrderedDict
    class Registry(OrderedDict):
        def __getitem__(self, key):
            content = super().__getitem__(key)
            cls, kwargs = content if isinstance(content, tuple) else (content, {})
            return cls(**kwargs)
    ACTS = Registry({"gelu": nn.GELU, "leaky": (nn.LeakyReLU, {"negative_slope": 0.2})})
    nn.Sequential(ACTS["gelu"], ACTS["leaky"])(torch.randn(3))
    """
    assert chain(read(text)) == ["gelu[0]", "leaky_relu[1]"]


def test_a_sequential_that_nothing_applies_is_applied_once() -> None:
    text = """
    def factory(n):
        return nn.Sequential(nn.Linear(n, n), nn.ReLU(), nn.Linear(n, 1))
    """
    net = read(text)
    assert [s.partition("[")[0] for s in chain(net)] == ["linear", "relu", "linear"]
    assert all(node.span is not None for node in net.nodes)


def test_model_forward_is_a_call_of_the_model() -> None:
    text = """
    class M(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(2, 2)
        def forward(self, x):
            return self.fc(x)
    y = nn.DataParallel(M()).cuda().forward(torch.randn(1, 2))
    """
    assert [o.owner for o in read(text).outputs] == ["M"]


def test_attributes_of_a_sequential_are_its_elements() -> None:
    text = """
    class ConvNorm(nn.Sequential):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 8, 3)
            self.add_module("bn", nn.BatchNorm2d(8))
    ConvNorm()(torch.randn(1, 3, 8, 8))
    """
    assert chain(read(text)) == ["conv[conv]", "batch_norm[bn]"]


# -- what builders of networks compute with ---------------------------------------------------------


def widths(code: str, header: str = "") -> list[object]:
    """The output widths of the layers that code makes with ``add(width)``."""
    text = f"""
    {header}
    import collections.abc, dataclasses, functools, itertools, math, numbers, operator, os, re, types
    from enum import Enum
    layers = []
    def add(width):
        layers.append(nn.Linear(4, width))
    """
    net = read(dedent(text) + dedent(code))
    return [layer.args["out_features"] for layer in net.layers if layer.op == "linear"]


def test_widths_of_a_regnet_are_computed_with_torch() -> None:
    code = """
    cont = torch.arange(5) * 8.5 + 24
    exps = torch.round(torch.log(cont / 24) / math.log(2.2))
    rounded = torch.round(torch.divide(24 * torch.pow(2.2, exps), 8)) * 8
    [add(width) for width in rounded.int().tolist()]
    distinct, counts = torch.unique(rounded.int(), return_counts=True)
    [add(count) for count in counts.tolist()]
    add(len(torch.unique(rounded)))
    [add(n) for n in (4 ** torch.arange(2)).flip(0).tolist()]
    [add(step) for step in torch.diff(torch.tensor([2, 5, 9])).tolist()]
    """
    assert widths(code) == [24, 24, 56, 56, 56, 2, 3, 2, 4, 1, 3, 4]


def test_drop_rates_are_known_numbers() -> None:
    code = """
    rates = [x.item() for x in torch.linspace(0, 0.2, 5)]
    [add(1 if rate > 0.0 else 2) for rate in rates]
    [add(len(rows.tolist())) for rows in torch.linspace(0, 1, 5).split([2, 3])]
    import numpy as np
    add(int(np.ceil(np.sqrt(17))))
    """
    assert widths(code) == [2, 1, 1, 1, 1, 2, 3, 5]


def test_unknown_bounds_give_no_numbers() -> None:
    text = """
    class M(nn.Module):
        def __init__(self, depth):
            super().__init__()
            rates = [x.item() for x in torch.linspace(0, 0.2, depth)]
            self.fc = nn.Linear(4, 8 if rates[0] > 0 else 4)

        def forward(self, x):
            return self.fc(x)
    """
    assert [layer.args["out_features"] for layer in read(text).layers] == [UNKNOWN]


def test_abstract_classes_tell_rows_from_numbers() -> None:
    code = """
    def pair(x):
        if isinstance(x, collections.abc.Iterable) and not isinstance(x, str):
            return tuple(x)
        return tuple(itertools.repeat(x, 2))
    [add(width) for width in (*pair(3), *pair((4, 5)), *pair([6, 7]))]
    add(1 if isinstance(pair, collections.abc.Callable) else 2)
    add(1 if isinstance(3.5, numbers.Number) else 2)
    add(1 if isinstance({}, collections.abc.Mapping) else 2)
    """
    assert widths(code) == [3, 3, 4, 5, 6, 7, 1, 1, 1]


def test_a_partial_is_told_from_a_class_and_taken_apart() -> None:
    code = """
    def unbind(layer):
        if isinstance(layer, functools.partial):
            return layer.func, layer.keywords["bias"], layer.args[0]
        if isinstance(layer, types.FunctionType):
            return None, 9, 9
        return layer, 1, 2
    for layer in (functools.partial(nn.Linear, 7, bias=8), nn.ReLU, lambda: 0):
        kind, bias, first = unbind(layer)
        add(bias)
        add(first)
    """
    assert widths(code) == [8, 7, 1, 2, 9, 9]


def test_dataclasses_with_factories_and_replaced_fields() -> None:
    code = """
    @dataclasses.dataclass
    class Cfg:
        width: int = 8
        blocks: list = dataclasses.field(default_factory=list)
        depth: int = dataclasses.field(default=3)
        def __post_init__(self):
            self.hidden = 4 * self.width
    first, second = Cfg(), Cfg()
    first.blocks.append(1)
    wide = dataclasses.replace(first, width=16)
    [add(n) for n in (len(first.blocks), len(second.blocks), wide.width, wide.depth, first.hidden)]
    add(dataclasses.asdict(wide)["width"])
    """
    assert widths(code) == [1, 0, 16, 3, 32, 16]


def test_block_strings_are_taken_apart() -> None:
    code = r"""
    options = {}
    for op in "r2_k3_c24".split("_"):
        key, value = re.split(r"(\d.*)", op)[:2]
        options[key] = int(value)
    [add(options[key]) for key in ("r", "k", "c")]
    add(1 if "12".isdigit() else 2)
    add(len("a.b".partition(".")))
    """
    assert widths(code) == [2, 3, 24, 1, 3]


def test_a_pattern_that_could_take_exponential_time_is_not_run() -> None:
    assert widths(r'add(len(re.split("(a+)+b", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaac")))') == [UNKNOWN]


def test_what_libraries_and_classes_have() -> None:
    code = """
    add(1 if "silu" in dir(torch.nn.functional) else 2)
    add(1 if hasattr(torch.nn, "GELU") else 2)
    add(1 if torch.jit.is_scripting() else 2)
    class Base: pass
    class Child(Base): pass
    add(1 if issubclass(Child, Base) else 2)
    add(1 if issubclass(Base, Child) else 2)
    add(int(os.environ.get("WIDTH", "6")))
    """
    assert widths(code) == [1, 1, 2, 1, 2, 6]


def test_lists_joined_by_sum_and_products_by_reduce() -> None:
    code = """
    [add(width) for width in sum([[n] + [1] * (n - 1) for n in (2, 3)], [])]
    add(functools.reduce(operator.mul, (2, 3, 4), 1))
    [add(10 * a + b) for a, b in itertools.product((1, 2), (3,))]
    """
    assert widths(code) == [2, 1, 3, 1, 1, 24, 13, 23]


def test_a_member_of_an_enumeration_by_its_value_and_the_locals() -> None:
    code = """
    class Order(str, Enum):
        FIRST = "first"
        LAST = "last"
    def build(depth, order="last"):
        add(1 if Order(order) == Order.LAST else 2)
        add(locals()["depth"])
    build(5)
    """
    assert widths(code) == [1, 5]


def test_an_element_of_a_sequential_has_the_name_it_was_given() -> None:
    init = """
    from collections import OrderedDict
    self.net = nn.Sequential(OrderedDict(fc=nn.Linear(4, 4), act=nn.ReLU()))
    self.net.add_module("out", nn.Linear(4, 2))
    """
    assert chain(forward("return self.net(x)", init)) == ["linear[net.fc]", "relu[net.act]", "linear[out]"]


def test_elements_of_a_sequential_of_unknown_length_are_never_certain() -> None:
    text = """
    class M(nn.Module):
        def __init__(self, depth):
            super().__init__()
            self.net = nn.Sequential(*[nn.Linear(4, 4) for _ in range(depth)])
        def forward(self, x):
            return self.net(x)
    """
    assert {node.maybe for node in read(text).nodes if node.op == "linear"} == {True}


def test_slices_of_texts_and_filtered_lists() -> None:
    code = """
    add(int("w48"[1:]))
    [add(n) for n in filter(None, [2, None, 0, 3])]
    [add(n) for n in filter(lambda n: n > 2, [2, 3, 4])]
    """
    assert widths(code) == [48, 2, 3, 3, 4]


def test_a_forward_that_init_chooses() -> None:
    text = """
    class M(nn.Module):
        def __init__(self, kind="split"):
            super().__init__()
            self.fc = nn.Linear(4, 4)
            if kind == "split":
                self.forward = self.forward_split
            else:
                self.forward = self.forward_whole
        def forward_split(self, x):
            return F.relu(self.fc(x))
        def forward_whole(self, x):
            return torch.tanh(self.fc(x))
    M()(torch.randn(2, 4))
    """
    assert chain(read(text))[:2] == ["linear[fc]", "relu"]


def test_a_branch_that_may_not_be_taken_renames_no_layer() -> None:
    text = """
    class M(nn.Module):
        def __init__(self, tie):
            super().__init__()
            self.fc = nn.Linear(4, 4)
            if tie:
                self.other = self.fc
        def forward(self, x):
            return self.fc(x)
    """
    assert chain(read(text)) == ["linear[fc]"]


def made(net: Net) -> list[Arg]:
    """The output widths of the Linears, in the order in which they are made."""
    return [layer.args["out_features"] for layer in net.layers]


def test_decorators_fill_their_registry() -> None:
    net = read("""
        widths = {}
        def register(name):
            def wrap(f):
                widths[name] = f()
                return f
            return wrap
        @register("small")
        def small(): return 8
        x = torch.randn(2, 4)
        nn.Linear(4, widths.get("small", 3))(x)
        nn.Linear(4, 5 if "small" in widths else 6)(x)
        nn.Linear(4, 5 if "large" in widths else 6)(x)
        nn.Linear(4, small())(x)
    """)
    assert made(net) == [8, 5, 6, 8]


def test_a_registry_may_be_an_object_and_decorate_classes() -> None:
    net = read("""
        class Registry:
            def __init__(self): self.known = {}
            def register(self, cls):
                self.known[cls.__name__] = cls
                return cls
            def __call__(self, cls): return self.register(cls)
        HEADS, BODIES = Registry(), Registry()
        @HEADS.register
        class Head(nn.Linear): pass
        @BODIES
        class Body(nn.Linear): pass
        x = torch.randn(2, 4)
        HEADS.known["Head"](4, 8)(x)
        BODIES.known["Body"](4, 9)(x)
    """)
    assert made(net) == [8, 9]


def test_a_decorator_that_finds_its_module_by_name_fills_registries_of_other_files() -> None:
    """As timm's ``register_model``: from the function's module come its configurations."""
    files = {
        "pkg/__init__.py": "from .models import tiny\n",
        "pkg/registry.py": """
            import sys
            from collections import defaultdict
            configs, groups = {}, defaultdict(list)
            def register(fn):
                module = sys.modules[fn.__module__]
                if hasattr(module, "__all__"):
                    module.__all__.append(fn.__name__)
                else:
                    module.__all__ = [fn.__name__]
                groups[fn.__module__.split(".")[-1]].append(fn.__name__)
                if hasattr(module, "default_cfgs") and fn.__name__ in module.default_cfgs:
                    configs[fn.__name__] = module.default_cfgs[fn.__name__]
                return fn
        """,
        "pkg/models.py": """
            from torch import nn
            from .registry import configs, register
            default_cfgs = {"tiny": {"classes": 7}}
            @register
            def tiny(): return nn.Linear(4, configs.get("tiny", {"classes": 1000})["classes"])
            @register
            def other(): return nn.Linear(4, configs.get("other", {"classes": 10})["classes"])
        """,
        "train.py": """
            import torch
            from pkg import models, registry
            x = torch.randn(2, 4)
            models.tiny()(x)
            models.other()(x)
            torch.nn.Linear(4, len(registry.groups["models"]))(x)
            torch.nn.Linear(4, len(models.__all__))(x)
        """,
    }
    nets = {net.path: net for net in read_files(files).nets}
    assert made(nets["train.py"]) == [7, 10, 2, 2]


def test_decorators_run_once_although_a_name_is_used_before_its_definition() -> None:
    net = read("""
        names = []
        def register(f):
            names.append(f)
            return f
        def early(): return late
        early()
        @register
        def late(): pass
        nn.Linear(4, len(names))(torch.randn(2, 4))
    """)
    assert made(net) == [1]


def test_what_a_decorator_returns_does_not_hide_the_function() -> None:
    net = read("""
        def logged(f):
            def inner(*args):
                print(f)
                return f(*args)
            return inner
        @logged
        def make(): return nn.Linear(4, 8)
        make()(torch.randn(2, 4))
    """)
    assert made(net) == [8]


def test_a_decorator_without_an_end_does_not_hide_what_it_decorates() -> None:
    net = read("""
        def forever(f):
            return f() and forever(forever)(forever) if f is not None else [forever(f) for _ in range(64)]
        @forever
        def classify(x): return F.cross_entropy(torch.softmax(nn.Linear(4, 8)(x), 1), x)
    """)
    assert chain(net) == ["linear", "softmax", "cross_entropy"]


def test_a_defaultdict_makes_the_values_of_new_keys() -> None:
    net = read("""
        from collections import defaultdict, deque
        rows, counts = defaultdict(list), defaultdict(int)
        for name in ("a", "b", "a"):
            rows[name].append(name)
            counts[name] += 1
        x = torch.randn(2, 4)
        nn.Linear(4, len(rows["a"]))(x)
        nn.Linear(4, counts["a"] + counts["c"])(x)
        order = deque([5])
        order.appendleft(6)
        nn.Linear(4, order[0])(x)
    """)
    assert made(net) == [2, 2, 6]


def test_an_object_is_no_dict_unless_its_class_says_so() -> None:
    net = read("""
        class Config:
            width = 8
        class Table(dict): pass
        class Odd(unknown.Base): pass
        x = torch.randn(2, 4)
        nn.Linear(4, 5 if isinstance(Config(), dict) else 6)(x)
        nn.Linear(4, 5 if isinstance(Table(), dict) else 6)(x)
        nn.Linear(4, 5 if isinstance(Odd(), (dict, str)) else 6)(x)
    """)
    assert made(net) == [6, 5, UNKNOWN]


def test_a_key_that_only_one_branch_sets_may_not_be_there() -> None:
    net = read("""
        table = {"sure": 2}
        if torch.cuda.is_available():
            table["fast"] = 3
        x = torch.randn(2, 4)
        nn.Linear(4, table["sure"])(x)
        nn.Linear(4, table["fast"])(x)
        nn.Linear(4, table.get("fast", 5))(x)
        nn.Linear(4, 6 if "fast" in table else 7)(x)
        nn.Linear(4, 6 if "sure" in table else 7)(x)
        nn.Linear(4, 6 if "slow" in table else 7)(x)
        nn.Linear(4, len(table))(x)
        table["fast"] = 8
        nn.Linear(4, len(table))(x)
    """)
    assert made(net) == [2, 3, UNKNOWN, UNKNOWN, 6, 7, UNKNOWN, 2]


def test_a_key_that_both_branches_set_is_there() -> None:
    net = read("""
        table = {}
        if torch.cuda.is_available():
            table["width"] = 3
        else:
            table["width"] = 3
        nn.Linear(4, table.get("width", 5))(torch.randn(2, 4))
    """)
    assert made(net) == [3]


def test_a_key_that_only_a_loop_sets_may_not_be_there() -> None:
    net = read("""
        import sys
        table = {}
        for name in sys.argv:
            table["width"] = 3
        table.setdefault("width", 5)
        nn.Linear(4, table["width"])(torch.randn(2, 4))
    """)
    assert made(net) == [UNKNOWN]


def test_an_argument_that_is_passed_on_one_branch_only_is_not_known() -> None:
    net = read("""
        class Head(nn.Module):
            def __init__(self, width=5, depth=2):
                super().__init__()
                self.fc = nn.Linear(depth, width)
        kwargs = {}
        if torch.cuda.is_available():
            kwargs["width"] = 3
        Head(**kwargs)
    """)
    assert made(net) == [UNKNOWN]
    assert net.layers[0].args["in_features"] == 2


def test_what_imports_do_does_not_count_for_the_file_that_imports() -> None:
    """A package of long files is read to its last one, although together they are over one file's budget."""
    long = """
        table = {}
        for i in range(64):
            for j in range(64):
                table[i] = j + 1
    """
    files = {f"pkg/part{n}.py": long for n in range(4)}
    files["pkg/__init__.py"] = (
        "".join(f"from .part{n} import table\n" for n in range(4)) + "from .z import Net\n"
    )
    files["pkg/z.py"] = "from torch import nn\nWIDTH = 8\nclass Net(nn.Linear):\n    pass\n"
    files["train.py"] = "import torch, pkg\npkg.Net(4, pkg.z.WIDTH)(torch.randn(2, 4))\n"
    nets = {net.path: net for net in read_files(files).nets}
    assert made(nets["train.py"]) == [8]


def test_a_list_that_may_go_on_is_read_as_far_as_it_is_known() -> None:
    net = read("""
        names = ("a", "b")
        if unknown:
            names += ("c",)
        widths = {}
        for name in names:
            widths.setdefault(name, 5)
        nn.Linear(4, widths.get("a", 3))(torch.randn(2, 4))
        nn.Linear(4, widths.get("b", 3))(torch.randn(2, 4))
    """)
    assert [layer.args["out_features"] for layer in net.layers] == [5, 5]


def test_a_key_that_is_not_known_opens_a_dict() -> None:
    net = read("""
        widths = {"b": 7}
        widths.setdefault(unknown, 5)
        nn.Linear(4, widths.get("a", 3))(torch.randn(2, 4))
        nn.Linear(4, widths["b"])(torch.randn(2, 4))
        widths.pop(unknown)
        nn.Linear(4, widths.get("b", 3))(torch.randn(2, 4))
    """)
    assert [layer.args["out_features"] for layer in net.layers] == [UNKNOWN, 7, UNKNOWN]
