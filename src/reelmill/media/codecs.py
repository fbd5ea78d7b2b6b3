"""Which encoder writes a codec, with which arguments; and which hardware encoders really work on this machine."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

from reelmill.errors import MediaProblem, ParamsInvalid
from reelmill.media.children import Limits
from reelmill.media.ffmpeg import run

Codec = Literal["h264", "h265", "av1", "vp9"]
Preset = Literal["ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow"]

PRESETS: tuple[Preset, ...] = (
    "ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow",
)  # fmt: skip
TRIAL_S = 5.0  #: a driver that answers later than this isn't waited for


@dataclass(frozen=True)
class Family:
    """What is known about one codec."""

    encoder: str  #: the one in software, by ffmpeg's name
    crf: int  #: of about the quality of x264's 23
    max_crf: int
    hardware: tuple[str, ...]  #: ffmpeg's names, the best first
    tag: str | None = None  #: the sample entry by which players know it, where ffmpeg's own choice isn't that
    deep: bool = True  #: 10 bits per sample can be written


FAMILIES: dict[Codec, Family] = {
    "h264": Family("libx264", 23, 51, ("h264_nvenc", "h264_qsv", "h264_vaapi", "h264_amf", "h264_videotoolbox"),
                   deep=False),
    "h265": Family("libx265", 26, 51, ("hevc_nvenc", "hevc_qsv", "hevc_vaapi", "hevc_amf", "hevc_videotoolbox"),
                   tag="hvc1"),
    "av1": Family("libsvtav1", 32, 63, ("av1_nvenc", "av1_qsv", "av1_vaapi", "av1_amf")),
    "vp9": Family("libvpx-vp9", 33, 63, ("vp9_qsv", "vp9_vaapi")),
}  # fmt: skip
SVT_PRESETS = dict(zip(PRESETS, (12, 11, 10, 9, 8, 6, 4, 3, 2), strict=True))
VPX_SPEEDS = dict(zip(PRESETS, (8, 7, 5, 4, 3, 2, 1, 1, 0), strict=True))  #: above 5 in real-time mode only
NVENC_PRESETS = dict(zip(PRESETS, range(1, 8), strict=False))


@dataclass(frozen=True)
class Coding:
    """How a picture is encoded: numbers and names from fixed lists only."""

    codec: Codec
    encoder: str
    preset: Preset
    crf: int
    threads: int
    ten_bits: bool = False
    parameter_set: int = 0  #: number of x264's parameter sets, 0–31: streams with different ones can be joined

    @property
    def is_software(self) -> bool:
        return self.encoder == FAMILIES[self.codec].encoder


def coding(
    codec: Codec, encoder: str | None, preset: Preset, crf: int | None, threads: int, *, ten_bits: bool,
    parameter_set: int = 0,
) -> Coding:  # fmt: skip
    """Return how to encode. encoder None: in software; crf None: the codec's own of about x264's 23.

    Raises ParamsInvalid for what the codec doesn't have.
    """
    family = FAMILIES.get(codec)
    if family is None:
        raise ParamsInvalid(f"The codec must be one of {', '.join(FAMILIES)}.")
    if preset not in PRESETS:
        raise ParamsInvalid(f"The preset must be one of {', '.join(PRESETS)}.")
    if crf is not None and not 0 <= crf <= family.max_crf:
        raise ParamsInvalid(f"crf must be from 0 to {family.max_crf} for {codec}, not {crf}.")
    if ten_bits and not family.deep:
        raise ParamsInvalid(f"HDR can't be kept in {codec}, which has 8 bits here: choose h265, av1 or vp9.")
    if encoder not in (None, family.encoder, *family.hardware):
        raise ParamsInvalid(f"{encoder} is not an encoder of {codec}.")
    chosen = family.crf if crf is None else crf
    return Coding(codec, encoder or family.encoder, preset, chosen, threads, ten_bits, parameter_set)


def video_arguments(coding: Coding, gop_frames: int) -> list[str]:
    """Return the output options of the picture's encoder; closed groups of at most gop_frames pictures.

    In software, the same frames give the same bytes.
    """
    family = FAMILIES[coding.codec]
    words = ["-c:v", coding.encoder, *_rate(coding), "-g", str(gop_frames)]
    words += ["-pix_fmt", pixel_format(coding)] if not coding.encoder.endswith("_vaapi") else []
    return words + (["-tag:v", family.tag] if family.tag else [])


def pixel_format(coding: Coding) -> str:
    """Return the format in which pictures come to the encoder."""
    if coding.is_software:
        return "yuv420p10le" if coding.ten_bits else "yuv420p"
    return "p010le" if coding.ten_bits else "nv12"


def _rate(coding: Coding) -> list[str]:
    preset, crf, threads = coding.preset, str(coding.crf), str(coding.threads)
    match coding.encoder:
        case "libx264":
            # A lookahead thread of its own races with the frame threads: other bytes in 5 % of runs on a busy machine.
            params = "sync-lookahead=0"
            # Stitchable: the parameter sets of parts that are encoded apart come out the same.
            params += f":sps-id={coding.parameter_set}:stitchable=1" if coding.parameter_set else ""
            return ["-preset", preset, "-crf", crf, "-threads", threads, "-x264-params", params]
        case "libx265":
            params = f"log-level=error:info=0:open-gop=0:frame-threads={min(16, coding.threads)}:pools={threads}"
            return ["-preset", preset, "-crf", crf, "-x265-params", params]
        case "libsvtav1":
            return ["-preset", str(SVT_PRESETS[preset]), "-crf", crf, "-svtav1-params", f"lp={threads}"]
        case "libvpx-vp9":
            speed = VPX_SPEEDS[preset]
            deadline = "realtime" if speed > 5 else "good"
            return ["-deadline", deadline, "-cpu-used", str(speed), "-crf", crf, "-b:v", "0", "-threads", threads]
    maker = coding.encoder.partition("_")[2]
    match maker:
        case "nvenc":
            return ["-preset", f"p{NVENC_PRESETS.get(preset, 7)}", "-rc", "vbr", "-cq", crf, "-b:v", "0"]
        case "qsv":
            return ["-global_quality", crf]
        case "vaapi":
            return ["-rc_mode", "CQP", "-qp", crf]
        case "amf":
            return ["-rc", "cqp", "-qp_i", crf, "-qp_p", crf]
        case _:  # videotoolbox: 1 (worst) – 100 (best)
            return ["-q:v", str(max(1, 100 - 2 * coding.crf))]


def device_arguments(coding: Coding) -> list[str]:
    """Return the global options that an encoder's device needs."""
    return ["-vaapi_device", "/dev/dri/renderD128"] if coding.encoder.endswith("_vaapi") else []


def upload_filters(coding: Coding) -> list[str]:
    """Return the last filters before the encoder: where pictures must be brought into the device first."""
    return [f"format={pixel_format(coding)}", "hwupload"] if coding.encoder.endswith("_vaapi") else []


@lru_cache(maxsize=64)
def hardware_encoder(ffmpeg: Path, codec: Codec, *, ten_bits: bool = False) -> str | None:
    """Return the first hardware encoder that encodes one frame here, None if none does. Asked once a process.

    That an encoder is listed by ffmpeg says nothing about the machine; a frame that came out does.
    """
    for name in FAMILIES[codec].hardware:
        if _works(ffmpeg, Coding(codec, name, "veryfast", FAMILIES[codec].crf, 1, ten_bits)):
            return name
    return None


def _works(ffmpeg: Path, coding: Coding) -> bool:
    filters = ",".join([f"format={pixel_format(coding)}", *upload_filters(coding)])
    with tempfile.TemporaryDirectory(prefix="reelmill-trial-") as scratch:
        out = Path(scratch) / "trial.mp4"
        try:
            run(
                [*device_arguments(coding), "-f", "lavfi", "-i", "color=size=640x360:rate=25:duration=0.04",
                 "-vf", filters, "-frames:v", "1", *video_arguments(coding, 25), "-f", "mp4", str(out)],
                ffmpeg=ffmpeg, scratch=Path(scratch), limits=Limits(deadline_s=TRIAL_S, cpu_s=10),
            )  # fmt: skip
        except MediaProblem:
            return False
        return out.is_file() and out.stat().st_size > 0
