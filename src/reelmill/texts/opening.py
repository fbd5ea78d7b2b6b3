"""From the settings to the text model."""

from __future__ import annotations

from importlib.util import find_spec

from reelmill.errors import SettingInvalid
from reelmill.jobs.ports import TextModel
from reelmill.settings import Settings
from reelmill.texts.openai import OpenAiModel

GEMINI_DEFAULT = "gemini/gemini-3.8-flash"  #: when there is a key and nothing else is said


def open_model(settings: Settings) -> TextModel | None:
    """Return the model that REELMILL_TEXT_MODEL names; None: local rules. It isn't asked yet. Raises SettingInvalid."""
    named = named_model(settings)
    kind, _, model = named.partition("/")
    url, timeout_s = settings.text_model_url, settings.text_model_timeout_s
    if kind == "local":
        return None
    if kind == "openai":
        key = settings.text_model_key
        return OpenAiModel(model, url=url, key=key.get_secret_value() if key else None, timeout_s=timeout_s)
    if settings.gemini_api_key is None:
        raise SettingInvalid(f"REELMILL_TEXT_MODEL={named} needs a key: set GEMINI_API_KEY.")
    try:
        from reelmill.texts.gemini import GeminiModel  # an extra, and slow to import
    except ModuleNotFoundError as error:
        raise SettingInvalid(f"{named} needs Google's SDK: pip install 'reelmill[gemini]'.") from error
    return GeminiModel(model, url=url, key=settings.gemini_api_key.get_secret_value(), timeout_s=timeout_s)


def named_model(settings: Settings) -> str:
    """Return what varies texts, by its name in REELMILL_TEXT_MODEL."""
    if settings.text_model is not None:
        return settings.text_model
    # A key alone is no wish: without the SDK that it needs, the server must start all the same.
    return GEMINI_DEFAULT if settings.gemini_api_key and _has_sdk() else "local"


def _has_sdk() -> bool:
    try:
        return find_spec("google.genai") is not None
    except ModuleNotFoundError:
        return False
