"""Lines in, speech out: what was spoken once is kept by its words, and isn't spoken or paid again."""

from __future__ import annotations

import hashlib
import io
import json
import threading
import wave
from collections.abc import Sequence
from pathlib import Path

import structlog

from reelmill.errors import ObjectMissing, StorageProblem, VoiceBroken, VoiceNeeded
from reelmill.jobs.ports import ObjectStore, Voice
from reelmill.jobs.speech import Speech, trimmed

log: structlog.typing.FilteringBoundLogger = structlog.get_logger("reelmill.voices")

LONGEST_S = 120.0  #: of one spoken line


class Narrating:
    """The `Narrator` of this process: a voice, or None where there is none."""

    def __init__(self, voice: Voice | None = None, *, objects: ObjectStore | None = None) -> None:
        """objects: where speech is kept; None keeps none."""
        self._voice = voice
        self._objects = objects
        self.voice_name = voice.name if voice else None

    def narrate(
        self, tenant: str, lines: Sequence[str], voice: str | None, *, scratch: Path, stop: threading.Event
    ) -> list[Speech]:
        if self._voice is None:
            raise VoiceNeeded
        found = {line: self._find(tenant, line, voice) for line in dict.fromkeys(lines)}
        missing = [line for line, speech in found.items() if speech is None]
        if missing:
            spoken = self._voice.speak(missing, voice, scratch=scratch, stop=stop)
            for line, given in zip(missing, spoken, strict=True):
                found[line] = good = checked(trimmed(given), line)
                self._keep(tenant, line, voice, good, scratch)
        return [speech for one in lines if (speech := found[one]) is not None]

    def known(self) -> list[tuple[str, str]]:
        """Return the voices that can be named, each with what people call it; empty where the engine doesn't tell."""
        return self._voice.known() if self._voice is not None else []

    def check(self) -> str:
        """Return a word on what speaks. Raises VoiceProblem."""
        if self._voice is None:
            raise VoiceNeeded
        return self._voice.check()

    def close(self) -> None:
        if self._voice is not None:
            self._voice.close()

    def _find(self, tenant: str, line: str, voice: str | None) -> Speech | None:
        if self._objects is None:
            return None
        key = self._key(tenant, line, voice)
        try:
            return read_wave(b"".join(self._objects.open(key)))
        except ObjectMissing:
            return None
        except (StorageProblem, VoiceBroken) as error:
            log.warning("kept speech can't be read", key=key, detail=error.detail)
            return None

    def _keep(self, tenant: str, line: str, voice: str | None, speech: Speech, scratch: Path) -> None:
        if self._objects is None:
            return
        key, path = self._key(tenant, line, voice), scratch / "kept.wav"
        content = wave_of(speech)
        path.write_bytes(content)
        try:
            sha256 = hashlib.sha256(content).hexdigest()
            self._objects.put_file(key, path, content_type="audio/wav", sha256=sha256)
        except StorageProblem as error:
            log.warning("speech can't be kept: speaking it again may cost again", key=key, detail=error.detail)
        path.unlink(missing_ok=True)

    def _key(self, tenant: str, line: str, voice: str | None) -> str:
        """Return the key of a spoken line: all that decides it is in its SHA-256."""
        said = json.dumps([self.voice_name, voice, line], ensure_ascii=True)
        return f"{tenant}/speech/{hashlib.sha256(said.encode()).hexdigest()}.wav"


def checked(speech: Speech, line: str) -> Speech:
    """Raises VoiceBroken for a line in which nothing is to be heard, or which doesn't end."""
    if not any(speech.samples):
        raise VoiceBroken(f"Nothing is to be heard in {line[:60]!r}.")
    if speech.duration_s > LONGEST_S:
        raise VoiceBroken(f"{line[:60]!r} takes {speech.duration_s:.0f} s; at most {LONGEST_S:.0f} are taken.")
    return speech


def wave_of(speech: Speech) -> bytes:
    """Return a WAV file with the speech."""
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setparams((1, 2, speech.rate, 0, "NONE", ""))
        file.writeframes(speech.samples)
    return out.getvalue()


def read_wave(content: bytes) -> Speech:
    """Return what is in a WAV file of 16 bits a sample; of several channels, the first. Raises VoiceBroken."""
    try:
        with wave.open(io.BytesIO(content)) as file:
            channels, width, rate = file.getnchannels(), file.getsampwidth(), file.getframerate()
            # Servers that send while they speak don't know the length yet, and tell the largest there is.
            samples = file.readframes(min(file.getnframes(), len(content)))
    except (wave.Error, EOFError, ValueError, RuntimeError) as error:
        raise VoiceBroken(f"The speech is no WAV file: {error}.") from error
    if width != 2 or not 8000 <= rate <= 192_000 or not 1 <= channels <= 8:
        raise VoiceBroken(f"The speech has {8 * width} bits, {rate} Hz and {channels} channels; 16 bits are wanted.")
    whole = samples[: len(samples) - len(samples) % (2 * channels)]
    if channels > 1:
        whole = b"".join(whole[at : at + 2] for at in range(0, len(whole), 2 * channels))
    return Speech(rate, whole)
