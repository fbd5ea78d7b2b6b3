"""What isn't what it was announced as, no video at all, or names other files. The table's first half."""

from __future__ import annotations

import hashlib
import io
import random
import struct
import zipfile
import zlib

from PIL import Image

from hostile_boxes import FTYP, SIDE, alias, full, jpeg, mp4, pictures, ts_packets
from hostile_kit import ACCEPTED, FOUR_NAMES, Kit, hostile

# ── not what was announced ────────────────────────────────────────────────────────────────────


@hostile("request_invalid", "size")
def empty_file(kit: Kit) -> bytes:
    """An empty file."""
    return b""


@hostile("body_mismatch", announced={"size": 1000})
def emptied_file(kit: Kit) -> bytes:
    """An empty file that was announced as 1,000 bytes."""
    return b""


@hostile("body_mismatch", announced={"size": 1000})
def bigger_than_declared(kit: Kit) -> bytes:
    """A film of more bytes than announced."""
    return kit.film()


@hostile("body_mismatch", announced={"size": 1 << 20})
def smaller_than_declared(kit: Kit) -> bytes:
    """A film of fewer bytes than announced."""
    return kit.film()


@hostile("body_mismatch", announced={"sha256": hashlib.sha256(b"another").hexdigest()})
def wrong_checksum(kit: Kit) -> bytes:
    """A film with another SHA-256 than announced."""
    return kit.film()


@hostile("upload_mismatch", "SHA-256", announced={"sha256": hashlib.sha256(b"another").hexdigest()}, through="store")
def wrong_checksum_in_the_store(kit: Kit) -> bytes:
    """The same, put into the store around the signed URL."""
    return kit.film()


@hostile("upload_mismatch", "bytes were announced", announced={"size": 1 << 20}, through="store")
def smaller_in_the_store(kit: Kit) -> bytes:
    """A film of fewer bytes than announced, put there around the signed URL."""
    return kit.film()


@hostile("upload_missing", announced={"size": 1000}, through="")
def never_sent(kit: Kit) -> bytes:
    """Nothing was sent at all."""
    return b""


@hostile("request_invalid", "filename", names=(
    "../../etc/passwd", "/etc/passwd", "..\\..\\boot.ini", "C:\\film.mp4", "a\nb.mp4", "a\x00.mp4", "\x1b[2J.mp4",
    "a\x7f.mp4", "a\u2028b.mp4", "n" * 300, "ü" * 300, "", "\ud800.mp4", ".", "..",
))  # fmt: skip
def bad_file_name(kit: Kit) -> bytes:
    """A film whose name is a path, too long, empty, or has control characters."""
    return kit.film()


@hostile(ACCEPTED, names=(
    "-i.mp4", "$(reboot).mp4", "; rm -rf ~.mp4", "CON", "nul.mp4", "film.mp4.exe", "a'b\"c`d.mp4", "%{pts}:[0:v].mp4",
    "\u202egpj.4pm", "🎬 Grüße.mp4", "n" * 251 + ".mp4", "file:film.mp4", ".hidden", " ", "film.m3u8",
))  # fmt: skip
def odd_file_name(kit: Kit) -> bytes:
    """An honest film with a name that means something to shells, systems or ffmpeg."""
    return kit.film()


# ── no video at all ───────────────────────────────────────────────────────────────────────────


@hostile("not_a_video", "known")
def one_byte(kit: Kit) -> bytes:
    """A single byte."""
    return b"\x00"


@hostile("not_a_video", "known")
def text(kit: Kit) -> bytes:
    """A letter in plain text."""
    return b"Dear film,\nwish you were here.\n" * 1000


@hostile("not_a_video", "known")
def zeros(kit: Kit) -> bytes:
    """A mebibyte of zeros."""
    return bytes(1 << 20)


@hostile("not_a_video", "known")
def noise(kit: Kit) -> bytes:
    """A mebibyte of noise."""
    return random.Random(1).randbytes(1 << 20)


@hostile("not_a_video", "known", names=("film.mp4", "film.svg"))
def svg(kit: Kit) -> bytes:
    """An SVG drawing that shows a file of the server."""
    return f'<svg xmlns="http://www.w3.org/2000/svg"><image href="file://{kit.canary}"/></svg>'.encode()


@hostile("not_a_video", "known", names=("film.mp4", "film.html"))
def html(kit: Kit) -> bytes:
    """A web page with a script."""
    return f'<!doctype html><script src="{kit.url}/x.js"></script><video src="{kit.url}/film.mp4">'.encode()


@hostile("not_a_video", "known")
def shell_script(kit: Kit) -> bytes:
    """A shell script."""
    return f"#!/bin/sh\ncat {kit.canary}\n".encode()


@hostile("not_a_video", "known")
def program(kit: Kit) -> bytes:
    """The head of a program for Linux."""
    return b"\x7fELF\x02\x01\x01" + bytes(9) + struct.pack("<HHI", 2, 62, 1) + bytes(4000)


@hostile("not_a_video", "known")
def pdf(kit: Kit) -> bytes:
    """A PDF."""
    return b"%PDF-1.7\n1 0 obj<</Type/Catalog>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF\n"


@hostile("not_a_video", "known", names=("film.mp4", "film.zip"))
def zip_bomb(kit: Kit) -> bytes:
    """A ZIP archive of 64 KB that unpacks to 64 MB."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("film.mp4", bytes(64 << 20))
    return out.getvalue()


@hostile("not_a_video", "known")
def gzip_bomb(kit: Kit) -> bytes:
    """A gzip stream that unpacks to 64 MB."""
    packer = zlib.compressobj(9, wbits=31)
    return packer.compress(bytes(64 << 20)) + packer.flush()


@hostile("not_a_video", "known", names=("film.mp4", "film.png"))
def png(kit: Kit) -> bytes:
    """A PNG picture."""
    return saved("PNG")


@hostile(ACCEPTED, names=("film.mp4", "film.gif"))
def moving_gif(kit: Kit) -> bytes:
    """A GIF that moves."""
    return saved("GIF", save_all=True, append_images=[Image.new("RGB", (SIDE, SIDE), (n, 0, 0)) for n in range(9)])


@hostile("not_a_video", "known")
def bare_jpeg(kit: Kit) -> bytes:
    """A JPEG picture."""
    return jpeg()


@hostile("not_a_video", "known")
def wave_sound(kit: Kit) -> bytes:
    """A WAVE file: RIFF, but sound."""
    return kit.ffmpeg("wav", "-f", "lavfi", "-i", "sine=duration=1")


@hostile("not_a_video", "no video stream", names=("film.mp4", "music.m4a"))
def sound_only(kit: Kit) -> bytes:
    """Sound without a picture."""
    return kit.ffmpeg("m4a", "-f", "lavfi", "-i", "sine=duration=1", "-c:a", "aac")


@hostile("not_a_video", "no video stream")
def sound_with_cover(kit: Kit) -> bytes:
    """Music with a picture of its cover attached."""
    music, cover = kit.path("music.m4a", sound_only(kit)), kit.path("cover.jpg", jpeg())
    return kit.ffmpeg(
        "mp4", "-i", music, "-i", cover, "-map", "0", "-map", "1", "-c", "copy", "-disposition:v:0", "attached_pic"
    )


@hostile("not_a_video", "no video stream")
def attached_picture_only(kit: Kit) -> bytes:
    """A Matroska file of attachments alone."""
    cover = kit.path("cover.jpg", jpeg())
    return kit.ffmpeg("mkv", "-i", kit.path("music.m4a", sound_only(kit)), "-c", "copy", "-attach", cover,
                      "-metadata:s:t", "mimetype=image/jpeg")  # fmt: skip


@hostile("not_a_video", "no video stream")
def subtitles_only(kit: Kit) -> bytes:
    """Subtitles without a picture."""
    words = kit.path("words.srt", b"1\n00:00:00,000 --> 00:00:01,000\nHello\n")
    return kit.ffmpeg("mkv", "-i", words, "-c", "copy")


def saved(kind: str, **more: object) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (SIDE, SIDE)).save(out, kind, **more)  # type: ignore[arg-type]
    return out.getvalue()


# ── that name other files ─────────────────────────────────────────────────────────────────────


@hostile("not_a_video", "known", names=FOUR_NAMES)
def hls_of_a_file(kit: Kit) -> bytes:
    """An HLS playlist that names a file of the server."""
    return f"#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\nfile://{kit.canary}\n#EXT-X-ENDLIST\n".encode()


@hostile("not_a_video", "known", names=FOUR_NAMES)
def hls_of_an_address(kit: Kit) -> bytes:
    """An HLS playlist that names an address inside."""
    return f"#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\n{kit.url}/film.ts\n#EXT-X-ENDLIST\n".encode()


@hostile("not_a_video", "known", names=FOUR_NAMES)
def hls_with_a_key(kit: Kit) -> bytes:
    """An HLS playlist whose key is fetched from inside."""
    key = f'#EXT-X-KEY:METHOD=AES-128,URI="{kit.url}/key"'
    return f"#EXTM3U\n#EXT-X-TARGETDURATION:5\n{key}\n#EXTINF:5,\n{kit.canary}\n#EXT-X-ENDLIST\n".encode()


@hostile("not_a_video", "known", names=FOUR_NAMES)
def concat_of_a_file(kit: Kit) -> bytes:
    """An ffconcat script that names a file of the server."""
    return f"ffconcat version 1.0\nfile '{kit.canary}'\n".encode()


@hostile("not_a_video", "known", names=FOUR_NAMES)
def concat_of_an_address(kit: Kit) -> bytes:
    """An ffconcat script that names an address inside."""
    return f"ffconcat version 1.0\nfile '{kit.url}/film.mp4'\n".encode()


@hostile("not_a_video", "known", names=FOUR_NAMES)
def dash_manifest(kit: Kit) -> bytes:
    """A DASH manifest whose parts are elsewhere."""
    shown = "".join(
        f'<Representation id="{n}" bandwidth="1" mimeType="video/mp4"><BaseURL>{place}</BaseURL></Representation>'
        for n, place in enumerate((f"file://{kit.canary}", f"{kit.url}/film.mp4"))
    )
    profile = 'profiles="urn:mpeg:dash:profile:isoff-on-demand:2011"'
    head = f'<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" {profile} type="static">'
    return f"{head}<Period><AdaptationSet>{shown}</AdaptationSet></Period></MPD>".encode()


@hostile("not_a_video", "known", names=FOUR_NAMES)
def sdp(kit: Kit) -> bytes:
    """A session description that listens for a stream."""
    return b"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n"


@hostile("not_a_video", "known")
def late_playlist(kit: Kit) -> bytes:
    """A playlist behind a byte-order mark and empty lines."""
    return b"\xef\xbb\xbf\n\n" + hls_of_a_file(kit)


@hostile("not_a_video", "can't be read")
def playlist_in_an_mp4(kit: Kit) -> bytes:
    """The head of an MP4, then a playlist."""
    return FTYP + b"\n" + hls_of_a_file(kit)


@hostile("not_a_video", "can't be read")
def playlist_behind_the_letters_of_mp4(kit: Kit) -> bytes:
    """A playlist whose first line looks like the head of an MP4."""
    return b"#EXTftyp\n" + hls_of_a_file(kit)


@hostile("not_a_video")
def playlist_between_sync_bytes(kit: Kit) -> bytes:
    """A playlist spread over the packets of a transport stream."""
    words = hls_of_a_file(kit)
    return ts_packets([words] * 500)


@hostile("not_a_video")
def alias_to_a_file(kit: Kit) -> bytes:
    """A QuickTime film whose pictures are in another file, by an alias."""
    return mp4(pictures(25), dref=alias(str(kit.canary)))


@hostile(ACCEPTED)
def data_reference_to_an_address(kit: Kit) -> bytes:
    """An MP4 whose pictures are said to be at an address; its own bytes are used, the address never."""
    words = f"{kit.url}/film.mp4".encode() + b"\x00"
    return mp4(pictures(25), dref=full(b"dref", struct.pack(">I", 1), full(b"url ", words)))


@hostile(ACCEPTED)
def comment_with_an_address(kit: Kit) -> bytes:
    """Metadata, chapters and names that hold addresses and options of ffmpeg."""
    words = f"{kit.url} file:{kit.canary} -i /etc/passwd %{{pts}} [0:v]movie={kit.canary}"
    return kit.film("mkv", "-c:v", "libx264", "-preset", "ultrafast", "-c:a", "aac", "-metadata", f"title={words}",
                    "-metadata:s:v:0", f"filename={words}", "-metadata:s:a:0", f"language={words}")  # fmt: skip
