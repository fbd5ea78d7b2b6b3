"""The pipeline `proxy`: one step, which reads the film once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction

from reelmill.jobs.model import Json, Stage, Step, StepResult, StepSpec
from reelmill.jobs.ports import Work
from reelmill.media import ClipSettings, Limits, ProxySettings, Source, encode_proxy, grid, output_size, short_side
from reelmill.media.encode import check_settings
from reelmill.media.ffmpeg import version
from reelmill.pipelines.base import Toolbox, digest
from reelmill.pipelines.proxy.params import ProxyParams


class Proxy:
    """Make a small film with few frames; its key follows the original's, `/original/` → `/proxy/`."""

    name = "proxy"
    version = "1"
    title = "Proxy"
    stages = (Stage("encode", 100),)
    reusable = frozenset({"proxy"})
    Params = ProxyParams

    def __init__(self, tools: Toolbox) -> None:
        self.tools = tools
        self._tool = f"proxy/{self.version} ffmpeg/{version(tools.ffmpeg)}"

    def preview(self, source: Json, params: ProxyParams) -> Json:
        """Return size, frame rate and number of frames of the proxy."""
        probed = Source.from_json(dict(source))
        return {**told(probed, proxy_settings(probed, params, self.tools.threads)), "steps": 1}

    def plan(
        self,
        stage: str,  # noqa: ARG002 - there is but one
        source: Json,
        params: ProxyParams,
        done: Mapping[str, Sequence[Json]],  # noqa: ARG002
        tenant: str,
    ) -> list[StepSpec]:
        probed = Source.from_json(dict(source))
        check_settings(probed, proxy_settings(probed, params, self.tools.threads).clip)
        wanted = {**params.model_dump(mode="json"), "threads": self.tools.threads}
        inputs = [str(source["identity"])]
        key = digest(kind="proxy", version=self._tool, params=wanted, inputs=inputs, tenant=tenant)
        return [StepSpec(index=0, kind="proxy", params=wanted, digest=key, first=True)]

    def run(self, step: Step, work: Work) -> StepResult:
        source = Source.from_json(dict(work.claim.video.source or {}))
        wanted = {name: value for name, value in step.params.items() if name != "threads"}
        settings = proxy_settings(source, ProxyParams.model_validate(wanted), int(step.params["threads"]))
        planned = told(source, settings)
        made = encode_proxy(
            str(work.locate(work.claim.video.key)),
            source,
            settings,
            work.scratch / "proxy.mp4",
            ffmpeg=self.tools.ffmpeg,
            scratch=work.scratch,
            limits=Limits(deadline_s=self.tools.step_deadline_s, resident_bytes=self.tools.memory_bytes),
            stop=work.stop,
            on_progress=lambda progress: work.progress(min(1.0, progress.frame / planned["frames"])),
        )
        for ran in made.runs:
            work.command(ran.argv)
        checked = made.checked
        proxy = {
            **planned,
            "name": made.path.name,
            "sha256": checked.sha256,
            "size_bytes": checked.size_bytes,
            "proxy_duration_s": checked.duration_s,
            "bit_rate": checked.bit_rate,
            "video_codec": checked.video_codec,
            "audio_codec": checked.audio_codec,
            "decoded": made.decoded,
            "cpu_s": round(sum(ran.cpu_s for ran in made.runs), 3),
        }
        stored = work.publish(
            made.path, kind="proxy", name=made.path.name, content_type="video/mp4", meta=proxy, primary=True,
            beside_source=True,
        )  # fmt: skip
        return StepResult(output={**proxy, "key": stored.key}, artifacts=(stored,), message="The proxy is ready")


def proxy_settings(source: Source, params: ProxyParams, threads: int) -> ProxySettings:
    """Return what the media library needs to know of a source's proxy."""
    clip = ClipSettings(
        codec=params.codec,
        preset=params.preset,
        crf=params.crf,
        threads=threads,
        gop_s=params.gop_s,
        shape=short_side(source, params.height, quick=True),
        audio_kbps=params.audio_kbps,
    )
    return ProxySettings(clip, Fraction(params.frame_rate).limit_denominator(1001), params.decode)


def told(source: Source, settings: ProxySettings) -> Json:
    """Return what a proxy will be, as preview and record tell it."""
    width, height = output_size(source, settings.clip.shape)
    even = grid(source, settings.frame_rate)
    return {
        "duration_s": source.duration_s,
        "width": width,
        "height": height,
        "frame_rate": str(even.frame_rate if even else source.video.frame_rate),
        "frames": even.count if even else source.video.frame_count,
    }
