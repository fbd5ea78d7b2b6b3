"""What each kind of step of `renditions` does."""

from __future__ import annotations

import json
from dataclasses import asdict
from fractions import Fraction
from pathlib import Path
from typing import Any

from reelmill.jobs.model import Json, NewArtifact, StepResult
from reelmill.jobs.ports import Work
from reelmill.media import Checked, Expected, Limits, Source, check_output
from reelmill.media.encode import ClipSettings, audio_track
from reelmill.media.hls import Track, track_of
from reelmill.media.join import Timeline, fragment_sound, join, join_fragmented
from reelmill.media.ladder import Chunk, LadderSettings, Rung, SideProxy, encode_chunk, key_frames, side_proxy
from reelmill.media.paint import Picture
from reelmill.media.proxy import timescale
from reelmill.media.sound import encode_sound
from reelmill.media.stills import Watermark, watermark
from reelmill.media.storyboard import still, storyboard, webvtt
from reelmill.pipelines.base import Toolbox
from reelmill.pipelines.streaming import MP4, SOUND, beside, publish_master, publish_track

THUMBNAIL_SIDE = 270  #: pixels: 480×270


class Steps:
    """The steps of one job, as one worker does them: each method is one kind."""

    def __init__(self, tools: Toolbox, asked: Json, source: Source, work: Work) -> None:
        self.asked, self.source, self.work = asked, source, work
        self.limits = Limits(deadline_s=tools.step_deadline_s, resident_bytes=tools.memory_bytes)
        self.ffmpeg, self.scratch, self.stop = tools.ffmpeg, work.scratch, work.stop

    @property
    def location(self) -> str:
        return str(self.work.locate(self.work.claim.video.key))

    # ── encode ────────────────────────────────────────────────────────────────────────────────

    def chunk(self, chunk: Chunk, ladder: list[Rung], settings: LadderSettings) -> StepResult:
        frames = chunk.end_frame - chunk.start_frame
        proxy = None if self.asked["proxy"] is None else self._proxy()
        made = encode_chunk(
            self.location, self.source, chunk, ladder, settings, proxy, mark=self._watermark(ladder[0]),
            ffmpeg=self.ffmpeg, scratch=self.scratch, limits=self.limits, stop=self.stop,
            on_progress=lambda progress: self.work.progress(min(1.0, progress.frame / frames)),
        )  # fmt: skip
        self.work.command(made.finished.argv)
        files = {
            name: {"sha256": made.checked[name].sha256, "key": self.work.keep(path, path.name)}
            for name, path in made.paths.items()
        }
        output = {"kind": "chunk", "start_frame": chunk.start_frame, "end_frame": chunk.end_frame, "files": files}
        kept = [file["key"] for file in files.values()]
        cpu_s = round(made.finished.cpu_s, 3)
        return StepResult(output={**output, "kept": kept, "cpu_s": cpu_s}, message=f"Part {chunk.index + 1} is encoded")

    def _watermark(self, top: Rung) -> Picture | None:
        """Draw the watermark for the largest size. Raises NotFound, SourceGone when its picture is gone since."""
        asked = self.asked.get("watermark")
        if asked is None:
            return None
        given = self.work.media(asked["video_id"])
        mark = Watermark(**{name: value for name, value in asked.items() if name != "video_id"})
        picture = self.work.fetch(given["key"], "watermark")
        made, finished = watermark(
            picture, Source.from_json(dict(given)), mark, top.width, top.height, self.scratch / "watermark.png",
            ffmpeg=self.ffmpeg, scratch=self.scratch, limits=self.limits, stop=self.stop,
        )  # fmt: skip
        self.work.command(finished.argv)
        return made

    def sound(self) -> StepResult:
        asked = self.asked
        settings = ClipSettings(audio_kbps=asked["audio_kbps"], audio_track=asked["audio_track"])
        length = self.source.duration_s
        made = encode_sound(
            self.location, self.source, settings, asked["loudness_lufs"], self.scratch / "sound.m4a",
            ffmpeg=self.ffmpeg, scratch=self.scratch, limits=self.limits, stop=self.stop,
            on_progress=lambda progress: self.work.progress(min(1.0, progress.out_s / length)),
        )  # fmt: skip
        for ran in made.runs:
            self.work.command(ran.argv)
        key = self.work.keep(made.path, made.path.name)
        file = {
            "key": key,
            "channels": made.channels,
            "sample_rate": made.sample_rate,
            "loudness": asdict(made.measured) if made.measured else None,
            "settings": asked,
        }
        output = {"kind": "sound", "kept": [key], "file": file, "cpu_s": round(sum(run.cpu_s for run in made.runs), 3)}
        return StepResult(output=output, message="The sound is encoded")

    def poster(self) -> StepResult:
        made = self._still(self.asked["at_s"], self.asked["side"], "poster", "poster.jpg")
        output = {"kind": "poster", "key": made.key, "at_s": made.meta["at_s"]}
        return StepResult(output=output, artifacts=(made,), message="The poster is ready")

    def thumbnails(self) -> StepResult:
        made = [
            self._still(at_s, THUMBNAIL_SIDE, "thumbnail", f"thumbnail-{number:02d}.jpg")
            for number, at_s in enumerate(self.asked["at_s"], 1)
        ]
        output = {"kind": "thumbnails", "thumbnails": [{"key": one.key, "at_s": one.meta["at_s"]} for one in made]}
        return StepResult(output=output, artifacts=tuple(made), message="Thumbnails are ready")

    def _still(self, at_s: float, side: int, kind: str, name: str) -> NewArtifact:
        out = self.scratch / name
        finished, shown_s = still(
            self.location, self.source, at_s, side, out,
            ffmpeg=self.ffmpeg, scratch=self.scratch, limits=self.limits, stop=self.stop,
        )  # fmt: skip
        self.work.command(finished.argv)
        return self.work.publish(out, kind=kind, name=name, content_type="image/jpeg", meta={"at_s": round(shown_s, 6)})

    def storyboard(self) -> StepResult:
        every_s = Fraction(self.asked["every_s"])
        made = storyboard(
            self.location, self.source, every_s, self.scratch,
            ffmpeg=self.ffmpeg, scratch=self.scratch, limits=self.limits, stop=self.stop,
        )  # fmt: skip
        self.work.command(made.finished.argv)
        sheets = [
            self.work.publish(path, kind="storyboard", name=path.name, content_type="image/jpeg")
            for path in made.sheets
        ]
        path = self.scratch / "storyboard.vtt"
        path.write_text(webvtt(made.tiles, [beside(sheet) for sheet in sheets]))
        about = {"tiles": len(made.tiles), "every_s": float(every_s)}
        told = self.work.publish(path, kind="storyboard_vtt", name=path.name, content_type="text/vtt", meta=about)
        output = {"kind": "storyboard", **about, "key": told.key, "sheets": [sheet.key for sheet in sheets]}
        return StepResult(output=output, artifacts=(*sheets, told), message="The storyboard is ready")

    # ── package ───────────────────────────────────────────────────────────────────────────────

    def rendition(self, rung: Rung) -> StepResult:
        line, name = self._timeline(), rung.name
        parts = list(zip(self._parts(), self._starts(), strict=True))
        sound = self._sound()
        about = {
            "kind": "rendition",
            "name": name,
            "width": rung.width,
            "height": rung.height,
            "frame_rate": round(float(self.source.video.frame_rate), 3),
            "rendition_duration_s": float(line.end * line.base),
        }
        artifacts: list[NewArtifact] = []
        if "mp4" in self.asked["formats"]:
            made, about["mp4"] = self._mp4(parts, line, sound, rung, about)
            artifacts.append(made)
        if "hls" in self.asked["formats"]:
            path = self.scratch / f"{name}.m4s"
            join_fragmented(parts, line, path)
            gop_s = Fraction(self.asked["gop_s"]).limit_denominator(1_000_000)
            starts = [line.ticks[frame] * line.base for frame in key_frames(self.source, gop_s)]
            track = self._track(path, line, starts)
            written, about["hls"] = publish_track(self.work, path, track, MP4, _told(about))
            artifacts += written
        return StepResult(output=about, artifacts=tuple(artifacts), message=f"{name} is ready")

    def proxy(self) -> StepResult:
        planned = self._proxy()
        line, starts = self._timeline(), self._starts()
        if planned.even is not None:
            scale = timescale(planned.frame_rate)
            frame = int(scale / planned.frame_rate)
            starts = [planned.even.number(start) * frame for start in starts]
            ticks = range(0, planned.even.count * frame, frame)
            line = Timeline(ticks, round(line.end * line.base * scale), Fraction(1, scale))
        path, sound = self.scratch / "proxy.mp4", self._sound()
        join(list(zip(self._parts(), starts, strict=True)), line, sound, path)
        checked = check_output(path, self._expected(line, planned.rung, sound))
        meta = {
            "width": planned.rung.width,
            "height": planned.rung.height,
            "frame_rate": str(planned.frame_rate if planned.even else self.source.video.frame_rate),
            "proxy_duration_s": checked.duration_s,
            **_checked(checked),
        }
        made = self.work.publish(
            path, kind="proxy", name=path.name, content_type=MP4, meta=meta, primary=True, beside_source=True
        )
        output = {"kind": "proxy", "key": made.key, **meta}
        return StepResult(output=output, artifacts=(made,), message="The proxy is ready")

    def _proxy(self) -> SideProxy:
        asked = self.asked["proxy"]
        rate = Fraction(asked["frame_rate"]).limit_denominator(1001)
        return side_proxy(self.source, asked["height"], rate, asked["crf"])

    def _parts(self) -> list[Path]:
        """Fetch the chunks of a size, in their order."""
        return [self.work.fetch(part["key"], f"part-{n}.mp4") for n, part in enumerate(self.asked["chunks"])]

    def _starts(self) -> list[int]:
        """Return the ticks at which the chunks begin, after the film's first frame."""
        ticks = self.source.frame_ticks()
        return [ticks[part["start_frame"]] - ticks[0] for part in self.asked["chunks"]]

    def _mp4(
        self, parts: list[tuple[Path, int]], line: Timeline, sound: Path | None, rung: Rung, about: dict[str, Any]
    ) -> tuple[NewArtifact, Json]:
        path = self.scratch / f"{about['name']}.mp4"
        join(parts, line, sound, path)
        checked = check_output(path, self._expected(line, rung, sound))
        meta = {**_told(about), "bandwidth": checked.bit_rate, "bit_rate": checked.bit_rate, **_checked(checked)}
        made = self.work.publish(path, kind="rendition", name=path.name, content_type=MP4, meta=meta, primary=True)
        return made, {"key": made.key, **meta}

    def hls_sound(self) -> StepResult:
        line, sound = self._timeline(), self._sound()
        assert sound is not None, "without sound, nothing is planned for it"
        path = self.scratch / "sound.m4s"
        fragment_sound(sound, path, Fraction(self.asked["gop_s"]).limit_denominator(1_000_000))
        track = self._track(path, line)
        source = audio_track(self.source, ClipSettings(audio_track=self.asked["audio_track"]))
        language = source.language if source else None
        about = {"kind": "hls_sound", "name": "sound", "channels": self.asked["sound"]["channels"]}
        written, told = publish_track(self.work, path, track, SOUND, _told(about))
        output = {**about, "language": language, "hls": told}
        return StepResult(output=output, artifacts=tuple(written), message="Sound for streaming is ready")

    def _track(self, path: Path, line: Timeline, starts: list[Fraction] | None = None) -> Track:
        edges = [line.ticks[frame] * line.base for frame in self.asked["edges"]]
        return track_of(path, edges, line.end * line.base, starts)

    def _sound(self) -> Path | None:
        sound = self.asked["sound"]
        return None if sound is None else self.work.fetch(sound["key"], "sound.m4a")

    def _timeline(self) -> Timeline:
        video, ticks = self.source.video, self.source.frame_ticks()
        return Timeline([tick - ticks[0] for tick in ticks], video.end_tick - ticks[0], video.time_base)

    def _expected(self, line: Timeline, rung: Rung, sound: Path | None) -> Expected:
        return Expected(
            width=rung.width,
            height=rung.height,
            frame_count=len(line.ticks),
            duration=line.end * line.base,
            ticks=line.ticks,
            time_base=line.base,
            has_audio=sound is not None,
        )

    # ── publish ───────────────────────────────────────────────────────────────────────────────

    def publish(self, pipeline: str) -> StepResult:
        asked, artifacts = self.asked, []
        if "hls" in asked["params"]["formats"]:
            artifacts.append(publish_master(self.work, asked["renditions"], asked["sound"]))
        job = self.work.claim.job
        manifest = {
            "version": 1, "job_id": job.id, "video_id": job.video_id, "pipeline": pipeline, **asked,
            "hls_master": artifacts[0].key if artifacts else None,
        }  # fmt: skip
        path = self.scratch / "manifest.json"
        path.write_text(json.dumps(manifest, indent=2, ensure_ascii=False) + "\n")
        artifacts.append(self.work.publish(path, kind="manifest", name=path.name, content_type="application/json"))
        return StepResult(output={"key": artifacts[-1].key}, artifacts=tuple(artifacts), message="Everything is ready")


def _told(about: dict[str, Any]) -> dict[str, Any]:
    """Return what an artifact tells of its rendition."""
    return {name: value for name, value in about.items() if name not in ("kind", "mp4", "hls")}


def _checked(checked: Checked) -> dict[str, Any]:
    return {
        "sha256": checked.sha256,
        "size_bytes": checked.size_bytes,
        "video_codec": checked.video_codec,
        "audio_codec": checked.audio_codec,
        "frames": checked.frame_count,
    }
