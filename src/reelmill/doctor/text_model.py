"""What varies texts: does its server answer, take our key and have the model? Nothing is written for it.

`/readyz` doesn't ask: local rules always work.
"""

from __future__ import annotations

import shlex

from reelmill.doctor.findings import Finding, failed, ok
from reelmill.errors import SettingInvalid, TextModelDenied, TextModelUnknown, TextProblem
from reelmill.settings import Settings
from reelmill.texts.opening import named_model, open_model

LOCAL = "export REELMILL_TEXT_MODEL=local"


def answers(settings: Settings) -> Finding:
    """See that texts can be varied as the settings say."""
    try:
        model = open_model(settings)
    except SettingInvalid as problem:
        return failed(problem, fix=_key(settings) if settings.gemini_api_key is None else INSTALL)
    if model is None:
        return ok("local rules")
    try:
        return ok(model.check(), model=model.name)
    except TextModelDenied as problem:
        return failed(problem, fix=_key(settings))
    except TextModelUnknown as problem:
        names = [name for name in problem.extra.get("models") or () if " " not in name]
        kind = model.name.partition("/")[0]
        return failed(
            problem, fix=f"export REELMILL_TEXT_MODEL={shlex.quote(f'{kind}/{names[0]}')}" if names else LOCAL
        )
    except TextProblem as problem:
        return failed(problem, fix=LOCAL)
    finally:
        model.close()


INSTALL = "pip install 'reelmill[gemini]'"


def _key(settings: Settings) -> str:
    """Return how a key is set; it is the user's to fill in, so it is read without an echo."""
    name = "GEMINI_API_KEY" if named_model(settings).startswith("gemini/") else "REELMILL_TEXT_MODEL_KEY"
    return f"read -r {name} && export {name}"
