"""What is spoken, as narration has it. Pure."""

from __future__ import annotations

from array import array
from dataclasses import dataclass

RATE = 48_000  #: samples/s of every narration
WINDOW_S = 0.005  #: of one look for silence
QUIET = 0.02  #: of the loudest sample; below, nobody hears a word


@dataclass(frozen=True, slots=True)
class Speech:
    """One spoken line: mono, 16 bits a sample, little-endian."""

    rate: int  #: samples/s
    samples: bytes

    @property
    def duration_s(self) -> float:
        return len(self.samples) / 2 / self.rate


def trimmed(speech: Speech) -> Speech:
    """Return a line without the silence before its first and after its last word, so that its times are the words'.

    All of it, if there is nothing to hear.
    """
    sound = array("h", speech.samples)
    width = max(1, round(speech.rate * WINDOW_S))
    peaks = [max(map(abs, sound[at : at + width])) for at in range(0, len(sound), width)]
    least = QUIET * max(peaks, default=0)
    loud = [n for n, peak in enumerate(peaks) if peak > least]
    if not loud:
        return speech
    return Speech(speech.rate, sound[loud[0] * width : (loud[-1] + 1) * width].tobytes())
