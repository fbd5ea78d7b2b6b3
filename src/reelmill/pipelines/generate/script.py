"""From what a user gives to scenes, and from narrations to captions. Pure: the same words, the same scenes."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from typing import Any

from reelmill.errors import ParamsInvalid
from reelmill.jobs.texts import READING_CPS
from reelmill.pipelines.generate.params import MOST_SCENES, GenerateParams, GradientBackground, Scene

SCENE_CHARS = 320  #: of a script's paragraph in one scene, about 20 s of speech; sentences stay whole
CAPTION_CHARS = 84  #: two lines of 42, as subtitles have them
SPOKEN_CPS = 14.0  #: characters a second of most voices, for estimates
SILENT_S = 4.0  #: of a scene with neither words nor a length
#: A sentence ends at . ! ? … and their like, with quotes and brackets behind, where white space follows.
SENTENCE = re.compile(r".+?(?:[.!?…。！？।؟]+[\"'”’»)\]]*(?=\s|$)|$)", re.DOTALL)
CLAUSE = re.compile(r"(?<=[,;:–—、，；])\s*")
ABBREVIATED = re.compile(r"(?:\b(?:Mr|Mrs|Ms|Dr|Prof|St|vs|etc|e\.g|i\.e|No|z\.B|Nr|bzw|ca)|\b[A-Z])\.$")
PALETTE = (
    ("#0F2027", "#2C5364"), ("#1A2A6C", "#7B4397"), ("#134E5E", "#3E8E6E"), ("#41295A", "#2F0743"),
    ("#16222A", "#3A6073"), ("#4B134F", "#A8435B"), ("#1D4350", "#A43931"), ("#0B486B", "#3B8D99"),
    ("#283048", "#596B87"), ("#5A3F37", "#2C7744"), ("#3A1C71", "#B0526B"), ("#1E3C72", "#2A7FA8"),
)  # fmt: skip


def scenes_of(params: GenerateParams) -> list[dict[str, Any]]:
    """Return the scenes of `scenes` or `script`, each with its background: what script.json keeps.

    Raises ParamsInvalid for a script with too many.
    """
    given = list(params.scenes) if params.scenes is not None else read_script(params.script or "")
    if not given:
        raise ParamsInvalid("script: there is no word in it.")
    if len(given) > MOST_SCENES:
        raise ParamsInvalid(f"script: it has {len(given)} scenes; at most {MOST_SCENES} are taken.")
    return completed(given)


def completed(given: Sequence[Scene]) -> list[dict[str, Any]]:
    """Return scenes with a background each: by their words, and none again before all were there."""
    found: list[dict[str, Any]] = []
    left: list[int] = []
    for scene in given:
        if scene.background is None:
            words = f"{scene.text or ''}\n{scene.narration or ''}"
            at = hashlib.sha256(words.encode()).digest()[0] % len(PALETTE)
            left = left or list(range(len(PALETTE)))
            at = min(left, key=lambda n: (n - at) % len(PALETTE))
            left.remove(at)
            gradient = GradientBackground(colors=list(PALETTE[at]), angle=20.0)
            scene = scene.model_copy(update={"background": gradient})
        found.append(scene.model_dump(mode="json"))
    return found


def read_script(script: str) -> list[Scene]:
    """Return the scenes of a plain text.

    Paragraphs are parted by empty lines. One of more than 320 characters becomes several scenes of whole sentences. A
    line that begins with `#` is the text of the scene after it, or a scene of its own at the end.
    """
    scenes: list[Scene] = []
    heading: str | None = None
    for block in re.split(r"\n\s*\n|(?=^#)", script.replace("\r\n", "\n"), flags=re.MULTILINE):
        lines = block.strip().split("\n")
        if lines[0].startswith("#"):
            if heading:
                scenes.append(Scene(text=heading))
            heading = lines.pop(0).lstrip("#").strip()[:500] or None
        narration = " ".join(" ".join(lines).split())
        for part in grouped(sentences(narration), SCENE_CHARS):
            scenes.append(Scene(text=heading, narration=part[:5000]))
            heading = None
    if heading:
        scenes.append(Scene(text=heading))
    return scenes


def sentences(text: str) -> list[str]:
    """Return the sentences of a text, in order; abbreviations and initials don't end one."""
    found: list[str] = []
    for match in SENTENCE.finditer(" ".join(text.split())):
        part = match[0].strip()
        if found and ABBREVIATED.search(found[-1]):
            found[-1] = f"{found[-1]} {part}"
        elif part:
            found.append(part)
    return found


def grouped(parts: Sequence[str], most: int) -> list[str]:
    """Return neighbours put together, as long as they stay within `most` characters."""
    found: list[str] = []
    for part in parts:
        if found and len(found[-1]) + 1 + len(part) <= most:
            found[-1] = f"{found[-1]} {part}"
        else:
            found.append(part)
    return found


def caption_lines(narration: str) -> list[str]:
    """Return a narration as it is spoken and shown: sentence by sentence, long ones in even parts.

    A long sentence is parted at its clauses, or else between words. Each line is spoken by itself, so its times are
    exact.
    """
    found: list[str] = []
    for sentence in sentences(narration):
        if len(sentence) <= CAPTION_CHARS:
            found.append(sentence)
            continue
        clauses = [part for part in CLAUSE.split(sentence) if part]
        pieces = [word for clause in clauses for word in (clause.split() if len(clause) > CAPTION_CHARS else [clause])]
        rows = -(-len(sentence) // CAPTION_CHARS)
        found += grouped(pieces, max(CAPTION_CHARS // 2, min(CAPTION_CHARS, len(sentence) // rows + 12)))
    return found or [narration.strip()]


def silent_s(scene: dict[str, Any]) -> float:
    """Return how long a scene without narration lasts, in seconds."""
    if scene["duration_s"] is not None:
        return float(scene["duration_s"])
    return max(2.0, 1.5 + len(scene["text"]) / READING_CPS) if scene["text"] else SILENT_S


def estimated_s(scene: dict[str, Any], pause_s: float) -> float:
    """Return about how long a scene will last, before its narration is spoken, in seconds."""
    if scene["narration"] is None:
        return silent_s(scene)
    lines = caption_lines(scene["narration"])
    return max(float(scene["duration_s"] or 0), sum(len(line) / SPOKEN_CPS + pause_s for line in lines))


def title_of(params: GenerateParams, scenes: Sequence[dict[str, Any]]) -> str:
    """Return the film's name: as given, else its first words."""
    first = next((scene["text"] or scene["narration"] for scene in scenes if scene["text"] or scene["narration"]), None)
    words = " ".join((params.title or first or params.topic or "Film").split())
    return words if len(words) <= 60 else words[:60].rsplit(" ", 1)[0] + "…"


def webvtt(captions: Sequence[tuple[float, float, str]]) -> str:
    """Return captions as WebVTT (W3C). captions: start and end in seconds, and words."""
    rows = ["WEBVTT", ""]
    for start_s, end_s, text in captions:
        escaped = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
        rows += [f"{_stamp(start_s)} --> {_stamp(end_s)}", escaped, ""]
    return "\n".join(rows)


def _stamp(seconds: float) -> str:
    millis = round(seconds * 1000)
    return f"{millis // 3_600_000:02d}:{millis // 60_000 % 60:02d}:{millis // 1000 % 60:02d}.{millis % 1000:03d}"
