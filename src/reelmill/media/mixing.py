"""The sound of a made film: narration at an even loudness, and music that steps back while somebody speaks."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from reelmill.media.children import Limits
from reelmill.media.ffmpeg import Finished, input_arguments, local, run
from reelmill.media.probe import AudioStream, Source
from reelmill.media.sound import QUIET_LUFS, TRUE_PEAK_DB, checked_length, loudnorm, measured_loudness

RATE = 48_000
LOUD_LUFS = -16.0  #: of narration, as the web has it
SPEECH = ("-f", "s16le", "-ar", str(RATE), "-ac", "1", "-protocol_whitelist", "file", "-i")
DUCKING = "threshold=0.015:ratio=12:attack=40:release=600:makeup=1"  #: music by 12–18 dB while somebody speaks


@dataclass(frozen=True)
class Music:
    """Music under a film: from its beginning, again and again, out with the film."""

    location: str  #: path or http(s) URL
    source: Source
    track: AudioStream
    volume_db: float  #: ≤ 0
    duck: bool


def mix(
    speech: Path, music: Music | None, length: Fraction, output: Path, *,
    ffmpeg: Path, scratch: Path, limits: Limits | None = None, stop: threading.Event | None = None,
) -> list[Finished]:  # fmt: skip
    """Write the sound of a film as an MP4 with AAC alone, in stereo, and check its length.

    speech: plain samples, mono, 16 bits, 48 kHz, as long as the film. length: seconds.
    Raises as `ffmpeg.run`, and OutputRejected.
    """
    said = [*SPEECH, local(speech)]
    telling = ["-loglevel", "info", *said, "-af", f"{loudnorm(LOUD_LUFS)}:print_format=json", "-f", "null", "-"]
    first = run(telling, ffmpeg=ffmpeg, scratch=scratch, limits=limits, stop=stop)
    told = measured_loudness(first.stderr_tail)
    gain_db = 0.0
    if told.integrated_lufs > QUIET_LUFS:  # by one factor, so that no word is squeezed
        gain_db = min(LOUD_LUFS - told.integrated_lufs, TRUE_PEAK_DB - told.true_peak_db)
    inputs = [*said, *(_played(music) if music else [])]
    graph = mix_graph(music, length, gain_db)
    second = run(
        [*inputs, "-filter_complex", graph, "-map", "[sound]", "-c:a", "aac", "-b:a", "160k", "-flags:a", "+bitexact",
         "-map_metadata", "-1", "-map_chapters", "-1", "-fflags", "+bitexact", "-movflags", "+faststart", "-f", "mp4",
         local(output)],
        ffmpeg=ffmpeg, scratch=scratch, limits=limits, stop=stop,
    )  # fmt: skip
    checked_length(output, length)
    return [first, second]


def mix_graph(music: Music | None, length: Fraction, gain_db: float) -> str:
    """Return the filters of a film's sound; pure. length: seconds."""
    samples = round(length * RATE)
    exact = f"apad=whole_len={samples},atrim=end_sample={samples}"
    voice = f"[0:a]volume={gain_db:.2f}dB,aformat=sample_fmts=fltp:channel_layouts=stereo,{exact}"
    if music is None:
        return f"{voice}[sound]"
    fade_s = min(2.0, float(length) / 4)
    played = (
        f"[1:{music.track.index}]aresample={RATE}:async=1:first_pts=0,"
        f"aformat=sample_fmts=fltp:channel_layouts=stereo,{exact},volume={music.volume_db:.2f}dB,"
        f"afade=t=in:d={fade_s / 4:.3f},afade=t=out:st={float(length) - fade_s:.3f}:d={fade_s:.3f}[music]"
    )
    ducked = f"asplit[voice][key];{played};[music][key]sidechaincompress={DUCKING}[under]"
    plain = f"anull[voice];{played};[music]anull[under]"
    mixed = f"[voice][under]amix=inputs=2:normalize=0:duration=first,{exact}[sound]"
    return f"{voice},{ducked if music.duck else plain};{mixed}"


def resampled(
    samples: Path, rate: int, out: Path, *, ffmpeg: Path, scratch: Path, limits: Limits | None = None,
    stop: threading.Event | None = None,
) -> None:  # fmt: skip
    """Write plain samples (mono, 16 bits) at 48 kHz. Raises as `ffmpeg.run`."""
    given = ["-f", "s16le", "-ar", str(rate), "-ac", "1", "-protocol_whitelist", "file", "-i", local(samples)]
    words = [*given, "-af", f"aresample={RATE}", "-flags:a", "+bitexact", "-f", "s16le", local(out)]
    run(words, ffmpeg=ffmpeg, scratch=scratch, limits=limits, stop=stop)


def _played(music: Music) -> list[str]:
    options = ["-vn", "-sn", "-dn", "-threads", "1", "-stream_loop", "-1"]
    return input_arguments(music.location, music.source.demuxer, options=options)
