"""Our presigned URLs are botocore's, byte for byte: whatever is in keys, headers, queries and credentials."""

from __future__ import annotations

import calendar
import re
import time
from functools import lru_cache
from typing import Any
from urllib.parse import quote, urlsplit

import boto3
import pytest
from botocore.auth import S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import ReadOnlyCredentials
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reelmill.objects.sigv4 import Presigner

odd = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
printable = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), max_size=12)
credentials = st.builds(
    ReadOnlyCredentials,
    access_key=st.text("ABCDEFGHIJ0123456789/+=", min_size=1, max_size=20),
    secret_key=st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40),
    token=st.none() | st.text("ABCdef012/+=&%", min_size=1, max_size=60),
)
endpoints = st.sampled_from(
    [
        "https://s3.eu-central-1.amazonaws.com",
        "https://films.s3.eu-central-1.amazonaws.com",
        "http://127.0.0.1:8333",
        "http://localhost:80",
        "https://S3.Example:443",
        "https://s3.example:80",
        "http://[::1]:9000",
        "https://project.example/storage/v1/s3",
    ]
)
headers = st.dictionaries(
    st.sampled_from(
        ["content-type", "content-length", "if-none-match", "x-amz-checksum-sha256", "x-amz-acl", "cache-control"]
    ),
    printable,
    max_size=4,
)
queries = st.dictionaries(
    st.sampled_from(["partNumber", "uploadId", "uploads", "response-content-disposition", "response-content-type"])
    | st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8),
    odd,
    max_size=4,
)


def moment(url: str) -> int:
    """Return the Unix time at which a URL was signed."""
    found = re.search(r"X-Amz-Date=(\w+)", url)
    assert found
    return calendar.timegm(time.strptime(found[1], "%Y%m%dT%H%M%SZ"))


@lru_cache
def botocore_s(addressing: str) -> Any:
    return boto3.session.Session().client(
        "s3",
        endpoint_url="https://s3.example",
        region_name="auto",
        aws_access_key_id="AKIDEXAMPLE",
        aws_secret_access_key="secret",
        aws_session_token="token/+=",
        config=Config(signature_version="s3v4", s3={"addressing_style": addressing}),
    )


@settings(max_examples=1000, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(
    who=credentials,
    endpoint=endpoints,
    region=st.sampled_from(["us-east-1", "eu-central-1", "auto", "garage"]),
    life_s=st.integers(1, 604_800),
    requests=st.lists(
        st.tuples(st.sampled_from(["GET", "PUT", "POST", "DELETE", "HEAD"]), odd, headers, queries),
        min_size=10,
        max_size=10,
    ),
)
def test_ten_thousand_odd_urls_are_botocore_s(
    who: ReadOnlyCredentials,
    endpoint: str,
    region: str,
    life_s: int,
    requests: list[tuple[str, str, dict[str, str], dict[str, str]]],
) -> None:
    ours = Presigner(endpoint, region=region, credentials=lambda: who)
    theirs = S3SigV4QueryAuth(who, "s3", region, expires=life_s)
    for method, key, sent, query in requests:
        path = f"/bucket/{key}"
        request = AWSRequest(method, endpoint + quote(path, safe="/-_.~"), headers=sent, params=query)
        theirs.add_auth(request)
        at = moment(request.url)
        assert ours.sign(method, path, life_s=life_s, query=query, headers=sent, at=at + 0.9) == request.url


@pytest.mark.parametrize("addressing", ["path", "virtual"])
@settings(max_examples=150, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(key=st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30), name=printable)
def test_a_whole_client_s_urls_are_ours(addressing: str, key: str, name: str) -> None:
    client = botocore_s(addressing)
    url = "https://films.s3.example" if addressing == "virtual" else "https://s3.example"
    top = "/" if addressing == "virtual" else "/films/"
    who = ReadOnlyCredentials("AKIDEXAMPLE", "secret", "token/+=")
    ours = Presigner(url, region="auto", credentials=lambda: who)
    where = {"Bucket": "films", "Key": key}
    for operation, method, more, query, sent in (
        ("get_object", "GET", {"ResponseContentDisposition": name}, {"response-content-disposition": name}, {}),
        ("head_object", "HEAD", {}, {}, {}),
        ("list_parts", "GET", {"UploadId": "u/+="}, {"uploadId": "u/+="}, {}),
        ("abort_multipart_upload", "DELETE", {"UploadId": "u"}, {"uploadId": "u"}, {}),
        (
            "put_object",
            "PUT",
            {"ContentLength": 5, "ContentType": "video/mp4", "ChecksumSHA256": "abc=", "IfNoneMatch": "*"},
            {},
            {"content-length": "5", "content-type": "video/mp4", "x-amz-checksum-sha256": "abc=", "if-none-match": "*"},
        ),
        (
            "upload_part",
            "PUT",
            {"UploadId": "u", "PartNumber": 7, "ContentLength": 9, "ChecksumSHA256": "abc="},
            {"uploadId": "u", "partNumber": "7"},
            {"content-length": "9", "x-amz-checksum-sha256": "abc="},
        ),
    ):
        theirs = client.generate_presigned_url(operation, Params={**where, **more}, ExpiresIn=900)
        mine = ours.sign(method, top + key, life_s=900, query=query, headers=sent, at=moment(theirs))
        assert sorted(urlsplit(mine).query.split("&")) == sorted(urlsplit(theirs).query.split("&"))
        assert urlsplit(mine)[:3] == urlsplit(theirs)[:3]


def test_the_example_of_the_manual() -> None:
    """From "Authenticating Requests: Using Query Parameters", Amazon S3 API Reference."""
    who = ReadOnlyCredentials("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", None)
    signer = Presigner("https://examplebucket.s3.amazonaws.com", region="us-east-1", credentials=lambda: who)
    url = signer.sign("GET", "/test.txt", life_s=86400, at=calendar.timegm((2013, 5, 24, 0, 0, 0)))
    assert url.endswith("X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404")


def test_renewed_credentials_sign_the_next_url() -> None:
    known = [ReadOnlyCredentials("A", "secret", "first"), ReadOnlyCredentials("A", "secret", "second")]
    signer = Presigner("https://s3.example", region="r", credentials=lambda: known.pop(0))
    first, second = (signer.sign("GET", "/b/k", life_s=60, at=0) for _ in range(2))
    assert "X-Amz-Security-Token=first" in first
    assert "X-Amz-Security-Token=second" in second
    assert first.rpartition("=")[2] != second.rpartition("=")[2]


def test_a_new_day_has_a_new_key() -> None:
    who = ReadOnlyCredentials("A", "secret", None)
    signer = Presigner("https://s3.example", region="r", credentials=lambda: who)
    before, after = (signer.sign("GET", "/b/k", life_s=60, at=at) for at in (86_399.9, 86_400.0))
    assert "%2F19700101%2F" in before and "X-Amz-Date=19700101T235959Z" in before
    assert "%2F19700102%2F" in after and "X-Amz-Date=19700102T000000Z" in after
