"""Parameters of pipelines that can't be used, told so that a user finds the fault."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from reelmill.errors import ParamsInvalid


def invalid_params(error: ValidationError, given: Any) -> ParamsInvalid:
    """Return pydantic's findings as one error of ours: the first in the detail, all in `errors`."""
    found = [
        {"field": _field(fault, given), "message": fault["msg"].removeprefix("Value error, ")}
        for fault in error.errors()
    ]
    first = found[0]
    more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
    return ParamsInvalid(f"{first['field'] or 'params'}: {first['message']}{more}.", errors=found)


def _field(fault: ErrorDetails, given: Any) -> str:
    """Return a fault's place as a dotted path in what the user wrote: the names of a union's members left out."""
    path: list[str] = []
    here = given
    for part in fault["loc"]:
        if isinstance(part, int) and isinstance(here, list):
            path.append(str(part))
            here = here[part] if part < len(here) else None
        elif isinstance(here, dict) and part in here:
            path.append(str(part))
            here = here[part]
    return ".".join([*path, str(fault["loc"][-1])] if fault["type"] == "missing" else path)
