"""Types and numbers in C and Rust, printed from a JSON schema and the data that it describes.

An object becomes a struct, an array a pointer and a count (a slice in Rust), an enumeration an enum whose numbers are
the places of its words, ``format: float32`` a float. Whatever the schema says otherwise is refused, so that nothing is
printed by guess.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, Final

import numpy as np

from diffnum.jobs.checked import check_name

__all__ = ["LANGUAGES", "SCHEMAS", "code", "declarations", "schema"]

SCHEMAS: Final = ("plan", "host_table")
"""What has a schema: plans, and their tables for engines."""

LANGUAGES: Final = ("c", "rust")
"""Languages of the declarations."""


def schema(name: str = "plan") -> dict[str, Any]:
    """JSON schema (draft 2020-12) of what :meth:`Plan.to_json` or :meth:`HostTable.to_json` writes.

    Parameters
    ----------
    name : {"plan", "host_table"}
        Which.

    Returns
    -------
    dict
    """
    check_name("name", name, SCHEMAS)
    text = (files("diffnum.plans") / "data" / f"{name}.schema.json").read_text(encoding="utf-8")
    return dict(json.loads(text))


@dataclass(frozen=True)
class _Field:
    """A field of a struct: its name, how often it is there, and what it is made of."""

    name: str
    depth: int
    kind: str
    struct: str = ""
    words: tuple[str, ...] = ()


def _pascal(name: str) -> str:
    return "".join(part.capitalize() for part in name.split("_"))


def _field(name: str, node: Mapping[str, Any], root: Mapping[str, Any]) -> _Field:
    """A property of the schema."""
    depth = 0
    while "$ref" in node or node.get("type") == "array":
        if "$ref" in node:
            found = node["$ref"].removeprefix("#/$defs/")
            node = root["$defs"][found]
            if node.get("type") == "object" and "properties" in node:
                return _Field(name, depth, "struct", found)
        else:
            node, depth = node["items"], depth + 1
    if "enum" in node:
        return _Field(name, depth, "enum", words=tuple(node["enum"]))
    if "const" in node or node.get("type") == "string":
        return _Field(name, depth, "string")
    if node.get("type") == "object":  # a record that only the host reads
        return _Field(name, depth, "json")
    if node.get("type") in ("number", "integer", ["number", "array"]):  # element-wise weights have no struct
        single = node.get("format") == "float32"
        return _Field(name, depth, "integer" if node["type"] == "integer" else "single" if single else "double")
    msg = f"{name}: {dict(node)} has no place in a struct"
    raise TypeError(msg)


def _structs(root: Mapping[str, Any]) -> Iterator[tuple[str, list[_Field]]]:
    """Structs, those that others are made of first."""
    for name, node in root.get("$defs", {}).items():
        if node.get("type") == "object" and "properties" in node:
            yield name, [_field(key, value, root) for key, value in node["properties"].items()]
    yield _top(root), [_field(key, value, root) for key, value in root["properties"].items()]


_C: Final = {
    "single": "float",
    "double": "double",
    "integer": "int32_t",
    "string": "const char *",
    "json": "const char *",
}
_RUST: Final = {"single": "f32", "double": "f64", "integer": "i32", "string": "&'static str", "json": "&'static str"}


def _c_types(root: Mapping[str, Any]) -> Iterator[str]:
    top, seen = _top(root), set[tuple[int, str]]()
    for name, fields in _structs(root):
        for each in fields:
            if each.kind == "enum":
                words = ",\n".join(f"    {_c_word(top, each, word)} = {i}" for i, word in enumerate(each.words))
                yield f"enum diffnum_{top}_{each.name} {{\n{words}\n}};\n"
        for each in fields:
            element = _c_element(top, each)
            for level in range(1, each.depth):
                if (level, element) not in seen:
                    seen.add((level, element))
                    inner = element if level == 1 else _c_list(top, each, level - 1)
                    yield f"{_c_list(top, each, level)} {{\n    {_pointer(inner)}values;\n    size_t count;\n}};\n"
        lines = "\n".join(line for each in fields for line in _c_lines(top, each))
        yield f"struct {_c_name(top, name)} {{\n{lines}\n}};\n"


def _top(root: Mapping[str, Any]) -> str:
    """Name of the whole."""
    return str(root["$id"]).rpartition("/")[2]


def _c_name(top: str, struct: str) -> str:
    return f"diffnum_{top}" if struct == top else f"diffnum_{top}_{struct}"


def _c_word(top: str, each: _Field, word: str) -> str:
    return f"DIFFNUM_{top}_{each.name}_{word}".upper()


def _c_element(top: str, each: _Field) -> str:
    if each.kind == "struct":
        return f"struct {_c_name(top, each.struct)}"
    if each.kind == "enum":
        return f"enum diffnum_{top}_{each.name}"
    return _C[each.kind]


def _c_list(top: str, each: _Field, level: int) -> str:
    """Arrays of arrays: one struct a level, a pointer and a count each."""
    return f"struct diffnum_{top}_{each.struct or each.kind}_list{level}"


def _pointer(element: str) -> str:
    return f"{element}const *" if element.endswith("*") else f"const {element} *"


def _c_lines(top: str, each: _Field) -> list[str]:
    element = _c_element(top, each)
    if not each.depth:
        return [f"    {element}{'' if element.endswith('*') else ' '}{each.name};"]
    if each.depth > 1:
        element = _c_list(top, each, each.depth - 1)
    return [f"    {_pointer(element)}{each.name};", f"    size_t {each.name}_count;"]


def _rust_types(root: Mapping[str, Any]) -> Iterator[str]:
    derive = "#[derive(Clone, Copy, Debug, PartialEq)]\n"
    for name, fields in _structs(root):
        for each in fields:
            if each.kind == "enum":
                words = ",\n".join(f"    {_pascal(word)} = {i}" for i, word in enumerate(each.words))
                yield f"{derive}#[repr(i32)]\npub enum {_pascal(each.name)} {{\n{words},\n}}\n"
        lines = "\n".join(f"    pub {_raw(each.name)}: {_rust_type(each)}," for each in fields)
        yield f"{derive}#[allow(non_snake_case)]\npub struct {_pascal(name)} {{\n{lines}\n}}\n"


def _raw(name: str) -> str:
    return f"r#{name}" if name in ("type", "match", "move", "ref", "use") else name


def _rust_type(each: _Field) -> str:
    named = {"struct": _pascal(each.struct), "enum": _pascal(each.name)}
    element = named.get(each.kind) or _RUST[each.kind]
    return "&'static [" * each.depth + element + "]" * each.depth


def declarations(language: str, name: str = "host_table") -> str:
    """Types of what a schema describes, as a C99 header or a Rust module.

    Parameters
    ----------
    language : {"c", "rust"}
        Which.
    name : {"plan", "host_table"}
        Which schema.

    Returns
    -------
    str
    """
    check_name("language", language, LANGUAGES)
    root = schema(name)
    note = f"Printed by diffnum from the JSON schema {root['$id']}: change that, and print anew."
    if language == "rust":
        return f"// {note}\n\n" + "\n".join(_rust_types(root))
    guard = f"DIFFNUM_{name}_H".upper()
    body = "#include <stddef.h>\n#include <stdint.h>\n\n" + "\n".join(_c_types(root))
    return f"/* {note} */\n#ifndef {guard}\n#define {guard}\n\n{body}\n#endif\n"


def code(data: Mapping[str, Any], language: str) -> str:
    """Declarations of the host tables, and the numbers of one as constants.

    Parameters
    ----------
    data : mapping
        :meth:`HostTable.to_dict`.
    language : {"c", "rust"}
        Which.
    """
    check_name("language", language, LANGUAGES)
    root = schema("host_table")
    structs, top = dict(_structs(root)), _top(root)
    if language == "rust":
        value = _rust_value(data, top, structs)
        return f"{declarations('rust')}\npub const TABLE: {_pascal(top)} = {value};\n"
    arrays: list[str] = []
    value = _c_value(data, (top, top), structs, arrays, "diffnum_table")
    lists = "\n".join(arrays)
    return f"{declarations('c')}\n{lists}\nstatic const struct {_c_name(top, top)} diffnum_table = {value};\n"


Structs = Mapping[str, Sequence[_Field]]


def _c_value(data: Mapping[str, Any], names: tuple[str, str], structs: Structs, arrays: list[str], place: str) -> str:
    """Initializer of a struct of a whole; its arrays are written before it."""
    (top, struct), parts = names, []
    for each in structs[struct]:
        value, name = data[each.name], f"{place}_{each.name}"
        if not each.depth:
            parts.append(_c_atom(top, value, each))
            continue
        if each.kind == "struct":
            items = [_c_value(item, (top, each.struct), structs, arrays, f"{name}_{i}") for i, item in enumerate(value)]
        else:
            items = [_c_atom(top, item, each) for item in value]
        if items:
            arrays.append(f"static {_pointer(_c_element(top, each))[:-1]}{name}[] = {{{', '.join(items)}}};")
        parts.append(f"{name if items else 'NULL'}, {len(items)}")
    return "{" + ", ".join(parts) + "}"


def _c_atom(top: str, value: Any, each: _Field) -> str:
    match each.kind:
        case "enum":
            return _c_word(top, each, value)
        case "string" | "json":
            return json.dumps(value if isinstance(value, str) else json.dumps(value))
        case "integer":
            return str(value)
        case "single":
            return f"{_decimal(np.float32(value))}f"
        case _:
            return _decimal(float(value))


def _decimal(value: Any) -> str:
    """Shortest decimal that reads as this number, which every compiler must round correctly."""
    if not math.isfinite(value):
        msg = f"number {value} is not finite: no table holds such"
        raise ValueError(msg)
    return str(np.format_float_scientific(value, unique=True, trim="0"))


def _rust_value(data: Mapping[str, Any], struct: str, structs: Structs) -> str:
    parts = []
    for each in structs[struct]:
        value = data[each.name]
        if each.depth and each.kind == "struct":
            text = "&[" + ", ".join(_rust_value(item, each.struct, structs) for item in value) + "]"
        elif each.depth:
            text = "&[" + ", ".join(_rust_atom(item, each) for item in value) + "]"
        else:
            text = _rust_atom(value, each)
        parts.append(f"{_raw(each.name)}: {text}")
    return f"{_pascal(struct)} {{ {', '.join(parts)} }}"


def _rust_atom(value: Any, each: _Field) -> str:
    match each.kind:
        case "enum":
            return f"{_pascal(each.name)}::{_pascal(value)}"
        case "string" | "json":
            return json.dumps(value if isinstance(value, str) else json.dumps(value))
        case "integer":
            return str(value)
        case "single":
            return _decimal(np.float32(value))
        case _:
            return _decimal(float(value))
