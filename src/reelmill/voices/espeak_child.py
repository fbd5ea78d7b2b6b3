"""The child that speaks with eSpeak NG: lines of a JSON array in, WAV files out.

Run by `local.py` as `python -I espeak_child.py JSON`. The library is GPL-3.0 and stays in this process.
"""

from __future__ import annotations

import ctypes
import json
import sys
import wave
from typing import Any

SYNCHRONOUS = 2  #: AUDIO_OUTPUT_SYNCHRONOUS of speak_lib.h: samples come by the callback, as fast as they are made
NO_EXIT = 0x8000  #: espeakINITIALIZE_DONT_EXIT
UTF8 = 1  #: espeakCHARS_UTF8; without SSML, so that `<` is a character


def main() -> int:
    asked: dict[str, Any] = json.loads(sys.argv[1])
    library = ctypes.CDLL(asked["library"])
    rate = library.espeak_Initialize(SYNCHRONOUS, 0, asked["data"].encode(), NO_EXIT)
    if rate <= 0:
        sys.stderr.write("its data can't be read\n")
        return 1
    spoken = bytearray()

    def take(samples: Any, count: int, _: Any) -> int:
        if samples and count > 0:
            spoken.extend(ctypes.string_at(samples, 2 * count))
        return 0

    taking = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)(take)
    library.espeak_SetSynthCallback(taking)
    if library.espeak_SetVoiceByName(asked["voice"].encode()):
        return 3
    for number, line in enumerate(asked["lines"]):
        spoken.clear()
        words = line.encode() + b"\0"
        if library.espeak_Synth(words, ctypes.c_size_t(len(words)), 0, 0, 0, UTF8, None, None):
            sys.stderr.write(f"line {number + 1} can't be spoken\n")
            return 1
        library.espeak_Synchronize()
        with wave.open(f"{number:04d}.wav", "wb") as file:
            file.setparams((1, 2, rate, 0, "NONE", ""))
            file.writeframes(bytes(spoken))
    return 0


if __name__ == "__main__":
    sys.exit(main())
