"""Parameters of query and ec2 requests: `Subnets.member.1=…` becomes a tree by its dots, and the shape reads the tree."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl

from moorage.domain.errors import AwsError
from moorage.wire.errors import Malformed
from moorage.wire.messages import WireRequest
from moorage.wire.protocols.xml_values import member_element_name, text_scalar
from moorage.wire.shapes import Shape

Tree = dict[str, Any]
Read = Callable[[Tree], Any]

VALUE = ""  # the key under which a tree node keeps its own text
MAX_DEPTH = 64


def form_items(request: WireRequest) -> list[tuple[str, str]]:
    """Decoded pairs of the query string and of a form body, in order."""
    try:
        items = request.query_items()
        body = request.body
        if body and "json" not in request.headers.get("Content-Type", ""):
            items = items + parse_qsl(body.decode("utf-8"), keep_blank_values=True, errors="strict")
    except (UnicodeDecodeError, ValueError):
        raise AwsError("MalformedQueryString", "The query string contains a syntax error.") from None
    return items


def tree_of(items: list[tuple[str, str]]) -> Tree:
    root: Tree = {}
    for key, value in items:
        parts = key.split(".")
        if len(parts) > MAX_DEPTH:
            raise Malformed("The request is nested too deeply.")
        node = root
        for part in parts:
            node = node.setdefault(part or "_", {})
        node[VALUE] = value
    return root


def _numbered(tree: Tree) -> list[Tree]:
    """Children named by numbers, in their order; gaps close up."""
    found = [(int(key), node) for key, node in tree.items() if key.isdecimal() and len(key) < 10]
    found.sort(key=lambda pair: pair[0])
    return [node for _, node in found]


class FormReader:
    """Compiles readers for the shapes of one service. `ec2`: lists are always flat and names are capitalised."""

    def __init__(self, *, ec2: bool) -> None:
        self._ec2 = ec2
        self._compiled: dict[tuple[str, bool], Read] = {}

    def reader(self, shape: Shape) -> Read:
        kind = shape.type_name
        if kind not in ("structure", "list", "map"):
            convert = text_scalar(shape)

            def read_scalar(tree: Tree) -> Any:
                if VALUE not in tree:
                    raise Malformed("Unexpected complex element")
                return convert(tree[VALUE])

            return read_scalar
        key = (shape.name, bool(shape.serialization.get("flattened")))
        found = self._compiled.get(key)
        if found is None:
            compiled = self._compiled
            compiled[key] = lambda tree: compiled[key](tree)
            compile_kind = {"structure": self.structure, "list": self._list, "map": self._map}[kind]
            found = compiled[key] = compile_kind(shape)
        return found

    def _names(self, member: Shape, name: str) -> tuple[str, ...]:
        if not self._ec2:
            return tuple(
                dict.fromkeys((member_element_name(member, name), member.serialization.get("name", name), name))
            )
        traits = member.serialization
        if "queryName" in traits:
            return (traits["queryName"],)
        wire = traits.get("name", name)
        capital = wire[:1].upper() + wire[1:]
        return (capital,) if capital == name else (capital, name)

    def structure(self, shape: Shape) -> Read:
        table = [(name, self._names(member, name), self.reader(member)) for name, member in shape.members.items()]

        def read(tree: Tree) -> dict[str, Any]:
            out: dict[str, Any] = {}
            for name, wire_names, read_member in table:
                for wire_name in wire_names:
                    node = tree.get(wire_name)
                    if node.__class__ is dict:
                        out[name] = read_member(node)
                        break
            return out

        return read

    def _list(self, shape: Shape) -> Read:
        read_member = self.reader(shape.member)
        flat = self._ec2 or bool(shape.serialization.get("flattened"))
        container = shape.member.serialization.get("name") or "member"

        def read(tree: Tree) -> list[Any]:
            nodes = tree if flat else tree.get(container) or tree.get("member") or tree
            return [read_member(node) for node in _numbered(nodes)]

        return read

    def _map(self, shape: Shape) -> Read:
        flat = bool(shape.serialization.get("flattened"))
        key_name = shape.key.serialization.get("name") or "key"
        value_name = shape.value.serialization.get("name") or "value"
        read_key, read_value = self.reader(shape.key), self.reader(shape.value)

        def read(tree: Tree) -> dict[str, Any]:
            out: dict[str, Any] = {}
            for node in _numbered(tree if flat else tree.get("entry", tree)):
                if key_name not in node or value_name not in node:
                    raise Malformed("A map entry needs a key and a value")
                out[read_key(node[key_name])] = read_value(node[value_name])
            return out

        return read
