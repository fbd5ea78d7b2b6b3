"""One frame of a scene, as the finished film has it: before any job, and before anything is spoken."""

from __future__ import annotations

import os
import socket
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from reelmill.errors import ParamsInvalid
from reelmill.jobs.model import Json
from reelmill.jobs.ports import ObjectStore
from reelmill.media import Limits
from reelmill.media.scenes import scene_picture, sizes
from reelmill.pipelines.base import Toolbox
from reelmill.pipelines.generate.drawing import Drawing
from reelmill.pipelines.generate.params import GenerateParams
from reelmill.pipelines.generate.pipeline import fade_frames, least_frames
from reelmill.pipelines.generate.script import caption_lines, estimated_s, scenes_of

SIDE = 480  #: pixels of the frame's shorter side
DEADLINE_S = 30.0


def scene_preview(
    tools: Toolbox,
    params: GenerateParams,
    number: int,
    media: Mapping[str, Json],
    objects: ObjectStore,
    scratch: Path,
    stop: threading.Event | None = None,
) -> bytes:
    """Return the frame on which a scene begins, with its text and its first caption, as a PNG of the 480p film.

    number: of the scene, from 0. media: probes and keys of the videos that the film is made of.
    Raises ParamsInvalid, TextDoesNotFit, Stopped, and as `ffmpeg.run`.
    """
    if params.topic is not None:
        raise ParamsInvalid("topic: its scenes are known when its script is written.")
    scenes = scenes_of(params)
    if number >= len(scenes):
        raise ParamsInvalid(f"scene: the last one is {len(scenes) - 1}.")
    scene, (top,) = scenes[number], sizes(params.aspect, [SIDE])
    fade = fade_frames(params)
    asked: dict[str, Any] = {
        **scene, "captions": [], "fade": fade, "rate": params.frame_rate,
        "frames": max(least_frames(params), round(estimated_s(scene, params.pause_s) * params.frame_rate)),
    }  # fmt: skip
    if scene["narration"] is not None and params.captions in ("burnt", "both"):
        asked["captions"] = [[caption_lines(scene["narration"])[0], 0, asked["frames"]]]
    scratch.mkdir(parents=True, exist_ok=True)
    # By this name, the folder of a process that died is found: see `jobs.scratch`.
    with tempfile.TemporaryDirectory(prefix=f"{socket.gethostname()}-{os.getpid()}-scene-", dir=scratch) as folder:
        here = Path(folder)
        limits = Limits(deadline_s=DEADLINE_S, cpu_s=60, resident_bytes=tools.memory_bytes)

        def fetch(key: str, name: str) -> Path:
            (here / name).write_bytes(b"".join(objects.open(key)))
            return here / name

        plan = Drawing(tools.ffmpeg, media, objects.locate, fetch, here, limits, stop).plan(asked, top)
        out = here / "scene.png"
        scene_picture(plan, top, fade // 2, out, ffmpeg=tools.ffmpeg, scratch=here, limits=limits, stop=stop)
        return out.read_bytes()
