"""What a text names: presets, built in and a tenant's own; and fonts that a tenant uploaded."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pydantic import ValidationError

from reelmill.errors import NameTaken, ParamsInvalid
from reelmill.jobs.model import Json
from reelmill.jobs.params import invalid_params
from reelmill.media import TEXT_PRESETS
from reelmill.pipelines import fonts
from reelmill.pipelines.clips.params import PRESET_FIELDS, TextLook, preset_values

KIND = "preset"  #: of what a tenant keeps


def branded(text: Mapping[str, Any], find: Callable[[str, str], Json | None]) -> dict[str, Any]:
    """Return a text's parameters with the preset and the font that it names as they are now.

    A name that no upload has stays: the folder's fonts are known where the text is drawn. Raises ParamsInvalid.
    """
    text = with_preset(text, find)
    text.pop("font_file", None)
    name = text.get("font")
    if isinstance(name, str) and (own := find(fonts.KIND, name)) is not None:
        text["font_file"] = own["file"]
    return text


def with_preset(text: Mapping[str, Any], find: Callable[[str, str], Json | None]) -> dict[str, Any]:
    """Return a text's parameters with the tenant's own preset put in. Raises ParamsInvalid for an unknown one."""
    name = text.get("preset")
    if not isinstance(name, str) or name in TEXT_PRESETS:
        return dict(text)
    own = find(KIND, name)
    if own is None:
        known = ", ".join(TEXT_PRESETS)
        told = f"there is no preset {name[:64]!r}; built in are {known}"
        raise ParamsInvalid(f"text.preset: {told}.", errors=[{"field": "text.preset", "message": told}])
    return {**own, **text}


def checked_preset(style: Json) -> dict[str, Any]:
    """Return all values of a preset, given those that differ from a built-in one (`preset`). Raises ParamsInvalid."""
    times = sorted(set(style) & (set(TextLook.model_fields) - PRESET_FIELDS - {"preset"}))
    if times:
        told = "a preset tells a look, not when it is seen"
        raise ParamsInvalid(f"{times[0]}: {told}.", errors=[{"field": times[0], "message": told}])
    if (name := style.get("preset")) is not None and name not in TEXT_PRESETS:
        told = f"a preset begins with a built-in one: {', '.join(TEXT_PRESETS)}"
        raise ParamsInvalid(f"preset: {told}.", errors=[{"field": "preset", "message": told}])
    try:
        look = TextLook.model_validate(dict(style))
    except ValidationError as error:
        raise invalid_params(error, style) from error
    return look.model_dump(mode="json", include=set(PRESET_FIELDS))


def check_name(name: str) -> None:
    """Raises NameTaken for a built-in preset's."""
    if name in TEXT_PRESETS:
        raise NameTaken(f"{name!r} is built in.")


def built_in() -> dict[str, dict[str, Any]]:
    """Return the built-in presets' values by their names."""
    return {name: checked_preset(preset_values(name)) for name in TEXT_PRESETS}
