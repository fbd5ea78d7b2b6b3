"""What speaks narrations: is it installed, or does its server answer and take our key? Nothing is spoken for it.

`/readyz` doesn't ask: most jobs need no voice.
"""

from __future__ import annotations

from reelmill.doctor.findings import Finding, failed, ok
from reelmill.errors import SettingInvalid, VoiceProblem
from reelmill.settings import Settings
from reelmill.voices.opening import named_voice, open_voice

INSTALL = "pip install 'reelmill[voice]'"


def answers(settings: Settings) -> Finding:
    """See that narrations can be spoken as the settings say."""
    try:
        voice = open_voice(settings)
    except SettingInvalid as problem:
        extra = "piper" if named_voice(settings).startswith("piper") else "voice"
        return failed(problem, fix=f"pip install 'reelmill[{extra}]'")
    if voice is None:
        return ok("off" if settings.voice == "off" else f"none is installed; for narrations: {INSTALL}")
    try:
        return ok(voice.check(), voice=voice.name)
    except VoiceProblem as problem:
        return failed(problem, fix="export REELMILL_VOICE=espeak")
    finally:
        voice.close()
