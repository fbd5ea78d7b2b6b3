"""What varies texts: does its server answer, take our key and have the model? Nothing is written for it.

`/readyz` doesn't ask: local rules always work.
"""

from __future__ import annotations

import shlex

from reelmill.doctor.findings import Finding, failed, ok, warned
from reelmill.errors import SettingInvalid, TextModelDenied, TextModelUnknown, TextProblem, ToolMissing
from reelmill.settings import Settings
from reelmill.texts.opening import named_model, open_model

LOCAL = "export REELMILL_TEXT_MODEL=local"
INSTALL = "pip install 'reelmill[gemini]'"


def answers(settings: Settings) -> Finding:
    """See that texts can be varied as the settings say."""
    try:
        model = open_model(settings)
    except SettingInvalid as problem:
        return failed(problem, fix=INSTALL if settings.gemini_api_key else _key(settings))
    if model is None:
        if settings.text_model is None and settings.gemini_api_key is not None:
            missing = ToolMissing("GEMINI_API_KEY is set, but Google's SDK isn't installed: local rules vary texts.")
            return warned(missing, fix=INSTALL)
        return ok("local rules")
    try:
        return ok(model.check(), model=model.name)
    except TextModelDenied as problem:
        return failed(problem, fix=_key(settings))
    except TextModelUnknown as problem:
        names = [name for name in problem.extra.get("models") or () if " " not in name]
        other = f"{model.name.partition('/')[0]}/{names[0]}" if names else "local"
        return failed(problem, fix=f"export REELMILL_TEXT_MODEL={shlex.quote(other)}")
    except TextProblem as problem:
        return failed(problem, fix=LOCAL)
    finally:
        model.close()


def _key(settings: Settings) -> str:
    """Return how a key is set: it is the user's to type, so that it stands in no history."""
    name = "GEMINI_API_KEY" if named_model(settings).startswith("gemini/") else "REELMILL_TEXT_MODEL_KEY"
    return f"read -r {name} && export {name}"
