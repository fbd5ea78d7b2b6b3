"""Write docs/reference from the code: `python scripts/reference.py`, or `--check` to only compare.

Every page comes from what the product itself runs on: the error catalogue, the settings, the pipelines' parameter
schemas, the command tree and the OpenAPI document. `tests/unit/test_docs.py` runs `--check`.
"""

from __future__ import annotations

import importlib
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from pydantic_core import PydanticUndefined

FOLDER = Path(__file__).resolve().parent.parent / "docs" / "reference"
GENERATED = "<!-- Written by `make docs` from the code; change it there. -->"


# ── the pages ─────────────────────────────────────────────────────────────────────────────────


def errors() -> str:
    """The error catalogue."""
    from reelmill.errors import catalogue

    rows = (
        (f"`{e.code}`", e.status_code, e.what, e.why, e.remedy, "yes" if e.retryable else "no") for e in catalogue()
    )
    return page(
        "Errors",
        "A reply that isn't a success is `application/problem+json` (RFC 9457) with `code`, `detail`, `remedy` and "
        "`correlation_id`. A failed job carries the same codes in `error`. Codes never change their meaning. "
        "*Tried again* says whether a step that meets the error is repeated by itself.",
        table(("code", "HTTP", "what", "why", "what to do", "tried again"), rows),
    )


def settings() -> str:
    """Every setting."""
    from reelmill.settings import Settings

    rows = []
    for name, field in Settings.model_fields.items():
        alias = field.validation_alias
        variable = alias if isinstance(alias, str) else f"REELMILL_{name.upper()}"
        rows.append((f"`{variable}`", default_of(field), bounds_of(field), field.description or ""))
    return page(
        "Settings",
        "Settings are environment variables, read once at start. A value that makes no sense stops the start and "
        "names the variable. Options of the command line win over the environment.",
        table(("variable", "default", "allowed", "meaning"), rows),
    )


def pipelines() -> str:
    """Each pipeline with its stages and parameters."""
    built_in = [entry for entry in entry_points(group="reelmill.pipelines") if entry.value.startswith("reelmill.")]
    parts = []
    for entry in sorted(built_in, key=lambda entry: entry.name):
        pipeline: Any = entry.load()
        stages = " → ".join(f"`{stage.name}` ({stage.weight} %)" for stage in pipeline.stages)
        schema = pipeline.Params.model_json_schema()
        parts.append(f"## `{pipeline.name}` — {pipeline.title}\n\nVersion {pipeline.version}. Stages: {stages}.\n")
        parts.append(table(("parameter", "type", "default", "allowed", "meaning"), parameters(schema, schema)))
    return page(
        "Pipelines",
        "A pipeline is chosen by its name, with its parameters as `params`, when an upload is initiated or a job is "
        "made. `reelmill pipelines --json` prints the same as JSON schemas. Unknown parameters are refused.",
        "\n".join(parts),
    )


def analysis() -> str:
    """The report of an analysis."""
    from reelmill.pipelines.analysis import AnalysisReport

    schema = AnalysisReport.model_json_schema()
    return page(
        "The report of an analysis",
        "`analysis-quick.json` and `analysis.json` of the pipeline `analysis`; [Analyse a film](../how-to/analyse.md) "
        "says how each value is measured. Fields may be added; those that are there keep their meaning within a "
        "`version`.",
        table(("field", "type", "default", "allowed", "meaning"), parameters(schema, schema)),
    )


def cli() -> str:
    """Each command of `reelmill`."""
    from typer.main import get_command

    app = importlib.import_module("reelmill.cli").app
    return page(
        "Command line",
        "`reelmill COMMAND --help` prints the same for one command.",
        "\n".join(commands("reelmill", get_command(app))),
    )


def http() -> str:
    """Each path of the API."""
    from reelmill.api.app import create_app
    from reelmill.settings import Settings
    from reelmill.wiring import build

    with tempfile.TemporaryDirectory() as folder:
        platform = build(Settings(data=Path(folder)))
        document = create_app(platform).openapi()
        platform.store.close_engine()
    rows: dict[bool, list[tuple[str, ...]]] = {False: [], True: []}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            rows[operation.get("deprecated", False)].append(
                (
                    method.upper(),
                    f"`{path}`",
                    operation.get("description", "").split("\n")[0],
                    f"`{operation['x-scope']}`" if operation.get("x-scope") else "none",
                )
            )
    head = ("method", "path", "what", "scope")
    return page(
        "HTTP API",
        "Requests and replies are JSON. Send a key as `Authorization: Bearer KEY`; *scope* is what the key must allow. "
        "A running server serves the full OpenAPI document at `/openapi.json` and a page to try it at `/docs`.",
        f"{table(head, rows[False])}\n## Older clients\n\n"
        "The paths by which [older clients](../how-to/older-clients.md) know the same.\n\n"
        f"{table(head, rows[True])}",
    )


def hostile() -> str:
    """What becomes of each file of the hostile suite."""
    sys.path.insert(0, str(FOLDER.parents[1] / "tests"))
    files = importlib.import_module("hostile_files")
    rows = [
        (
            one.name,
            one.what + (f" ({len(one.names)} names)" if len(one.names) > 1 else ""),
            "clips" if one.code == files.ACCEPTED else code(one.code),
        )
        for one in files.HOSTILE
    ]
    return page(
        "Hostile files",
        "What strangers may send, and what becomes of it. Each of these is uploaded to a real server by "
        "`tests/hostile`, under each of its names: the answer comes within 15 seconds with this code, or clips come "
        "out right; no worker is hurt, the probing process stays below 1 GB, and neither the file nor the address on "
        "this machine that some of them name is ever touched.",
        table(("file", "what it is", "what becomes of it"), rows),
    )


def metrics() -> str:
    """Every metric."""
    from reelmill.jobs.model import Figures, Waiting
    from reelmill.observe.metrics import COUNTERS, HISTOGRAMS, Metrics, PlatformFigures, ProcessFigures

    def named(labels: Iterable[str]) -> str:
        return " ".join(f"`{label}`" for label in labels)

    counted = [(f"`reelmill_{name}_total`", named(one.labels), one.about) for name, one in sorted(COUNTERS.items())]
    measured = [(f"`reelmill_{name}`", named(one.labels), one.about) for name, one in sorted(HISTOGRAMS.items())]
    nothing = Figures(jobs={}, ready={}, running={}, uploads=Waiting(), uploads_stuck=0)
    own = Metrics()
    own.watch(ProcessFigures({}, lambda: (0, 0)))
    standing = {family.name: family for family in PlatformFigures(lambda: nothing).collect()}
    of_process = {one.name: one for one in own.registry.collect() if one.type == "gauge" and "reelmill_" in one.name}
    rows = [
        (f"`{name}`", named(getattr(one, "_labelnames", ("version",) if name == "reelmill_info" else ())), where)
        for families, told in ((standing, "of the platform: "), (of_process, ""))
        for name, one in families.items()
        for where in [told + one.documentation]
    ]
    heading = ("metric", "labels", "what")
    return page(
        "Metrics",
        "What `/metrics` tells; [Watch Reelmill](../how-to/watch.md) says how to read it. Counters and histograms are "
        "each process's own: add them up. Gauges *of the platform* are told alike by every process with the API: take "
        "one of them (`max`). The usual `process_…` and `python_…` metrics are there, too.",
        f"## Counters\n\n{table(heading, counted)}\n\n## Histograms\n\n{table(heading, measured)}\n\n"
        f"## Gauges\n\n{table(heading, rows)}",
    )


PAGES: dict[str, Callable[[], str]] = {
    "errors.md": errors,
    "settings.md": settings,
    "pipelines.md": pipelines,
    "analysis.md": analysis,
    "cli.md": cli,
    "http.md": http,
    "metrics.md": metrics,
    "hostile-files.md": hostile,
}


# ── what they are made of ─────────────────────────────────────────────────────────────────────


def page(title: str, lead: str, body: str) -> str:
    return f"{GENERATED}\n\n# {title}\n\n{lead}\n\n{body.strip()}\n"


def table(head: tuple[str, ...], rows: Iterable[tuple[Any, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "".join("| " + " | ".join(cell(value) for value in line) + " |\n" for line in lines)


def cell(value: Any) -> str:
    return " ".join(str(value).split()).replace("|", "\\|")


def code(value: Any) -> str:
    """Return a value as it is written in JSON or in an environment variable."""
    if value is None or value == "":
        return ""
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return f"`{value}`"


def default_of(field: Any) -> str:
    if field.default_factory is not None:
        return "worked out at start"
    return "required" if field.default is PydanticUndefined else code(field.default)


def bounds_of(field: Any) -> str:
    """Return a setting's range, choices or pattern."""
    choices = getattr(field.annotation, "__args__", ()) if "Literal" in str(field.annotation) else ()
    if choices:
        return ", ".join(code(choice) for choice in choices)
    found = {
        name: getattr(meta, name)
        for meta in field.metadata
        for name in ("ge", "gt", "le", "lt", "pattern")
        if getattr(meta, name, None) is not None
    }
    return bounds({"minimum": found.get("ge"), "exclusiveMinimum": found.get("gt"), "maximum": found.get("le")})


def bounds(schema: dict[str, Any]) -> str:
    """Return the range, the lengths or the choices that a JSON schema allows, in words."""
    if "const" in schema:
        return code(schema["const"])
    if "enum" in schema:
        return ", ".join(code(choice) for choice in schema["enum"])
    words = {
        "minimum": "≥ {}",
        "exclusiveMinimum": "> {}",
        "maximum": "≤ {}",
        "exclusiveMaximum": "< {}",
        "minLength": "≥ {} characters",
        "maxLength": "≤ {} characters",
        "minItems": "≥ {} items",
        "maxItems": "≤ {} items",
        "pattern": "matches `{}`",
    }
    found = [
        phrase.format(f"{schema[key]:,g}" if isinstance(schema[key], float) else schema[key])
        for key, phrase in words.items()
        if schema.get(key) is not None
    ]
    return ", ".join(found)


def parameters(schema: dict[str, Any], root: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, ...]]:
    """Yield a row for each parameter of a JSON schema, nested ones by their dotted path."""
    required = schema.get("required", [])
    for name, declared in schema.get("properties", {}).items():
        path = f"{prefix}{name}"
        variants = variants_of(declared, root)
        objects = [variant for variant in variants if "properties" in variant]
        plain = [variant for variant in variants if variant not in objects and variant.get("type") != "null"]
        kinds = [variant.get("type", "") for variant in plain] + ["object"] * bool(objects)
        allowed = "; ".join(filter(None, (bounds(variant) for variant in plain)))
        default = "required" if name in required else default_text(declared.get("default"), bool(objects))
        meaning = declared.get("description") or (variants[0].get("description", "") if len(variants) == 1 else "")
        yield f"`{path}`", " or ".join(dict.fromkeys(filter(None, kinds))), default, allowed, meaning
        yield from members(objects, root, f"{path}.")
        items = [item for variant in plain for item in variants_of(variant.get("items", {}), root)]
        yield from members([item for item in items if "properties" in item], root, f"{path}[].")


def variants_of(schema: dict[str, Any], root: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the plain schemas that a value may have."""
    schema = resolved(schema, root)
    inner = schema.get("oneOf", schema.get("anyOf"))
    return [schema] if inner is None else [found for variant in inner for found in variants_of(variant, root)]


def members(variants: list[dict[str, Any]], root: dict[str, Any], prefix: str) -> Iterator[tuple[str, ...]]:
    """Yield the rows of an object that has one of several shapes; what not all have says which have it."""
    rows: dict[tuple[str, ...], list[str]] = {}
    for variant in variants:
        tag = next((code(p["const"]) for p in variant["properties"].values() if "const" in p), "")
        for row in parameters(variant, root, prefix):
            rows.setdefault(row, []).append(tag)
    for (path, *rest), tags in rows.items():
        only = "" if len(tags) == len(variants) or rest[2] in tags else f" ({', '.join(tags)})"
        yield f"{path}{only}", *rest


def default_text(default: Any, nested: bool) -> str:
    return "" if nested and isinstance(default, dict) else code(default)


def resolved(schema: dict[str, Any], root: dict[str, Any]) -> dict[str, Any]:
    """Return a schema with its `$ref` followed; what stands beside the reference wins."""
    if "$ref" in schema:
        target = root["$defs"][schema["$ref"].rpartition("/")[2]]
        return {**resolved(target, root), **{key: value for key, value in schema.items() if key != "$ref"}}
    if len(schema.get("allOf", [])) == 1:
        return {**resolved(schema["allOf"][0], root), **schema}
    return schema


def commands(path: str, command: Any) -> Iterator[str]:
    """Yield a section for a command and each of those under it."""
    children = getattr(command, "commands", {})
    shown = [param for param in command.params if not getattr(param, "hidden", False) and visible(param)]
    arguments = [param for param in shown if not param.opts[0].startswith("-")]
    options = [param for param in shown if param.opts[0].startswith("-")]
    usage = [path, *(usage_of(argument) for argument in arguments)]
    usage += ["[OPTIONS]"] * bool(options) + ["COMMAND"] * bool(children)
    yield f"## `{' '.join(usage)}`\n\n{(command.help or '').split(chr(12))[0].strip()}\n"
    if shown:
        yield table(("argument or option", "default", "meaning"), (parameter_row(param) for param in shown))
    for name, child in children.items():
        if not child.hidden:
            yield from commands(f"{path} {name}", child)


def visible(param: Any) -> bool:
    return param.name not in ("help", "install_completion", "show_completion")


def usage_of(argument: Any) -> str:
    name = (argument.metavar or argument.name).upper() + ("…" if argument.nargs == -1 else "")
    return name if argument.required else f"[{name}]"


def parameter_row(param: Any) -> tuple[str, str, str]:
    names = "`, `".join([*param.opts, *param.secondary_opts])
    if not param.opts[0].startswith("-"):
        names = param.name.upper()
    default = "required" if param.required else "" if callable(param.default) else code(param.default or None)
    help_text = getattr(param, "help", None) or ""
    if param.envvar:
        help_text += f" (`{param.envvar}`)"
    return f"`{names}`", default, help_text


def main() -> int:
    """Write the pages, or with --check say which differ; return the exit code."""
    check = sys.argv[1:] == ["--check"]
    FOLDER.mkdir(parents=True, exist_ok=True)
    stale, failed = [], []
    for name, build in PAGES.items():
        path = FOLDER / name
        try:
            text = build()
        except (ImportError, AttributeError) as error:  # one broken page doesn't hide the others
            failed.append(f"docs/reference/{name} can't be written: {error}")
            continue
        if not path.is_file() or path.read_text() != text:
            stale.append(name)
            if not check:
                path.write_text(text)
    if failed:
        print("\n".join(failed))
    if check and stale:
        print(f"docs/reference is behind the code: {', '.join(stale)}. Run `make docs`.")
    if not check:
        print(f"docs/reference: {', '.join(stale) or 'nothing'} written")
    return 1 if failed or (check and stale) else 0


if __name__ == "__main__":
    sys.exit(main())
