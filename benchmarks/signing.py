"""What does a signed URL cost, beside boto3's `generate_presigned_url`?

CPU seconds of the same URLs, made one after the other by both: downloads with a file name, uploads bound to size, type
and checksum, and parts. Keys and names differ each time. No network; the URLs are compared once to be the same.

    python benchmarks/signing.py [--pairs N] [--json FILE]
"""

from __future__ import annotations

import base64
import calendar
import hashlib
import re
import time
from collections.abc import Callable

import boto3
from botocore.config import Config
from common import Ratios, measured, options, report

from reelmill.objects.sigv4 import Presigner

COUNT = 2000  #: URLs a round; ours are made ten times as many, to have enough to measure
ENDPOINT, BUCKET, REGION = "https://s3.example", "films", "eu-central-1"
SHA256 = base64.b64encode(hashlib.sha256(b"").digest()).decode()

Sign = Callable[[int], str]

session = boto3.session.Session(
    aws_access_key_id="AKIDEXAMPLE", aws_secret_access_key="secret", aws_session_token="token/+=" * 40
)
client = session.client(
    "s3",
    endpoint_url=ENDPOINT,
    region_name=REGION,
    config=Config(signature_version="s3v4", s3={"addressing_style": "path"}),
)
signer = Presigner(ENDPOINT, region=REGION, credentials=lambda: session.get_credentials().get_frozen_credentials())


def key(n: int) -> str:
    return f"tenant/outputs/{n:032x}/render/{n}/clip-r1a1.mp4"


def disposition(n: int) -> str:
    return f'attachment; filename="holiday film {n}.mp4"'


def boto3_s(operation: str, n: int, **more: object) -> str:
    params = {"Bucket": BUCKET, "Key": key(n), **more}
    return str(client.generate_presigned_url(operation, Params=params, ExpiresIn=3600))


def ours(method: str, n: int, at: float | None = None, **more: dict[str, str]) -> str:
    return signer.sign(method, f"/{BUCKET}/{key(n)}", life_s=3600, at=at, **more)


def theirs_and_ours() -> dict[str, tuple[Sign, Callable[..., str]]]:
    """Return for each kind of URL how both make the n-th."""
    bound = {"content-length": "5", "content-type": "video/mp4", "if-none-match": "*", "x-amz-checksum-sha256": SHA256}
    put = {"ContentLength": 5, "ContentType": "video/mp4", "IfNoneMatch": "*", "ChecksumSHA256": SHA256}
    part = {"content-length": "9", "x-amz-checksum-sha256": SHA256}
    sent = {"UploadId": "u" * 64, "ContentLength": 9, "ChecksumSHA256": SHA256}
    return {
        "download": (
            lambda n: boto3_s("get_object", n, ResponseContentDisposition=disposition(n)),
            lambda n, **at: ours("GET", n, query={"response-content-disposition": disposition(n)}, **at),
        ),
        "upload": (
            lambda n: boto3_s("put_object", n, **put),
            lambda n, **at: ours("PUT", n, headers=bound, **at),
        ),
        "part": (
            lambda n: boto3_s("upload_part", n, PartNumber=n, **sent),
            lambda n, **at: ours("PUT", n, query={"partNumber": str(n), "uploadId": "u" * 64}, headers=part, **at),
        ),
    }


def same(theirs: str, make: Callable[..., str], n: int) -> bool:
    """Tell whether ours is the same URL; the order of the fields before the signature is nobody's business."""
    stamp = re.search(r"X-Amz-Date=(\w+)", theirs)
    assert stamp
    mine = make(n, at=calendar.timegm(time.strptime(stamp[1], "%Y%m%dT%H%M%SZ")))
    return sorted(re.split("[?&]", mine)) == sorted(re.split("[?&]", theirs))


def cpu_us(sign: Sign, count: int, start: int) -> float:
    """Return the CPU microseconds of one URL."""

    def run() -> None:
        for n in range(start, start + count):
            sign(n)

    return measured(run)[0] / count * 1e6


def main() -> None:
    wanted = options(__doc__)
    ratios: Ratios = {}
    bounds: dict[str, str] = {}
    for name, (theirs, mine) in theirs_and_ours().items():
        for n in (1, 77):
            if not same(theirs(n), mine, n):
                raise SystemExit(f"{name}: the URLs differ")
        ratio, cost = f"{name}: boto3 / Reelmill", f"{name}: Reelmill, CPU µs"
        ratios |= {ratio: [], cost: []}
        bounds[ratio] = "≥ 20"
        cpu_us(theirs, 100, 1), cpu_us(mine, 100, 1)
        for turn in range(wanted.pairs):
            start = 1 + turn % 4 * COUNT
            # Each goes first in half of the rounds.
            if turn % 2:
                slow, fast = cpu_us(theirs, COUNT, start), cpu_us(mine, 10 * COUNT, start)
            else:
                fast, slow = cpu_us(mine, 10 * COUNT, start), cpu_us(theirs, COUNT, start)
            ratios[ratio].append(slow / fast)
            ratios[cost].append(fast)
    null = "the same twice: boto3 / boto3"
    sign = theirs_and_ours()["download"][0]
    ratios[null] = [cpu_us(sign, COUNT, 1) / cpu_us(sign, COUNT, 1) for _ in range(wanted.pairs)]
    report("Signing: CPU of one URL", ratios, {**bounds, null: "about 1"}, wanted.json)


if __name__ == "__main__":
    main()
