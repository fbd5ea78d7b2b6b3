"""Write the API's contract to docs/reference/openapi.json, and tell whether a change breaks its clients.

    python scripts/openapi.py            renew the file; a change that breaks clients is refused
    python scripts/openapi.py --check    fail if the file isn't what the code says, and say what would break
    python scripts/openapi.py --breaking renew it all the same: say so in CHANGELOG.md

What breaks: an operation, a parameter or a field of a request that goes away (unknown ones are refused); one that
becomes required, or takes less than before; a field of a reply that goes away, may be missing or null where it wasn't,
or has another type; another scope. Replies may gain fields and values, and requests optional fields.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

FILE = Path(__file__).parents[1] / "docs" / "reference" / "openapi.json"
METHODS = ("get", "put", "post", "delete", "patch", "head")
#: a keyword's sign: +1 where a higher value takes less
NARROWER = {
    "minimum": 1, "exclusiveMinimum": 1, "minLength": 1, "minItems": 1,
    "maximum": -1, "exclusiveMaximum": -1, "maxLength": -1, "maxItems": -1, "maxProperties": -1,
}  # fmt: skip
Schema = dict[str, Any]


def document() -> Schema:
    """Return the contract that the code makes."""
    import tempfile

    from reelmill.api.app import create_app
    from reelmill.settings import read_settings
    from reelmill.wiring import build

    with tempfile.TemporaryDirectory() as folder:
        app = build(read_settings(data=Path(folder)))
        made = create_app(app).openapi()
        app.store.close_engine()
    return {**made, "info": {**made["info"], "version": "0"}}  # a release alone is no change of the contract


def breaks(old: Schema, new: Schema) -> Iterator[str]:
    """Yield what clients of `old` would trip over in `new`, a sentence each."""
    for path, item in old["paths"].items():
        for method in METHODS:
            if method in item:
                name = f"{method.upper()} {path}"
                there = new["paths"].get(path, {}).get(method)
                if there is None:
                    yield f"{name} is gone."
                else:
                    yield from (f"{name}: {told}" for told in _operation(Pair(old, new), item[method], there))


class Pair:
    """Two documents, to look references up in."""

    def __init__(self, old: Schema, new: Schema) -> None:
        self.old, self.new = old, new
        self._met: set[tuple[str, str, bool]] = set()

    def meets(self, old: Schema, new: Schema, *, request: bool) -> bool:
        """Tell whether these two were compared before: schemas may hold themselves."""
        pair = (str(old.get("$ref")), str(new.get("$ref")), request)
        if "$ref" not in old or pair in self._met:
            return pair in self._met
        self._met.add(pair)
        return False

    @staticmethod
    def found(schema: Schema, document: Schema) -> Schema:
        while "$ref" in schema:
            schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
        return schema


def _operation(pair: Pair, old: Schema, new: Schema) -> Iterator[str]:
    if old.get("x-scope") != new.get("x-scope"):
        yield f"its scope was {old.get('x-scope')}, now it is {new.get('x-scope')}."
    yield from _parameters(pair, old.get("parameters", []), new.get("parameters", []))
    was, now = (_body(operation.get("requestBody")) for operation in (old, new))
    if (
        now is not None
        and new["requestBody"].get("required")
        and (was is None or not old["requestBody"].get("required"))
    ):
        yield "its body became required."
    if was is not None:
        if now is None:
            yield "its body is gone."
        else:
            yield from _schema(pair, was, now, "body", request=True)
    for status, reply in old["responses"].items():
        if status.startswith(("2", "3")):
            there = new["responses"].get(status)
            if there is None:
                yield f"the reply {status} is gone."
            elif (was := _body(reply)) is not None:
                yield from _schema(pair, was, _body(there) or {}, f"reply {status}", request=False)


def _parameters(pair: Pair, old: list[Schema], new: list[Schema]) -> Iterator[str]:
    was, now = ({(p["in"], p["name"]): p for p in parameters} for parameters in (old, new))
    for place, parameter in was.items():
        if place not in now:
            yield f"the {place[0]} parameter {place[1]} is gone."
            continue
        if now[place].get("required") and not parameter.get("required"):
            yield f"the {place[0]} parameter {place[1]} became required."
        yield from _schema(pair, parameter.get("schema", {}), now[place].get("schema", {}), place[1], request=True)
    for place in now.keys() - was.keys():
        if now[place].get("required"):
            yield f"it needs a new {place[0]} parameter {place[1]}."


def _body(holder: Schema | None) -> Schema | None:
    content: Schema = (holder or {}).get("content", {}).get("application/json", {})
    return content.get("schema")


def _schema(pair: Pair, old: Schema, new: Schema, where: str, *, request: bool) -> Iterator[str]:
    if pair.meets(old, new, request=request):
        return
    old, new = pair.found(old, pair.old), pair.found(new, pair.new)
    was, now = _types(pair, old, pair.old), _types(pair, new, pair.new)
    # A request must take all that it took; a reply must give nothing that it didn't give.
    lost = (was.keys() - now.keys()) if request else (now.keys() - was.keys())
    if lost and (request or was):
        kinds = ", ".join(sorted(lost))
        yield f"{where} no longer takes {kinds}." if request else f"{where} may now be {kinds}."
    for kind in was.keys() & now.keys():
        yield from _narrowed(was[kind], now[kind], where, request=request)
        yield from _fields(pair, was[kind], now[kind], where, request=request)
        if "items" in was[kind] and "items" in now[kind]:
            yield from _schema(pair, was[kind]["items"], now[kind]["items"], f"{where}[]", request=request)


def _types(pair: Pair, schema: Schema, document: Schema) -> dict[str, Schema]:
    """Return what a value may be, by the name of its JSON type; objects of a union by their titles."""
    variants = schema.get("anyOf") or schema.get("oneOf")
    if variants:
        found: dict[str, Schema] = {}
        for variant in variants:
            found |= _types(pair, pair.found(variant, document), document)
        return found
    kind = schema.get("type") or ("object" if "properties" in schema else "any")
    return {f"object {schema['title']}" if kind == "object" and "title" in schema else str(kind): schema}


def _narrowed(old: Schema, new: Schema, where: str, *, request: bool) -> Iterator[str]:
    if not request:
        return
    for keyword, sign in NARROWER.items():
        was, now = old.get(keyword), new.get(keyword)
        if now is not None and (was is None or (now - was) * sign > 0):
            yield f"{where}: {keyword} was {was}, now it is {now}."
    if new.get("pattern") != old.get("pattern") and "pattern" in new:
        yield f"{where}: its pattern is another."
    if "enum" in new and (gone := set(map(str, old.get("enum", ["any other"]))) - set(map(str, new["enum"]))):
        yield f"{where} no longer takes {', '.join(sorted(gone))}."


def _fields(pair: Pair, old: Schema, new: Schema, where: str, *, request: bool) -> Iterator[str]:
    was, now = old.get("properties", {}), new.get("properties", {})
    for name, field in was.items():
        if name not in now:
            yield f"{where}.{name} is gone."
        else:
            yield from _schema(pair, field, now[name], f"{where}.{name}", request=request)
    required = set(new.get("required", ())) - set(old.get("required", ()))
    missing = set(old.get("required", ())) - set(new.get("required", ()))
    for name in sorted(required if request else missing & now.keys()):
        yield f"{where}.{name} became required." if request else f"{where}.{name} may now be missing."


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--breaking", action="store_true")
    wanted = parser.parse_args()
    made = document()
    kept = json.loads(FILE.read_text()) if FILE.is_file() else made
    broken = sorted(set(breaks(kept, made)))
    for told in broken:
        print(f"breaks clients: {told}")
    text = json.dumps(made, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
    if wanted.check:
        if broken or not FILE.is_file() or FILE.read_text() != text:
            print(f"{FILE.name} isn't what the code says: run `make docs`")
            return 1
        return 0
    if broken and not wanted.breaking:
        print("Not written. Mend it, or run `python scripts/openapi.py --breaking` and tell it in CHANGELOG.md.")
        return 1
    FILE.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
