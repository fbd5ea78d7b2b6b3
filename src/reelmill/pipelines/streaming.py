"""Publishing for HTTP Live Streaming: a fragmented file with its playlist, and the playlist over all sizes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

from reelmill.jobs.model import Json, NewArtifact
from reelmill.jobs.ports import Work
from reelmill.media.hls import Audio, Segment, Track, Variant, master_playlist, media_playlist

PLAYLIST, MP4, SOUND = "application/vnd.apple.mpegurl", "video/mp4", "audio/mp4"


def publish_track(
    work: Work, path: Path, track: Track, content_type: str, about: Mapping[str, Any]
) -> tuple[list[NewArtifact], Json]:
    """Publish a fragmented file, and its playlist beside it; return them, and what `master` reads of them."""
    meta = {**about, "bandwidth": track.peak, "average_bandwidth": track.average, "codecs": track.codec}
    file = work.publish(path, kind="hls_segment", name=path.name, content_type=content_type, meta=meta)
    text = path.with_suffix(".m3u8")
    text.write_text(media_playlist(beside(file), track))
    playlist = work.publish(text, kind="hls_media", name=text.name, content_type=PLAYLIST, meta=meta)
    segments = [[segment.first, segment.size, str(segment.duration)] for segment in track.segments]
    told = {"key": playlist.key, "file_key": file.key, "file_sha256": file.sha256, **meta,
            "init_size": track.init_size, "segments": segments}  # fmt: skip
    return [file, playlist], told


def publish_master(work: Work, renditions: Sequence[Json], sound: Json | None) -> NewArtifact:
    """Publish the playlist over all sizes, from another stage than theirs.

    renditions: `width`, `height`, `frame_rate`, and in `hls` what `publish_track` told; sound: `channels`, `language`
    and `hls`.
    """
    path = work.scratch / "master.m3u8"
    path.write_text(master_playlist(_variants(renditions), _audio(sound)))
    sizes = [[one["width"], one["height"]] for one in renditions]
    return work.publish(
        path, kind="hls_master", name=path.name, content_type=PLAYLIST, meta={"sizes": sizes}, primary=True
    )


def beside(made: NewArtifact) -> str:
    """Return the relative URI of a file for another one of the same step."""
    return made.key.rpartition("/")[2]


def _from_publish(key: str) -> str:
    """Return the relative URI of a file of another stage: keys end in stage, index and name."""
    return "/".join(["..", "..", *key.split("/")[-3:]])


def _variants(renditions: Sequence[Json]) -> list[Variant]:
    """Return the sizes for the master playlist, the smallest first: a slow line begins with it at once."""
    return [
        Variant(
            _from_publish(one["hls"]["key"]), _track(one["hls"]), one["width"], one["height"],
            Fraction(one["frame_rate"]).limit_denominator(1001),
        )
        for one in sorted(renditions, key=lambda one: int(one["height"]))
    ]  # fmt: skip


def _audio(sound: Json | None) -> Audio | None:
    if sound is None:
        return None
    return Audio(_from_publish(sound["hls"]["key"]), _track(sound["hls"]), sound["channels"], sound["language"])


def _track(told: Json) -> Track:
    segments = tuple(Segment(first, size, Fraction(duration)) for first, size, duration in told["segments"])
    return Track(told["init_size"], segments, told["codecs"])
