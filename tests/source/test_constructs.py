"""What the source reader understands: each test is one construct that networks are written with."""

from __future__ import annotations

import pytest

from relucheck.net import Symbol, smaller
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
