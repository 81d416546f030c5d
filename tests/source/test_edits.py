"""What each fix intent makes of a text: one test a layout."""

import ast
import textwrap

import pytest

from relucheck.finding import Assign, Drop, Fix, Insert, Safety, SetArg, Swap, Unlist
from relucheck.source.edits import apply, replacements
from relucheck.source.files import from_text
from relucheck.span import Span

HEAD = "import torch\nimport torch.nn.functional as F\nfrom torch import nn\n"


def at(text, piece, number=0):
    """The span of a piece of the text, the number-th time that it stands there."""
    start = -1
    for _ in range(number + 1):
        start = text.index(piece, start + 1)
    row, before = text.count("\n", 0, start) + 1, text.rfind("\n", 0, start) + 1
    end = start + len(piece)
    end_row, end_before = text.count("\n", 0, end) + 1, text.rfind("\n", 0, end) + 1
    return Span("m.py", None, row, start - before + 1, end_row, end - end_before + 1)


def fix(*edits):
    return Fix("do it", Safety.SAFE, edits)


def edited(text, *edits):
    return apply(from_text("m.py", text), [fix(edit) for edit in edits])


def after(text, edit):
    """The text with one edit, which must be carried out."""
    result = edited(text, edit)
    assert not result.refused, result.refused
    ast.parse(result.text)
    return result.text


def refused(text, edit):
    result = edited(text, edit)
    assert result.text == text
    return result.refused[0].reason


def body(text):
    return HEAD + textwrap.dedent(text).lstrip("\n")


# ------------------------------------------------------------- Drop: elements

ON_LINES = """
net = nn.Sequential(
    nn.Linear(3, 4),
    nn.ReLU(),  # squash
    nn.Linear(4, 2),
)
"""


def test_an_element_goes_with_its_line():
    text = body(ON_LINES)
    assert after(text, Drop(at(text, "nn.ReLU()"))) == text.replace("    nn.ReLU(),  # squash\n", "")


@pytest.mark.parametrize(
    ("before", "expected"),
    [
        ("nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Tanh())", "nn.Sequential(nn.Linear(3, 4), nn.Tanh())"),
        ("nn.Sequential(nn.ReLU(), nn.Linear(3, 4))", "nn.Sequential(nn.Linear(3, 4))"),
        ("nn.Sequential(nn.Linear(3, 4), nn.ReLU())", "nn.Sequential(nn.Linear(3, 4))"),
        ("nn.Sequential(nn.Linear(3, 4), nn.ReLU(),)", "nn.Sequential(nn.Linear(3, 4),)"),
        ("nn.Sequential(nn.ReLU())", "nn.Sequential()"),
        ("[nn.Linear(3, 4), nn.ReLU()]", "[nn.Linear(3, 4)]"),
        ("[\n    nn.Linear(3, 4),\n    nn.ReLU()\n]", "[\n    nn.Linear(3, 4)\n]"),
        ("[nn.Linear(3, 4),\n nn.ReLU()]", "[nn.Linear(3, 4)]"),
        ("[nn.Linear(3, 4), nn.ReLU(),\n nn.Tanh()]", "[nn.Linear(3, 4),\n nn.Tanh()]"),
        ("[nn.Linear(3, 4),  # in\n nn.ReLU()]", "[nn.Linear(3, 4)  # in\n ]"),
        ("[nn.Linear(3, 4), (nn.ReLU())]", "[nn.Linear(3, 4)]"),
        ('OrderedDict([("a", nn.Tanh()), ("b", nn.ReLU())])', 'OrderedDict([("a", nn.Tanh())])'),
    ],
)
def test_dropping_an_element(before, expected):
    text = body(f"net = {before}\n")
    assert after(text, Drop(at(text, "nn.ReLU()"))) == body(f"net = {expected}\n")


def test_a_multi_line_element_goes_with_its_lines():
    text = body(
        "net = nn.Sequential(\n    nn.Linear(3, 4),\n    nn.ReLU(\n        inplace=True,\n    ),\n)\n"
    )
    node = "nn.ReLU(\n        inplace=True,\n    )"
    assert after(text, Drop(at(text, node))) == body("net = nn.Sequential(\n    nn.Linear(3, 4),\n)\n")


def test_an_append_goes_as_a_statement():
    text = body("layers = []\nlayers.append(nn.Tanh())\nlayers.append(nn.ReLU())  # last\n")
    assert after(text, Drop(at(text, "nn.ReLU()"))) == body("layers = []\nlayers.append(nn.Tanh())\n")


def test_a_block_of_one_statement_keeps_a_pass():
    text = body("layers = []\nfor i in range(3):\n    layers.append(nn.ReLU())\n")
    assert after(text, Drop(at(text, "nn.ReLU()"))).endswith("for i in range(3):\n    pass\n")


def test_a_named_module_goes():
    text = body('net = nn.Sequential()\nnet.add_module("act", nn.ReLU())\n')
    assert after(text, Drop(at(text, "nn.ReLU()"))) == body("net = nn.Sequential()\n")


@pytest.mark.parametrize(
    "line",
    ["act = nn.ReLU()", "fc, act = nn.Linear(3, 4), nn.ReLU()", "block = Block(nn.Linear(3, 4), nn.ReLU())"],
)
def test_what_is_no_list_of_layers_is_left_alone(line):
    text = body(line + "\n")
    assert refused(text, Drop(at(text, "nn.ReLU()"))) == "it does not stand in a list of layers"


def test_the_arguments_of_a_subclass_of_sequential():
    text = body(
        """
        class Net(nn.Sequential):
            def __init__(self):
                super().__init__(nn.Linear(3, 4), nn.ReLU())
        """
    )
    assert "super().__init__(nn.Linear(3, 4))" in after(text, Drop(at(text, "nn.ReLU()")))


# --------------------------------------------------------- Drop: applications


@pytest.mark.parametrize(
    ("before", "expected"),
    [
        ("y = «F.relu(x)»", "y = x"),
        ("y = «F.softmax(net(x), dim=1)»", "y = net(x)"),
        ("y = «torch.relu(input=x)»", "y = x"),
        ("y = «self.act(x)»", "y = x"),
        ("y = «nn.Softmax(dim=1)(x)»", "y = x"),
        ("y = «x.relu()»", "y = x"),
        ("y = «x.softmax(-1)»", "y = x"),
        ("y = «self.fc(x).softmax(dim=1)»", "y = self.fc(x)"),
        ("y = «F.relu(a + b)» * 2", "y = (a + b) * 2"),
        ("y = «F.relu(a + b)»", "y = a + b"),
        ("y = «F.relu(a if b else c)».mean()", "y = (a if b else c).mean()"),
        ("y = «F.relu(\n    net(x),\n    inplace=True,\n)»", "y = net(x)"),
        ("y = «F.relu(\n    a +\n    b\n)»", "y = (a +\n    b)"),
        ("y = torch.cat([«F.relu(a)», b])", "y = torch.cat([a, b])"),
        ("loss = criterion(«F.relu(out)», y)", "loss = criterion(out, y)"),
    ],
)
def test_an_application_becomes_its_argument(before, expected):
    piece = before[before.index("«") + 1 : before.index("»")]
    text = body(before.replace("«", "").replace("»", "") + "\n")
    assert after(text, Drop(at(text, piece))) == body(expected + "\n")


def test_a_comment_is_not_lost():
    text = body("y = F.relu(\n    x,  # the input\n    inplace=True,\n)\n")
    assert refused(text, Drop(at(text, text[text.index("F.relu") : -1]))) == "a comment would be lost"


def test_a_statement_is_not_dropped():
    text = body("F.relu_(x)\n")
    assert refused(text, Drop(at(text, "F.relu_(x)"))) == "it is a statement of its own"


# ----------------------------------------------------------------------- Swap


@pytest.mark.parametrize(
    ("before", "expected"),
    [
        ("F.relu(x)", "F.gelu(x)"),
        ("torch.nn.functional.relu(x, inplace=True)", "torch.nn.functional.gelu(x)"),
        ("F.relu(x, True)", "F.gelu(x)"),
    ],
)
def test_a_function_is_swapped(before, expected):
    text = body(f"y = {before}\n")
    assert after(text, Swap(at(text, before), "relu", "gelu")) == body(f"y = {expected}\n")


def test_a_class_is_swapped_and_its_inplace_goes():
    text = body("act = nn.ReLU(inplace=True)\n")
    assert after(text, Swap(at(text, "nn.ReLU(inplace=True)"), "ReLU", "GELU")).endswith("act = nn.GELU()\n")
    assert after(text, Swap(at(text, "nn.ReLU(inplace=True)"), "ReLU", "SiLU")).endswith(
        "nn.SiLU(inplace=True)\n"
    )


def test_a_bare_name_is_imported():
    text = "from torch.nn import Linear, ReLU\n\nact = ReLU()\n"
    expected = "from torch.nn import Linear, ReLU, GELU\n\nact = GELU()\n"
    assert after(text, Swap(at(text, "ReLU()"), "ReLU", "GELU")) == expected


def test_a_string_keeps_its_quotes():
    text = body("layer = nn.TransformerEncoderLayer(8, 2, activation='relu')\n")
    assert after(text, Swap(at(text, "'relu'"), "relu", "gelu")) == text.replace("'relu'", "'gelu'")


def test_a_method_has_no_other_function():
    text = body("y = x.relu()\n")
    assert "method of a tensor" in refused(text, Swap(at(text, "x.relu()"), "relu", "gelu"))


def test_what_is_not_there_is_not_swapped():
    text = body("y = F.elu(x)\n")
    assert refused(text, Swap(at(text, "F.elu(x)"), "relu", "gelu")) == "this place does not spell relu"


# --------------------------------------------------------------------- SetArg


@pytest.mark.parametrize(
    ("before", "edit", "expected"),
    [
        ("f()", ("dim", "1"), "f(dim=1)"),
        ("f(x)", ("dim", "1"), "f(x, dim=1)"),
        ("f(x,)", ("dim", "1"), "f(x, dim=1,)"),
        ("f(x, dim=0)", ("dim", "1"), "f(x, dim=1)"),
        ("f(True)", ("inplace", "True", 0), "f(inplace=True)"),
        ("f(3, 0.8)", ("momentum", "0.8", 1), "f(3, momentum=0.8)"),
        ("f(3)", ("momentum", "0.8", 1), "f(3, momentum=0.8)"),
        ("f(\n    x,\n)", ("dim", "1"), "f(\n    x,\n    dim=1,\n)"),
        ("f(\n    x  # in\n)", ("dim", "1"), "f(\n    x,  # in\n    dim=1\n)"),
        ("f(\n    x, y\n)", ("dim", "1"), "f(\n    x, y, dim=1\n)"),
        ("f(x, dim=(0))", ("dim", "1"), "f(x, dim=1)"),
    ],
)
def test_an_argument_is_set(before, edit, expected):
    text = f"y = {before}\n"
    assert after(text, SetArg(at(text, before), *edit)) == f"y = {expected}\n"


def test_what_a_star_may_hold_is_not_set():
    text = "y = f(*a)\n"
    assert "with a star" in refused(text, SetArg(at(text, "f(*a)"), "dim", "1"))


def test_an_edit_that_is_no_python_is_refused():
    text = "f(x)\n"
    assert refused(text, Assign(at(text, "f(x)"), "1")) == "the file would not be Python any more"


def test_a_positional_argument_becomes_a_named_one_only_where_none_follows():
    text = "y = f(True, 3)\n"
    reason = refused(text, SetArg(at(text, "f(True, 3)"), "inplace", "True", 0))
    assert reason == "arguments without names follow it"


# --------------------------------------------------------------------- Insert


def test_an_element_is_inserted_on_its_own_line():
    text = body(ON_LINES)
    expected = text.replace("    nn.Linear(4, 2),", "    nn.ReLU(),\n    nn.Linear(4, 2),")
    assert after(text, Insert(at(text, "nn.Linear(4, 2)"), "nn.ReLU()")) == expected


@pytest.mark.parametrize(
    ("before", "expected"),
    [
        ("nn.Sequential(nn.Tanh(), nn.Linear(4, 2))", "nn.Sequential(nn.Tanh(), nn.ReLU(), nn.Linear(4, 2))"),
        ("[nn.Tanh(),\n nn.Linear(4, 2)]", "[nn.Tanh(),\n nn.ReLU(),\n nn.Linear(4, 2)]"),
        (
            "OrderedDict([('fc', nn.Linear(4, 2))])",
            "OrderedDict([('relu', nn.ReLU()), ('fc', nn.Linear(4, 2))])",
        ),
    ],
)
def test_inserting_an_element(before, expected):
    text = body(f"net = {before}\n")
    assert after(text, Insert(at(text, "nn.Linear(4, 2)"), "nn.ReLU()")) == body(f"net = {expected}\n")


def test_an_append_is_inserted_as_a_statement():
    text = body("def f(layers):\n    layers.append(nn.Linear(4, 2))\n")
    expected = body("def f(layers):\n    layers.append(nn.ReLU())\n    layers.append(nn.Linear(4, 2))\n")
    assert after(text, Insert(at(text, "nn.Linear(4, 2)"), "nn.ReLU()")) == expected


@pytest.mark.parametrize(
    ("head", "prefix"),
    [
        ("import torch\n", "torch.nn."),
        ("import torch.nn as tnn\n", "tnn."),
        ("from torch import nn as layers\n", "layers."),
        ("from torch.nn import Sequential, Linear, ReLU\n", ""),
    ],
)
def test_inserted_code_is_spelled_as_the_file_does(head, prefix):
    text = f"{head}net = {prefix}Sequential({prefix}Linear(3, 4), {prefix}Linear(4, 2))\n"
    result = after(text, Insert(at(text, f"{prefix}Linear(4, 2)"), "nn.ReLU()"))
    assert result == text.replace(f", {prefix}Linear(4", f", {prefix}ReLU(), {prefix}Linear(4")


def test_a_missing_import_is_added():
    text = "from torch.nn import Sequential, Linear\nnet = Sequential(Linear(3, 4), Linear(4, 2))\n"
    result = after(text, Insert(at(text, "Linear(4, 2)"), "nn.ReLU()"))
    assert result.startswith("from torch.nn import Sequential, Linear, ReLU\n")


def test_a_file_without_the_import_is_left_alone():
    text = "net = Sequential(Linear(4, 2))\n"
    assert refused(text, Insert(at(text, "Linear(4, 2)"), "nn.ReLU()")) == "the file does not import torch.nn"


# --------------------------------------------------------------------- Assign


def test_a_discarded_result_is_assigned():
    text = body("def f(x):\n    F.relu(x)  # rectify\n    return x\n")
    assert after(text, Assign(at(text, "F.relu(x)"), "x")) == text.replace("    F.relu", "    x = F.relu")


def test_what_is_used_is_not_assigned():
    text = body("y = F.relu(x)\n")
    assert "no statement" in refused(text, Assign(at(text, "F.relu(x)"), "x"))


def test_a_result_is_assigned_to_what_it_was_applied_to():
    text = body("def f(self, x):\n    self.drop(x)\n    return x\n")
    assert after(text, Assign(at(text, "self.drop(x)"))) == text.replace("    self.drop", "    x = self.drop")


def test_what_has_no_name_is_not_assigned():
    text = body("F.relu(a.b + c)\n")
    assert "no name of its own" in refused(text, Assign(at(text, "F.relu(a.b + c)")))


# ------------------------------------------------------------------- comments


@pytest.mark.parametrize(
    ("before", "codes", "expected"),
    [
        ("x = 1  «# relucheck: ignore[RLU101]» as published\n", ("RLU101",), "x = 1\n"),
        ("x = 1  «# relucheck: ignore»\n", (), "x = 1\n"),
        ("«# relucheck: ignore-file»\nx = 1\n", (), "x = 1\n"),
        (
            "x = 1  «# relucheck: ignore[RLU101, bool-slope]» why\n",
            ("RLU101",),
            "x = 1  # relucheck: ignore[bool-slope] why\n",
        ),
        ("x = 1  «# noqa: RLU101, E501»\n", ("RLU101",), "x = 1  # noqa: E501\n"),
        ("x = 1  «# noqa: RLU101»\n", ("RLU101",), "x = 1\n"),
        ("x = 1  «# relucheck: ignore[RLU101]» why # type: ignore\n", ("RLU101",), "x = 1  # type: ignore\n"),
    ],
)
def test_a_suppression_goes_or_loses_codes(before, codes, expected):
    piece = before[before.index("«") + 1 : before.index("»")]
    text = before.replace("«", "").replace("»", "")
    assert after(text, Unlist(at(text, piece), codes)) == expected


# ----------------------------------------------------------------- functions


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        ("import torch\n", "torch.relu(x)"),
        ("import torch\nimport torch.nn.functional as F\n", "F.relu(x)"),
        ("from torch import nn\n", "nn.functional.relu(x)"),
    ],
)
def test_a_function_is_put_around_what_a_layer_is_applied_to(head, expected):
    text = f"{head}y = self.fc(x)\n"
    assert after(text, Insert(at(text, "self.fc(x)"), "F.relu")) == f"{head}y = self.fc({expected})\n"


def test_a_class_called_with_a_value_is_made_first():
    text = body("y = nn.ReLU(self.fc(x))\n")
    assert after(text, Swap(at(text, "nn.ReLU(self.fc(x))"), "ReLU", "ReLU()")) == body(
        "y = nn.ReLU()(self.fc(x))\n"
    )
    text = body("y = nn.LeakyReLU(x, 0.2)\n")
    assert "other arguments" in refused(
        text, Swap(at(text, "nn.LeakyReLU(x, 0.2)"), "LeakyReLU", "LeakyReLU()")
    )


def test_a_line_that_would_do_nothing_goes():
    text = body("def f(x):\n    x = F.relu(x)  # rectify\n    return x\n")
    assert after(text, Drop(at(text, "F.relu(x)"))) == body("def f(x):\n    return x\n")


# ---------------------------------------------------------------- all of them


def test_the_first_of_two_fixes_at_one_place_wins():
    text = body("y = F.relu(F.relu(x))\n")
    inner, outer = at(text, "F.relu(x)"), at(text, "F.relu(F.relu(x))")
    result = edited(text, Drop(inner), Drop(outer))
    assert result.text == body("y = F.relu(x)\n")
    assert [(r.fix.edits[0].span, r.later) for r in result.refused] == [(inner, True)]


def test_fixes_that_do_not_meet_are_all_made():
    text = body("a = F.relu(x)\nb = F.relu(y)\n")
    result = edited(text, Drop(at(text, "F.relu(x)")), Drop(at(text, "F.relu(y)")))
    assert (result.text, len(result.applied)) == (body("a = x\nb = y\n"), 2)


def test_columns_count_characters():
    text = body('größe = "é😀"; y = F.relu(x)  # ü\n')
    assert after(text, Drop(at(text, "F.relu(x)"))) == text.replace("F.relu(x)", "x")


def test_replacements_are_where_reports_show_them():
    text = body("y = F.relu(x)\n")
    document = from_text("m.py", text)
    (one,) = replacements(document, apply(document, [fix(Drop(at(text, "F.relu(x)")))]).applied)
    assert (one.span, one.content) == (at(text, "F.relu(x)"), "x")


def test_a_place_that_is_not_there():
    text = "y = 1\n"
    assert refused(text, Drop(Span("m.py", None, 9, 1, 9, 2))) == "the file has no such line"
    assert "no expression" in refused(text, Drop(Span("m.py", None, 1, 2, 1, 3)))


def test_a_file_nested_too_deeply():
    text = "y = " + "(" * 150 + "x" + ")" * 150 + "\n"
    assert "too deeply" in refused(text, Drop(at(text, "x")))
