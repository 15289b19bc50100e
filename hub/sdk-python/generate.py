"""Writes `models.py` and `operations.py` from the hub's OpenAPI document; with `--check` says whether the committed files are old.

Answers become frozen dataclasses, request bodies become TypedDicts, closed lists of words become literals, and each route of the API becomes
a function that returns a `Call`. Nothing is invented here: names, types and comments are the document's. It needs nothing but Python.
"""

from __future__ import annotations

import argparse
import json
import keyword
import re
import sys
import textwrap
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
DOCUMENT = HERE.parent / "handbook" / "openapi.json"
TARGET = HERE / "src" / "sentinel_client"
WIDTH = 150
PREFIX = "#/components/schemas/"
#: Texts that mean more than text.
MEANINGS = {"Wall": "datetime"}
SCALARS = {"string": "str", "integer": "int", "number": "float", "boolean": "bool", "null": "None"}
#: Routes whose answers are streams: `watch` and `events` of the clients read them.
STREAMS = {"get_api_v1_stream"}

Schema = dict[str, Any]
#: What JSON Schema calls `true`: anything.
ANYTHING: Schema = {}


def name_of(reference: str) -> str:
    return reference.removeprefix(PREFIX)


def camel(text: str) -> str:
    return "".join(word[:1].upper() + word[1:] for word in re.split(r"[^A-Za-z0-9]+", text) if word)


def safe(name: str) -> str:
    """A field's name; one that Python keeps for itself gets a `_`, which the reader takes off again."""
    return f"{name}_" if keyword.iskeyword(name) else name


def comment(text: str | None, indent: str) -> list[str]:
    lines = textwrap.wrap(" ".join(text.split()), WIDTH - len(indent) - 3, break_long_words=False) if text else []
    return [f"{indent}#: {line}" for line in lines]


def docstring(text: str, indent: str) -> list[str]:
    text = " ".join(text.split()).replace("\\", "\\\\").replace('"""', "'''")
    lines = textwrap.wrap(text, WIDTH - len(indent) - 6, break_long_words=False)
    if len(lines) == 1:
        return [f'{indent}"""{lines[0]}"""']
    return [f'{indent}"""{lines[0]}', *(indent + line for line in lines[1:]), f'{indent}"""']


def union(parts: list[str]) -> str:
    """One type of several: literals join into one, and `None` comes last."""
    literals = [part[len("Literal[") : -1] for part in parts if part.startswith("Literal[")]
    others = [part for part in parts if not part.startswith("Literal[") and part != "None"]
    joined = ([f"Literal[{', '.join(literals)}]"] if literals else []) + others
    unique = list(dict.fromkeys(joined)) + (["None"] if "None" in parts else [])
    return "Any" if "Any" in unique else " | ".join(unique)


def properties(schema: Schema) -> list[tuple[str, Schema]]:
    return [(name, inner if isinstance(inner, dict) else ANYTHING) for name, inner in schema["properties"].items()]


def words(schema: Schema) -> list[str] | None:
    """The words of a closed list."""
    parts = schema.get("oneOf", [])
    found = [part["const"] for part in parts if isinstance(part, dict) and "const" in part]
    return found if found and len(found) == len(parts) else None


def called(head: str, parts: list[str], tail: str, indent: str) -> list[str]:
    """`head(parts)tail`, a part to a line where it is too long."""
    line = f"{indent}{head}({', '.join(parts)}){tail}"
    if len(line) <= WIDTH:
        return [line]
    inner = ", ".join(parts)
    if len(inner) + len(indent) + 4 <= WIDTH:
        return [f"{indent}{head}(", f"{indent}    {inner}", f"{indent}){tail}"]
    # A part that is too long itself is a list of pairs.
    broken = [part if len(part) + len(indent) < WIDTH else part.replace("), (", f"),\n{indent}        (") for part in parts]
    return f"{indent}{head}(\n{''.join(f'{indent}    {part},{chr(10)}' for part in broken)}{indent}){tail}".split("\n")


class Writer:
    """Collects definitions in the order in which they are needed."""

    def __init__(self, document: Schema) -> None:
        self.schemas: dict[str, Schema] = document["components"]["schemas"]
        self.paths: dict[str, dict[str, Schema]] = document["paths"]
        self.blocks: dict[str, list[str]] = {}
        self.raw: dict[str, Schema] = {}

    def is_page(self, name: str) -> bool:
        return re.fullmatch(r"List\d*", name) is not None

    def type_of(self, schema: Schema | bool, name: str, *, body: bool) -> str:
        """The type of a value; `name` is what its own type would be called."""
        if not isinstance(schema, dict):
            return "Any"
        if "$ref" in schema:
            return self.named(name_of(schema["$ref"]), body=body)
        if "const" in schema:
            return f"Literal[{json.dumps(schema['const'])}]"
        if "enum" in schema:
            words = [json.dumps(word) for word in schema["enum"] if word is not None]
            return union([f"Literal[{', '.join(words)}]", *(["None"] if None in schema["enum"] else [])])
        for key in ("oneOf", "anyOf"):
            if key in schema:
                known = self.known_words(schema)
                if known is not None:
                    return known
                # Which of several shapes an object has shows only when it is read: such objects stay as they came, with their types.
                several = sum(part.get("type") != "null" for part in schema[key]) > 1
                kind = union([self.type_of(part, self.variant(name, part), body=body or several) for part in schema[key]])
                return self.alias(name, kind) if len(kind) > 100 and name not in self.schemas else kind
        kinds = schema.get("type", [])
        kinds = kinds if isinstance(kinds, list) else [kinds]
        if not kinds:
            return "Any"
        return union([self.of_kind(kind, schema, name, body=body) for kind in kinds])

    def known_words(self, schema: Schema) -> str | None:
        """The name of a closed list of words that the document writes out again where a request has it."""
        found = words(schema)
        if found is None:
            return None
        name = next((name for name, other in self.schemas.items() if other is not schema and words(other) == found), None)
        return name and self.named(name, body=False)

    def alias(self, name: str, kind: str) -> str:
        """A name for a type that is too long to stand in a field."""
        self.blocks[name] = folded([f"{name}: TypeAlias = {kind}"])
        return name

    def variant(self, name: str, schema: Schema) -> str:
        only = schema.get("required", [])
        return name + camel(only[0]) if len(only) == 1 else name

    def of_kind(self, kind: str, schema: Schema, name: str, *, body: bool) -> str:
        if kind == "array":
            if "prefixItems" in schema:
                parts = [self.type_of(part, name, body=body) for part in schema["prefixItems"]]
                return f"tuple[{', '.join(parts)}]" if not body else f"list[{union(parts)}]"
            return f"list[{self.type_of(schema.get('items', {}), name, body=body)}]"
        if kind == "object":
            if schema.get("properties"):
                return self.define(self.titled(name, schema), schema, body=body)
            more = schema.get("additionalProperties")
            return f"dict[str, {self.type_of(more, name, body=body) if isinstance(more, dict) else 'Any'}]"
        return SCALARS[kind]

    def titled(self, name: str, schema: Schema) -> str:
        """The name that the document gives an object, unless another one has it."""
        title = camel(schema.get("title", "")) or name
        return title if self.raw.get(title, schema) == schema else name

    def named(self, name: str, *, body: bool) -> str:
        if name in MEANINGS:
            return "str" if body else MEANINGS[name]
        schema = self.schemas[name]
        if schema.get("properties"):
            if self.is_page(name):
                raise ValueError(f"{name} is a page inside something else")
            return self.define(name, schema, body=body)
        if name not in self.blocks:
            self.blocks[name] = []
            self.blocks[name] = [*comment(schema.get("description"), ""), f"{name}: TypeAlias = {self.type_of(schema, name, body=body)}"]
            self.blocks[name] = folded(self.blocks[name])
            # A definition that others need comes before them, so it is moved to the end of what is there.
            self.blocks[name] = self.blocks.pop(name)
        return name

    def define(self, name: str, schema: Schema, *, body: bool) -> str:
        """A class for an object. The same object may be wanted raw (inside a union, in a request) and read."""
        key = f"{name}Json" if body and name in self.schemas else name
        if key in self.blocks:
            if self.raw[key] != schema:
                raise ValueError(f"two different objects would be called {key}")
            return key
        self.blocks[key] = []
        self.raw[key] = schema
        lines = self.typed_dict(key, schema) if body else self.dataclass(key, schema)
        self.blocks.pop(key)
        self.blocks[key] = lines
        return key

    def typed_dict(self, name: str, schema: Schema) -> list[str]:
        required = set(schema.get("required", []))
        rows: list[str] = []
        plain = all(part.isidentifier() and not keyword.iskeyword(part) for part in schema["properties"])
        for part, inner in properties(schema):
            kind = self.type_of(inner, name + camel(part), body=True)
            kind = kind if part in required else f"NotRequired[{kind}]"
            rows += [*comment(inner.get("description"), "    "), f"    {part}: {kind}" if plain else f"    {json.dumps(part)}: {kind},"]
        if not plain:
            return [f'{name} = TypedDict("{name}", {{', *rows, "})"]
        about = docstring(schema.get("description", f"`{name}` as it travels."), "    ")
        return [f"class {name}(TypedDict):", *about, "", *rows]

    def dataclass(self, name: str, schema: Schema) -> list[str]:
        required = set(schema.get("required", []))
        rows: list[str] = []
        for part, inner in properties(schema):
            kind = self.type_of(inner, name + camel(part), body=False)
            rows += [*comment(inner.get("description"), "    "), f"    {safe(part)}: {kind_and_default(kind, inner, part in required)}"]
        about = docstring(schema.get("description", f"What the hub tells: {schema.get('title', name)}."), "    ")
        return ["@dataclass(frozen=True, slots=True, kw_only=True)", f"class {name}(Model):", *about, "", *rows]

    def operations(self) -> list[str]:
        """A function for each route below `/api/v1` that answers with JSON or text."""
        blocks: list[str] = []
        for path, methods in self.paths.items():
            if not path.startswith("/api/v1/"):
                continue
            for method, operation in methods.items():
                if operation["operationId"] in STREAMS:
                    continue
                blocks += ["", "", *self.operation(path, method.upper(), operation)]
        return blocks

    def answer(self, function: str, operation: Schema) -> tuple[str, str]:
        """The type of the answer, and what reads it."""
        done = next(answer for status, answer in operation["responses"].items() if status.startswith("2"))
        content: dict[str, Schema] = done.get("content", {})
        if not content:
            return "None", "nothing"
        schema = content.get("application/json", {}).get("schema")
        if schema is None:
            return "str", "text"
        if self.is_page(name_of(schema.get("$ref", ""))):
            schema = self.schemas[name_of(schema["$ref"])]
        items = schema.get("properties", {}).get("items")
        if items is not None and set(schema["properties"]) == {"items", "next_cursor"}:
            row = self.type_of(items["items"], f"{camel(function)}Row", body=False)
            return f"Page[{self.seen(row)}]", f"page({self.seen(row)})"
        kind = self.type_of(schema, f"{camel(function)}Answer", body=False)
        listed = re.fullmatch(r"list\[(\w+)\]", kind)
        if self.is_model(kind):
            return self.seen(kind), f"{self.seen(kind)}.of"
        if listed and self.is_model(listed[1]):
            return self.seen(kind), f"rows({self.seen(listed[1])})"
        return self.seen(kind), "as_it_is"

    def is_model(self, name: str) -> bool:
        return self.blocks.get(name, [""])[0].startswith("@dataclass")

    def seen(self, kind: str) -> str:
        """A type as `operations.py` sees it."""
        return re.sub(r'(?<!["\w:-])[A-Z]\w*', lambda found: f"m.{found[0]}" if found[0] in self.blocks else found[0], kind)

    def operation(self, path: str, method: str, operation: Schema) -> list[str]:
        function = operation["operationId"].replace("_api_v1", "")
        answer, read = self.answer(function, operation)
        before, after, arguments = [], [], []
        query, once = [], False
        for parameter in operation.get("parameters", []):
            name = parameter["name"]
            if parameter["in"] == "path":
                before.append(f"{safe(name)}: str")
            elif parameter["in"] == "query":
                after.append(f"{safe(name)}: {SCALARS[parameter['schema']['type']]} | None = None")
                query.append(f'("{name}", {safe(name)})')
            elif name == "Idempotency-Key":
                once = True
            else:
                raise ValueError(f"{function}: a parameter in {parameter['in']} that is called {name}")
        body = next(iter(operation.get("requestBody", {}).get("content", {}).items()), None)
        if body:
            kind, schema = body[0], body[1]["schema"]
            if kind == "application/json":
                type_name = self.type_of(schema, f"{camel(function)}Body", body=True)
                before.append(f"body: {self.seen(type_name)}")
                arguments.append("json=body")
            elif kind == "text/plain":
                before.append("text: str")
                arguments.append("text=text")
            else:
                before.append("content: bytes")
                arguments.append("content=content")
        if query:
            arguments.append(f"params=given({', '.join(query)})")
        if once:
            after.append("key: str | None = None")
            arguments.append("key=key or fresh_key()")
        place = re.sub(r"\{(\w+)\}", lambda found: f"{{part({safe(found[1])})}}", path)
        place = f'f"{place}"' if place != path else f'"{path}"'
        needs = operation["x-sentinel-permission"]
        return [
            *called(f"def {function}", [*before, *(["*", *after] if after else [])], f" -> Call[{answer}]:", ""),
            *docstring(f"{operation['summary']}. Needs `{needs}`.", "    "),
            *called("return Call", [f'"{method}"', place, read, *arguments], "", "    "),
        ]


def kind_and_default(kind: str, schema: Schema, required: bool) -> str:
    if required:
        return kind
    default = schema.get("default")
    if default is None:
        return f"{kind if kind == 'Any' or kind.endswith('None') else f'{kind} | None'} = None"
    if default == [] or default == {}:
        return f"{kind} = field(default_factory={'list' if default == [] else 'dict'}{kind[kind.index('['):]})"
    if isinstance(default, bool | int | float | str):
        return f"{kind} = {default!r}"
    return f"{kind} | None = None"


def folded(lines: list[str]) -> list[str]:
    """Breaks a long alias at its bars and commas."""
    last = lines[-1]
    if len(last) <= WIDTH:
        return lines
    head, _, tail = last.partition(" = ")
    parts = textwrap.wrap(tail, WIDTH - 8, break_long_words=False, break_on_hyphens=False)
    return [*lines[:-1], f"{head} = (", *(f"    {part}" for part in parts), ")"]


def files(document: Schema) -> dict[str, str]:
    writer = Writer(document)
    operations = writer.operations()
    fields = any("field(" in line for lines in writer.blocks.values() for line in lines)
    imported = "dataclass, field" if fields else "dataclass"
    told = "# Written by `generate.py` from the hub's OpenAPI document: change that, not this."
    models = [
        '"""What a hub takes and gives, as the hub\'s OpenAPI document names it. Words of a later hub arrive as they are."""', "", told, "",
        "from __future__ import annotations", "", f"from dataclasses import {imported}", "from datetime import datetime",
        "from typing import Any, Literal, NotRequired, TypeAlias, TypedDict", "", "from ._model import Model",
    ]
    for lines in writer.blocks.values():
        models += ["", "", *lines]
    head = [
        '"""Every route of the hub\'s API as a function that returns a `Call`, for `Sentinel.send` and `AsyncSentinel.send`."""', "", told, "",
        "from __future__ import annotations", "", "from typing import Any", "",
        "from . import models as m", "from ._model import Page",
        "from ._wire import Call, as_it_is, fresh_key, given, nothing, page, part, rows, text",
    ]
    return {"models.py": "\n".join(models) + "\n", "operations.py": "\n".join([*head, *operations]) + "\n"}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit status 1 if a committed file is old")
    arguments = parser.parse_args()
    old: list[str] = []
    for name, text in files(json.loads(DOCUMENT.read_text())).items():
        path = TARGET / name
        if path.is_file() and path.read_text() == text:
            continue
        old.append(name)
        if not arguments.check:
            path.write_text(text)
    if arguments.check and old:
        print(f"{', '.join(old)}: not what the OpenAPI document says; run `python3 hub/sdk-python/generate.py`", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
