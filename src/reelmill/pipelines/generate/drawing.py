"""A scene's pictures: what stands behind it, its text and its captions. Step and preview draw by the same code."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from reelmill.jobs.model import Json, Located
from reelmill.media import Limits, Source, draw, layout
from reelmill.media.ladder import Rung
from reelmill.media.paint import Picture
from reelmill.media.scenes import Film, Overlay, ScenePlan, covering, gradient, still_size
from reelmill.media.stills import fill
from reelmill.media.storyboard import still
from reelmill.media.styles import TextStyle

CAPTIONS = 0.25  #: share of the picture's height, at its bottom, that captions have for themselves
CAPTION_PCT = 5.0  #: of the picture's shorter side
TITLE = TextStyle(size_pct=11.0, min_size_pct=3.0, outline_pct=4.0, weight=700, margin_pct=7.0, max_width_pct=84.0)


class Drawing:
    """Draws scenes into a scratch folder, one after the other."""

    def __init__(
        self, ffmpeg: Path, media: Mapping[str, Json], locate: Callable[[str], Located],
        fetch: Callable[[str, str], Path], scratch: Path, limits: Limits, stop: threading.Event | None,
    ) -> None:  # fmt: skip
        """media: probes and keys of the videos that scenes are made of. locate: from a key to where it is read.

        fetch: given a key and a name, copies an object into the scratch folder.
        """
        self.ffmpeg, self.scratch, self.limits, self.stop = ffmpeg, scratch, limits, stop
        self.commands: list[Sequence[str]] = []  #: that were run
        self._media, self._locate, self._fetch = media, locate, fetch

    def plan(self, asked: Json, top: Rung) -> ScenePlan:
        """Return a scene as it is encoded, given its step's parameters. Raises TextDoesNotFit, and as `ffmpeg.run`."""
        behind = asked["background"]
        motion = behind.get("motion", "none")
        size = still_size(top.width, top.height, motion)
        back, out = behind["kind"], self.scratch / "background.png"
        background: Path | Film = out
        match back:
            case "color":
                gradient([behind["color"]], 0, *size, out)
            case "gradient":
                gradient(behind["colors"], behind["angle"], *size, out)
            case "image" if self._source(behind["video_id"]).is_still:
                self._uploaded(behind["video_id"], size, out)
            case "image":
                self._still(behind, min(size), size, out)
            case _:
                background = Film(
                    self._location(behind["video_id"]), self._source(behind["video_id"]), behind["start_s"]
                )
        return ScenePlan(
            frames=asked["frames"], fade=asked["fade"], rate=asked["rate"], background=background, motion=motion,
            overlays=tuple(self._overlays(asked, top)),
        )  # fmt: skip

    def _uploaded(self, video_id: str, size: tuple[int, int], out: Path) -> None:
        picture = self._fetch(self._media[video_id]["key"], "picture")
        finished = fill(
            picture, self._source(video_id), *size, out,
            ffmpeg=self.ffmpeg, scratch=self.scratch, limits=self.limits, stop=self.stop,
        )  # fmt: skip
        self.commands.append(finished.argv)

    def _still(self, behind: Json, side: int, size: tuple[int, int], out: Path) -> None:
        taken = self.scratch / "still.jpg"
        source = self._source(behind["video_id"])
        finished, _ = still(
            self._location(behind["video_id"]), source, behind["at_s"], side, taken,
            ffmpeg=self.ffmpeg, scratch=self.scratch, limits=self.limits, stop=self.stop,
        )  # fmt: skip
        self.commands.append(finished.argv)
        covering(taken, *size, out)

    def _overlays(self, asked: Json, top: Rung) -> Iterator[Overlay]:
        """Yield the text, seen as long as the scene, and its captions. Raises TextDoesNotFit."""
        half = asked["fade"] // 2
        length = asked["frames"] + asked["fade"]
        below = round(top.height * CAPTIONS / 2) * 2 if asked["captions"] else 0
        if asked["text"] is not None:
            style = TextStyle(**{**vars(TITLE), "position": asked["text_position"]})
            title = draw(layout(asked["text"], style, top.width, top.height - below), self.scratch / "title.png")
            yield Overlay(title, 0, length)
        pixels = min(top.width, top.height) * CAPTION_PCT
        style = TextStyle(
            position="bottom", size_pct=pixels / min(top.width, below or 1), min_size_pct=2.0, outline_pct=0.0,
            box_color="#000000", box_opacity=0.62, box_padding_pct=35.0, margin_pct=14.0, max_width_pct=88.0,
        )  # fmt: skip
        for number, (text, first, end) in enumerate(asked["captions"]):
            path = self.scratch / f"caption-{number}.png"
            drawn = draw(layout(text, style, top.width, below), path)
            moved = Picture(path, drawn.x, drawn.y + top.height - below, drawn.width, drawn.height)
            yield Overlay(moved, half + first, half + end)

    def _source(self, video_id: str) -> Source:
        return Source.from_json(dict(self._media[video_id]))

    def _location(self, video_id: str) -> str:
        return str(self._locate(self._media[video_id]["key"]))
