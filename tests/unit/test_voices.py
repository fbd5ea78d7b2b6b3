"""Voices: those of this machine really speak; those of servers are asked in their own words, on this machine.

The server is no voice and nothing here was spoken by OpenAI or Gemini: these are protocol tests.
"""

from __future__ import annotations

import json
import socket
import threading
from array import array
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from odd_voice import OUTCOMES, RATE, OddVoice, streamed_wave, tone
from reelmill.errors import SettingInvalid, VoiceBroken, VoiceNeeded, VoiceProblem, VoiceUnavailable, VoiceUnknown
from reelmill.jobs.ports import Voice
from reelmill.jobs.speech import Speech, trimmed
from reelmill.objects.folder import FolderStore
from reelmill.settings import Settings
from reelmill.voices import Narrating
from reelmill.voices.gemini import GeminiVoice
from reelmill.voices.local import EspeakVoice, PiperVoice
from reelmill.voices.narrator import read_wave, wave_of
from reelmill.voices.openai import OpenAiVoice
from reelmill.voices.opening import named_voice, open_voice

LINES = ["Good morning.", "How are you today, and what shall we do?"]
ON = threading.Event()
MAKERS: dict[str, Callable[[str], Voice]] = {
    "openai": lambda url: OpenAiVoice("tts-1", url=f"{url}/v1", key="sk-secret", timeout_s=10),
    "gemini": lambda url: GeminiVoice("gemini-tts", url=url, key="AIza-secret", timeout_s=10),
}


@pytest.fixture(scope="module")
def server() -> Iterator[OddVoice]:
    with OddVoice() as running:
        yield running


@pytest.mark.req("E-01")
@pytest.mark.parametrize("voice", [EspeakVoice, PiperVoice])
def test_a_voice_of_this_machine_speaks_each_line_the_same_each_time(
    voice: Callable[[], Voice], tmp_path: Path
) -> None:
    speaker = voice()
    spoken = speaker.speak(LINES, None, scratch=tmp_path, stop=ON)
    assert [one.rate for one in spoken] == [22_050] * 2
    assert 0.4 < spoken[0].duration_s < spoken[1].duration_s < 6
    assert all(max(map(abs, array("h", one.samples))) > 3000 for one in spoken), "it is to be heard"
    assert speaker.speak(LINES, None, scratch=tmp_path, stop=ON) == spoken
    with pytest.raises(VoiceUnknown):
        speaker.speak(LINES, "klingon-xx", scratch=tmp_path, stop=ON)


@pytest.mark.req("E-01")
@pytest.mark.req("E-01")
def test_voices_that_are_told_can_be_named(tmp_path: Path) -> None:
    voice = EspeakVoice()
    known = dict(voice.known())
    assert known["de"] == "German" and "en-us" in known and len(known) > 90
    for name in ("de", "es-419", "fr"):
        (speech,) = voice.speak(["Hallo"], name, scratch=tmp_path, stop=ON)
        assert speech.duration_s > 0.1


def test_words_of_users_are_only_words(tmp_path: Path) -> None:
    """Neither markup nor options nor shells: what a line says is spoken."""
    odd = [
        "<speak><audio src='file:///etc/passwd'/></speak>",
        "--output-file /tmp/x",
        "$(id); `id`",
        "[[ hello ]] 100 %",
    ]
    assert len(EspeakVoice().speak(odd, "de", scratch=tmp_path, stop=ON)) == 4
    assert {path.name for path in tmp_path.iterdir()} == {"speech"}


@pytest.mark.req("E-01")
def test_openai_is_asked_as_its_reference_says(server: OddVoice, tmp_path: Path) -> None:
    voice = MAKERS["openai"](server.url())
    (spoken,) = voice.speak(["Hello."], "nova", scratch=tmp_path, stop=ON)
    voice.close()
    path, headers, body = server.requests[-1]
    assert path == "/good/v1/audio/speech" and headers["authorization"] == "Bearer sk-secret"
    assert body == {"model": "tts-1", "voice": "nova", "input": "Hello.", "response_format": "wav"}
    assert spoken == Speech(RATE, tone())


@pytest.mark.req("E-01")
def test_gemini_is_asked_as_its_reference_says(server: OddVoice, tmp_path: Path) -> None:
    voice = MAKERS["gemini"](server.url())
    (spoken,) = voice.speak(["Hello."], None, scratch=tmp_path, stop=ON)
    voice.close()
    path, headers, body = server.requests[-1]
    assert path.endswith("/models/gemini-tts:generateContent") and headers["x-goog-api-key"] == "AIza-secret"
    config = body["generationConfig"]
    assert config["responseModalities"] == ["AUDIO"]
    # The SDK writes some names as Python does; JSON for protocol buffers may be either.
    assert "Kore" in json.dumps(config["speechConfig"]) and "voice" in json.dumps(config["speechConfig"])
    assert body["contents"][0]["parts"] == [{"text": "Hello."}]
    assert spoken == Speech(RATE, tone())


@pytest.mark.req("E-05")
@pytest.mark.parametrize("manner", OUTCOMES)
@pytest.mark.parametrize("maker", MAKERS)
def test_each_way_to_fail_has_its_name(server: OddVoice, maker: str, manner: str, tmp_path: Path) -> None:
    voice = MAKERS[maker](server.url(manner))
    with pytest.raises(VoiceProblem) as told:
        voice.speak(["Hello."], None, scratch=tmp_path, stop=ON)
    voice.close()
    assert told.value.code == OUTCOMES[manner]
    assert "secret" not in told.value.detail


@pytest.mark.req("E-05")
@pytest.mark.parametrize("maker", MAKERS)
def test_a_server_that_isnt_there_is_tried_again_by_the_step(maker: str, tmp_path: Path) -> None:
    with socket.socket() as nobody:  # bound, so that nobody else takes the port, and not listening
        nobody.bind(("127.0.0.1", 0))
        voice = MAKERS[maker](f"http://127.0.0.1:{nobody.getsockname()[1]}")
        with pytest.raises(VoiceUnavailable) as told:
            voice.speak(["Hello."], None, scratch=tmp_path, stop=ON)
        voice.close()
    assert told.value.retryable


@pytest.mark.req("E-01")
def test_a_line_is_paid_once(server: OddVoice, tmp_path: Path) -> None:
    objects = FolderStore(tmp_path / "objects", secret=b"0" * 32, base_url="")
    voice = MAKERS["openai"](server.url())
    narrator = Narrating(voice, objects=objects)
    first = narrator.narrate("acme", ["One.", "Two.", "One."], None, scratch=tmp_path, stop=ON)
    asked = len(server.requests)
    assert first[0] == first[2] and abs(first[0].duration_s - 0.5) < 0.02, "without the silence around it"
    assert narrator.narrate("acme", ["Two.", "One."], None, scratch=tmp_path, stop=ON) == [first[1], first[0]]
    assert len(server.requests) == asked
    narrator.narrate("other", ["One."], None, scratch=tmp_path, stop=ON)
    narrator.narrate("acme", ["One."], "nova", scratch=tmp_path, stop=ON)
    assert len(server.requests) == asked + 2, "another tenant's and another voice's is another"
    narrator.close()


def test_without_a_voice_nothing_is_spoken(tmp_path: Path) -> None:
    with pytest.raises(VoiceNeeded):
        Narrating().narrate("acme", ["Hello."], None, scratch=tmp_path, stop=ON)


def test_silence_around_words_goes_and_between_them_stays() -> None:
    rate = 8000
    loud, quiet = array("h", [8000, -8000] * 800), array("h", [3] * 1600)
    speech = trimmed(Speech(rate, (quiet + loud + quiet + loud + quiet).tobytes()))
    assert speech.samples == (loud + quiet + loud).tobytes()
    assert trimmed(Speech(rate, bytes(100))).samples == bytes(100)


def test_waves_of_servers_are_read_and_others_refused() -> None:
    assert read_wave(streamed_wave(tone())) == Speech(RATE, tone())
    assert read_wave(wave_of(Speech(48_000, b"\1\0\2\0"))) == Speech(48_000, b"\1\0\2\0")
    for broken in (b"", b"RIFF", b"<html>", streamed_wave(tone()).replace(b"data", b"atad")):
        with pytest.raises(VoiceBroken):
            read_wave(broken)


def test_settings_choose_the_voice() -> None:
    assert named_voice(Settings()) == "piper", "the natural one, where it is installed"
    assert open_voice(Settings(voice="off")) is None
    for name, kind in (("espeak", EspeakVoice), ("piper", PiperVoice), ("openai/tts-1", OpenAiVoice)):
        voice = open_voice(Settings(voice=name))
        assert isinstance(voice, kind) and voice.name.startswith(name)
        voice.close()
    with pytest.raises(SettingInvalid, match="GEMINI_API_KEY"):
        open_voice(Settings(voice="gemini/tts", gemini_api_key=None))
    with pytest.raises(SettingInvalid, match=r"\.onnx"):
        open_voice(Settings(voice="piper//nowhere/voice.onnx"))
