"""What classes declare and nothing reads, and how the project's code refers to them."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from relucheck.net import Attribute, ModuleClass
from relucheck.ops import MODULES, OPS, Kind
from relucheck.source.calls import default_of
from relucheck.source.drafts import LayerDraft, NodeDraft
from relucheck.source.layers import layers_in
from relucheck.source.machine import Machine
from relucheck.source.modules import ModuleScope, Project
from relucheck.source.objects import has_weights, is_module_class, layer_has_weights, modules_of
from relucheck.source.pieces import connected
from relucheck.source.syntax import walk
from relucheck.source.unread import is_stub, unread_parameters
from relucheck.source.values import Class, External, Function, Instance, LayerVal, Mapping, Seq, Value
from relucheck.span import Span

_CALL = re.compile(r"\b([A-Za-z_]\w*)\s*\(")


@dataclass(slots=True)
class Calls:
    """How a name is called: the most positional arguments, the keywords, whether with stars."""

    positional: int = 0
    keywords: set[str] = field(default_factory=set)
    starred: bool = False


@dataclass(slots=True)
class ClassFacts:
    """Facts about classes that need the text of the whole project; each is computed when asked for."""

    project: Project
    _mentions: dict[str, list[ModuleScope]] | None = None
    _calls: dict[int, dict[str, Calls]] = field(default_factory=dict)
    _instances: dict[int, list[Instance]] | None = None
    _connected: dict[str, set[str]] | None = None

    def forget(self) -> None:
        """Let go of what was remembered, once every class has been asked about."""
        self._instances = self._mentions = self._connected = None
        self._calls.clear()

    # -- who calls and who contains a class ------------------------------------------------------

    def doubted_parameters(self, cls: Class) -> tuple[str, ...]:
        """Parameters of ``__init__`` for which some call in the project passes a value of its own."""
        init = cls.find("__init__")
        if not isinstance(init, Function):
            return ()
        names = [a.arg for a in [*init.node.args.posonlyargs, *init.node.args.args][1:]]
        keyword_only = [a.arg for a in init.node.args.kwonlyargs]
        doubted: set[str] = set()
        for calls in self._calls_of(cls.name):
            doubted |= set(names[: calls.positional]) | calls.keywords
            if calls.starred:
                doubted |= {*names, *keyword_only}
        return tuple(
            n for n in [*names, *keyword_only] if n in doubted and default_of(init.node.args, n) is not None
        )

    def is_called(self, name: str) -> bool:
        """Whether some code of the project calls something of that name."""
        return any(True for _ in self._calls_of(name))

    def _calls_of(self, name: str) -> Iterator[Calls]:
        for scope in self._mentioning(name):
            found = self._calls_in(scope).get(name)
            if found is not None:
                yield found

    def _mentioning(self, name: str) -> list[ModuleScope]:
        if self._mentions is None:
            self._mentions = {}
            for scope in self.project.scopes.values():
                for word in set(_CALL.findall(scope.document.text)):
                    self._mentions.setdefault(word, []).append(scope)
        return self._mentions.get(name, [])

    def _calls_in(self, scope: ModuleScope) -> dict[str, Calls]:
        if id(scope) not in self._calls:
            self._calls[id(scope)] = _calls(scope.tree)
        return self._calls[id(scope)]

    def contained(self, scope: ModuleScope) -> set[int]:
        """Classes that some class body mentions: another module may hold an instance of them.

        ``eval(name)(...)`` may mean any class of the file.
        """
        found: set[int] = set()
        for cls in scope.classes:
            names = _names_in_methods(cls.node)
            if "eval" in names:
                found |= {id(other.node) for other in scope.classes if other is not cls}
            for name in names:
                value = scope.names.get(name)
                if isinstance(value, Class) and value is not cls:
                    found.add(id(value.node))
        parts = (scope.names.get(name) for name in _named_as_parts(scope.tree))
        return found | {id(value.node) for value in parts if isinstance(value, Class)}

    # -- facts -----------------------------------------------------------------------------------

    def of_file(self, m: Machine, scope: ModuleScope) -> Iterator[ModuleClass]:
        """The facts about each class of a file, where there are any."""
        for cls in scope.classes:
            facts = self._of_class(m, cls)
            if (
                facts.unread
                or facts.unread_parameters
                or facts.unregistered
                or facts.repeated
                or facts.made_in_forward
            ):
                yield facts
        yield from _of_loose_code(m, scope)

    def _of_class(self, m: Machine, cls: Class) -> ModuleClass:
        scope = cls.scope
        mine = self._instances_of(m, cls)
        return ModuleClass(
            name=cls.name,
            span=m.span_of(cls.node, scope),
            unread=tuple(self._unread(m, cls)) if is_module_class(cls) else (),
            unread_parameters=tuple(unread_parameters(m, cls)) if is_module_class(cls) else (),
            unregistered=tuple(_unregistered(m, cls, mine)),
        )

    def _instances_of(self, m: Machine, cls: Class) -> list[Instance]:
        if self._instances is None:
            self._instances = {}
            for instance in m.instances:
                if instance.cls is not None:
                    self._instances.setdefault(id(instance.cls), []).append(instance)
        return self._instances.get(id(cls), [])

    def _unread(self, m: Machine, cls: Class) -> Iterator[Attribute]:
        family = _family(cls, self.project)
        forward = cls.find("forward")
        if family is None or not isinstance(forward, Function) or is_stub(forward.node):
            return
        found = sorted(_activation_attributes(cls), key=lambda one: one[1].lineno, reverse=True)
        candidates = list({one[0]: one for one in found}.values())  # once, however many branches set it
        if not candidates:
            return
        read = set().union(*(_reads(c.node) for c in family))
        if _reads_everything(family):
            return
        for name, node, op in candidates:
            if name not in read and not self._read_elsewhere(name, family, cls.scope.path):
                yield Attribute(name, op, m.span_of(node, cls.scope), ast.unparse(node))

    def _read_elsewhere(self, name: str, family: list[Class], path: str) -> bool:
        """Whether code outside the classes reads an attribute of that name, of whatever object.

        Files between which there is no import have no objects of each other.
        """
        inside = {id(c.node) for c in family}
        pattern = re.compile(rf"(?<!self)\.{re.escape(name)}\b|[\"']{re.escape(name)}[\"']")
        for scope in self.project.scopes.values():
            if scope.path not in self._connected_to(path) or not pattern.search(scope.document.text):
                continue
            if any(name in _foreign_reads(node, scope) for node in _outside(scope.tree, inside)):
                return True
        return False

    def _connected_to(self, path: str) -> set[str]:
        if self._connected is None:
            self._connected = connected(list(self.project.scopes.values()))
        return self._connected[path]


# ``dict(features_extractor_class=CustomCNN)``: the name says that the class is a part of somebody's network.
_PART = re.compile(r"feature|extractor|backbone|encoder|trunk", re.IGNORECASE)


def _named_as_parts(tree: ast.Module) -> Iterator[str]:
    """The plain names that are passed on, or put into a dict, as a part of a network."""
    for node in walk(tree):
        if (
            isinstance(node, ast.keyword)
            and isinstance(node.value, ast.Name)
            and _PART.search(node.arg or "")
        ):
            yield node.value.id
        elif isinstance(node, ast.Dict):
            for key, value in zip(node.keys, node.values, strict=True):
                named = (
                    isinstance(key, ast.Constant) and isinstance(key.value, str) and _PART.search(key.value)
                )
                if named and isinstance(value, ast.Name):
                    yield value.id


def _calls(tree: ast.Module) -> dict[str, Calls]:
    found: dict[str, Calls] = {}
    for node in walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", None)
        if name is None:
            continue
        calls = found.setdefault(name, Calls())
        calls.positional = max(calls.positional, len(node.args))
        calls.keywords |= {k.arg for k in node.keywords if k.arg is not None}
        calls.starred |= any(k.arg is None for k in node.keywords) or any(
            isinstance(a, ast.Starred) for a in node.args
        )
    return found


def _names_in_methods(node: ast.ClassDef) -> set[str]:
    return {n.id for s in node.body for n in walk(s) if isinstance(n, ast.Name)}


# -- attributes that nothing reads --------------------------------------------------------------


def _family(cls: Class, project: Project) -> list[Class] | None:
    """The class, its bases and its subclasses; None where a base is not known."""
    harmless = ("torch.nn.Module", "LightningModule", "object", "ABC")
    if any(not name.endswith(harmless) for name in cls.outside()):
        return None
    below = [c for s in project.scopes.values() for c in s.classes if cls in c.mro() and c is not cls]
    bases = [c for sub in below for c in sub.mro()]
    return list({id(c): c for c in [*cls.mro(), *below, *bases]}.values())


def _activation_attributes(cls: Class) -> Iterator[tuple[str, ast.expr, str]]:
    """``self.name = nn.ReLU()`` in ``__init__`` and in the methods that it calls, with the op."""
    for method in _methods_of_init(cls):
        for node in walk(method):
            for name, value in _attributes_set(node):
                op = _activation_called(value.func, cls.scope) if isinstance(value, ast.Call) else None
                if op is not None:
                    yield name, value, op


def _methods_of_init(cls: Class) -> Iterator[ast.AST]:
    """``__init__`` of a class, and the methods of the same class that it calls for its effect: ``self._build()``."""
    init = cls.attrs.get("__init__")
    if not isinstance(init, Function):
        return
    yield init.node
    for node in walk(init.node):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            method = cls.attrs.get(_of_self(node.value.func) or "")
            if isinstance(method, Function) and method is not init:
                yield method.node


def _attributes_set(node: ast.AST) -> Iterator[tuple[str, ast.expr]]:
    """Attributes of self that a statement sets, with the expression of each."""
    if isinstance(node, ast.Assign) and len(node.targets) == 1:
        yield from _pairs(node.targets[0], node.value)
    elif isinstance(node, ast.AnnAssign) and node.value is not None:
        yield from _pairs(node.target, node.value)
    elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        added = _added(node.value)
        if added is not None:
            yield str(added.value), node.value.args[1]


def _pairs(target: ast.expr, value: ast.expr) -> Iterator[tuple[str, ast.expr]]:
    if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple) and len(target.elts) == len(value.elts):
        for one, its in zip(target.elts, value.elts, strict=True):
            yield from _pairs(one, its)
    elif (name := _of_self(target)) is not None:
        yield name, value


def _of_self(node: ast.expr) -> str | None:
    """The name of an attribute of a plain name: ``self.name``."""
    return node.attr if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) else None


def _activation_called(func: ast.expr, scope: ModuleScope) -> str | None:
    parts: list[str] = []
    while isinstance(func, ast.Attribute):
        parts.append(func.attr)
        func = func.value
    if not isinstance(func, ast.Name):
        return None
    base = scope.names.get(func.id) or scope.bare(func.id)
    if not isinstance(base, External):
        return None
    full = ".".join([base.name, *reversed(parts)])
    last = full.rpartition(".")[2]
    spelling = MODULES.get(last) if full.startswith("torch.nn.") else None
    return spelling.op if spelling is not None and OPS[spelling.op].kind is Kind.ACTIVATION else None


def _reads(node: ast.AST) -> set[str]:
    """Attribute names that code reads, and string constants that may name them."""
    found: set[str] = set()
    setting: set[int] = set()
    for inner in walk(node):
        if isinstance(inner, ast.Attribute) and not isinstance(inner.ctx, ast.Store):
            found.add(inner.attr)
        elif (added := _added(inner)) is not None:
            setting.add(id(added))
    names = (n for n in walk(node) if isinstance(n, ast.Constant) and id(n) not in setting)
    return found | {n.value for n in names if isinstance(n.value, str) and n.value.isidentifier()}


def _added(node: ast.AST) -> ast.Constant | None:
    """The name under which ``self.add_module("name", module)`` sets an attribute."""
    if not isinstance(node, ast.Call) or len(node.args) != 2:
        return None
    name, func = node.args[0], node.func
    to_self = isinstance(func, ast.Attribute) and isinstance(func.value, ast.Name) and func.value.id == "self"
    adds = to_self and _of_self(func) in ("add_module", "register_module")
    return name if adds and isinstance(name, ast.Constant) and isinstance(name.value, str) else None


def _foreign_reads(node: ast.AST, scope: ModuleScope) -> set[str]:
    """Attributes that code reads of other objects than its own ``self``, also by ``getattr``."""
    found: set[str] = set()
    for inner in walk(node):
        if isinstance(inner, ast.Attribute) and not isinstance(inner.ctx, ast.Store):
            owner = inner.value.id if isinstance(inner.value, ast.Name) else ""
            if owner != "self" and not _is_library(scope, owner):
                found.add(inner.attr)
        elif isinstance(inner, ast.Call) and isinstance(inner.func, ast.Name) and inner.func.id == "getattr":
            found |= {a.value for a in inner.args if isinstance(a, ast.Constant) and isinstance(a.value, str)}
    return found


def _is_library(scope: ModuleScope, name: str) -> bool:
    """Whether a name is an imported library: ``F.relu`` is no read of ``self.relu``."""
    return isinstance(scope.names.get(name), External) or scope.bare(name) is not None


_OPEN_READS = frozenset(
    {
        "children",
        "named_children",
        "_modules",
        "__dict__",
        "modules",
        "named_modules",
        "state_dict",
        "getattr",
        "vars",
    }
)
_INIT_LOOPS = frozenset({"modules", "named_modules"})


def _reads_everything(family: Iterable[Class]) -> bool:
    """Whether a class may apply attributes that it does not name."""
    for cls in family:
        for method in cls.node.body:
            names = _reads(method) | {n.id for n in walk(method) if isinstance(n, ast.Name)}
            if names & (_OPEN_READS - _INIT_LOOPS):
                return True
            if names & _INIT_LOOPS and isinstance(method, ast.FunctionDef) and method.name == "forward":
                return True
    return False


def _outside(tree: ast.Module, inside: set[int]) -> Iterator[ast.AST]:
    """The statements of a file that are not in the given classes."""
    for statement in tree.body:
        if id(statement) not in inside:
            yield statement


# -- layers in plain lists, made in forward, repeated -------------------------------------------


def _unregistered(m: Machine, cls: Class, instances: list[Instance]) -> Iterator[Attribute]:
    """Layers with weights that only a plain list or dict of a module holds, and that were applied."""
    if not is_module_class(cls) or isinstance(cls.find("parameters"), Function):
        return  # what it trains is its own affair
    seen: set[Span] = set()
    for instance in instances:
        registered = {_key(v) for _, v in modules_of(instance)}
        for name, value in instance.attrs.items():
            if not isinstance(value, Seq | Mapping) or name.startswith("_"):
                continue
            if not _holds_unregistered(value, registered):
                continue
            at = value.state.get("at")
            if isinstance(at, ast.AST) and _hides_argument(cls, at):
                continue
            if isinstance(at, ast.AST) and (span := m.span_of(at, cls.scope)) not in seen:
                seen.add(span)
                spelling = "a dict" if isinstance(value, Mapping) else "a list"
                yield Attribute(name, "", span, spelling, _container_for(value))


def _container_for(value: Seq | Mapping) -> str:
    """The class of ``torch.nn`` for a list of modules, or for a dict of them under strings."""
    items = value.items if isinstance(value, Seq) else (*value.items.values(), *value.rest)
    if not items or not all(isinstance(item, LayerVal) or _is_module(item) for item in items):
        return ""
    if isinstance(value, Seq):
        return "ModuleList"
    named = all(isinstance(key, str) and "." not in key for key in value.items)
    return "ModuleDict" if named else ""


def _is_module(value: Value) -> bool:
    return isinstance(value, Instance) and value.is_module


def _holds_unregistered(value: Seq | Mapping, registered: set[int]) -> bool:
    loose = [v for v in _elements(value) if has_weights(v)]
    unknown = all(not _is_known_to_torch(v, registered) for v in loose)
    return bool(loose) and unknown and any(_applied(v) for v in loose)


def _elements(value: Seq | Mapping, depth: int = 2) -> Iterator[Value]:
    """What a plain list or dict holds, also in lists of lists."""
    items = value.items if isinstance(value, Seq) else (*value.items.values(), *value.rest)
    for item in items:
        if isinstance(item, Seq | Mapping) and depth > 1:
            yield from _elements(item, depth - 1)
        else:
            yield item


def _is_known_to_torch(value: Value, registered: set[int]) -> bool:
    """Whether a layer or module is registered, or is a slice of layers that are."""
    if _key(value) in registered:
        return True
    inside = [v for _, v in modules_of(value) if isinstance(v, LayerVal) and has_weights(v)]
    return bool(inside) and all(_key(v) in registered for v in inside)


def _hides_argument(cls: Class, at: ast.AST) -> bool:
    """Whether a list or dict hides a module that was passed in: ``self.teacher = [teacher.eval()]``."""
    init = cls.attrs.get("__init__")
    held = at.elts if isinstance(at, ast.List | ast.Tuple) else at.values if isinstance(at, ast.Dict) else []
    if len(held) != 1 or not isinstance(init, Function):
        return False
    root = held[0]
    while isinstance(root, ast.Attribute) or (
        isinstance(root, ast.Call) and isinstance(root.func, ast.Attribute)
    ):
        root = root.value if isinstance(root, ast.Attribute) else root.func
    return isinstance(root, ast.Name) and root.id in {a.arg for a in init.node.args.args}


def _key(value: Value) -> int:
    return id(value.layer) if isinstance(value, LayerVal) else id(value)


def _applied(value: Value) -> bool:
    if isinstance(value, LayerVal):
        return value.layer.applied
    return isinstance(value, Instance) and value.applied


def _of_loose_code(m: Machine, scope: ModuleScope) -> Iterator[ModuleClass]:
    """Facts that belong to places of a file rather than to one class."""
    stacks = (r for r in m.repeated.get(id(scope), ()) if not r.by_name or _is_stack(scope, r.layers))
    repeated = tuple(dict.fromkeys(r.place for r in stacks if not _is_chosen(scope.tree, r.product)))
    made = tuple(_made_in_forward(m, scope))
    if repeated or made:
        place = (repeated or made)[0].span
        yield ModuleClass(scope.path, place, repeated=repeated, made_in_forward=made)


def _is_chosen(tree: ast.Module, product: ast.AST | None) -> bool:
    """Whether ``[layer] * n`` is one side of an ``if`` whose other side makes each layer anew: it is meant to share."""
    return product is not None and any(
        _shares_and_makes(*sides, product)
        for node in walk(tree)
        if isinstance(node, ast.If)
        for sides in ((node.body, node.orelse), (node.orelse, node.body))
    )


def _shares_and_makes(shares: list[ast.stmt], makes: list[ast.stmt], product: ast.AST) -> bool:
    here = [s for s in shares if isinstance(s, ast.Assign) and any(n is product for n in walk(s.value))]
    targets = {ast.unparse(s.targets[0]) for s in here}
    others = [s for s in makes if isinstance(s, ast.Assign) and ast.unparse(s.targets[0]) in targets]
    return any(isinstance(n, ast.ListComp) for s in others for n in walk(s.value))


def _is_stack(scope: ModuleScope, layers: tuple[LayerDraft, ...]) -> bool:
    """Whether a layer is applied to what it has computed itself; heads that share weights are not."""
    tapes = [s.tape for s in scope.project.scopes.values()]
    nodes = [node for tape in tapes for node in tape.nodes if any(node.layer is layer for layer in layers)]
    return any(_depends(node, other) for node in nodes for other in nodes if node.layer is other.layer)


def _depends(node: NodeDraft, source: NodeDraft) -> bool:
    """Whether a node's value depends on another's."""
    todo, seen = list(node.inputs), set[int]()
    while todo:
        current = todo.pop()
        if current is source:
            return True
        if current.order > source.order and id(current) not in seen:
            seen.add(id(current))
            todo.extend(current.inputs)
    return False


# A layer whose weight is set to something known is a way to call the function: ``conv.weight = self.kernel``.
_GIVEN = frozenset({"assigned", "constant_", "zeros_", "ones_"})


def _made_in_forward(m: Machine, scope: ModuleScope) -> Iterator[Attribute]:
    seen: set[Span] = set()
    given = {id(i.layer) for i in scope.tape.inits if i.tensor == "weight" and i.function in _GIVEN}
    for layer in scope.tape.layers:
        if id(layer) in given or (layer.info.kind is Kind.DROPOUT and "mode_given" in layer.args):
            continue
        weighty = layer.info.kind is Kind.DROPOUT or layer_has_weights(layer)
        at = layer.inside or layer.made
        if at is None or at.path != scope.path or at in seen:
            continue
        if layer.in_forward and layer.applied and not layer.stored and weighty:
            seen.add(at)
            yield Attribute("", layer.op, at, "nn.Sequential" if layer.inside else layer.spelling)
    for instance in m.instances:
        if instance.made is None or instance.made[0] is not scope or not _is_fresh(instance):
            continue
        if not _is_called_at_once(instance.made[1], scope):
            continue
        at = m.span_of(instance.made[1], scope)
        if at is not None and at not in seen and not any(id(layer) in given for layer in layers_in(instance)):
            seen.add(at)
            yield Attribute("", "", at, instance.class_name)


def _is_fresh(instance: Instance) -> bool:
    """Whether a forward makes an object of a project's class, with layers of its own, for one call alone."""
    kept = not instance.in_forward or instance.stored or instance.opaque or instance.cls is None
    if kept or not instance.applied:
        return False
    own = [layer for layer in layers_in(instance) if layer_has_weights(layer)]
    return bool(own) and all(layer.in_forward and layer.args.get("frozen") is not True for layer in own)


def _is_called_at_once(made: ast.AST, scope: ModuleScope) -> bool:
    """Whether an object is applied where it is made, ``Block(4)(x)``: nothing can keep it, no cache, no decorator."""
    return any(isinstance(node, ast.Call) and node.func is made for node in walk(scope.tree))
