"""Containers written by hand, byte for byte: what no honest muxer would write can be said here."""

from __future__ import annotations

import io
import struct
from collections.abc import Mapping, Sequence

from PIL import Image, ImageDraw

IDENTITY = (0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000)
SIDE = 64  #: pixels of the pictures here


def jpeg(number: int = 0, width: int = SIDE, height: int = SIDE) -> bytes:
    """Return a picture; each number gives another one."""
    image = Image.new("RGB", (width, height), (40, 90, (number * 37) % 256))
    ImageDraw.Draw(image).rectangle((number % width, 8, number % width + 12, 24), fill=(250, 220, 30))
    out = io.BytesIO()
    image.save(out, "JPEG", quality=80, subsampling=2)
    return out.getvalue()


def jpeg_of_size(width: int, height: int) -> bytes:
    """Return a small picture whose header claims another size."""
    data = bytearray(jpeg())
    at = data.index(b"\xff\xc0") + 5
    data[at : at + 4] = struct.pack(">HH", height, width)
    return bytes(data)


def pictures(count: int) -> list[bytes]:
    return [jpeg(number) for number in range(count)]


# ── MP4 (ISO/IEC 14496-12) ────────────────────────────────────────────────────────────────────


def box(kind: bytes, *parts: bytes) -> bytes:
    body = b"".join(parts)
    return struct.pack(">I4s", 8 + len(body), kind) + body


def full(kind: bytes, *parts: bytes, version: int = 0, flags: int = 0) -> bytes:
    return box(kind, struct.pack(">I", version << 24 | flags), *parts)


def table(kind: bytes, rows: Sequence[tuple[int, ...]], *, count: int | None = None) -> bytes:
    """Return a box of rows of 32-bit numbers; count: what it claims to hold."""
    words = [word & 0xFFFFFFFF for row in rows for word in row]
    return full(kind, struct.pack(f">I{len(words)}I", len(rows) if count is None else count, *words))


FTYP = box(b"ftyp", b"isom\x00\x00\x02\x00isomiso2mp41")
SELF = full(b"dref", struct.pack(">I", 1), full(b"url ", flags=1))


def sample_entry(width: int, height: int, *more: bytes, kind: bytes = b"jpeg") -> bytes:
    about = struct.pack(">6xH16xHHIIIH32xHh", 1, width, height, 0x480000, 0x480000, 0, 1, 24, -1)
    return full(b"stsd", struct.pack(">I", 1), box(kind, about, *more))


def track(
    samples: Sequence[bytes],
    offset: int,
    *,
    number: int = 1,
    timescale: int = 25,
    tables: Mapping[bytes, bytes] | None = None,
    edits: bytes = b"",
    dref: bytes = SELF,
    handler: bytes = b"vide",
    size: tuple[int, int] = (SIDE, SIDE),
    matrix: Sequence[int] = IDENTITY,
) -> bytes:
    """Return a `trak` of JPEG pictures that lie one behind the other from `offset`; tables: what stands instead."""
    count = len(samples)
    usual = {
        b"stsd": sample_entry(*size),
        b"stts": table(b"stts", [(count, 1)]),
        b"stsc": table(b"stsc", [(1, count, 1)]),
        b"stsz": full(b"stsz", struct.pack(f">II{count}I", 0, count, *map(len, samples))),
        b"stco": table(b"stco", [(offset,)]),
    }
    stbl = box(b"stbl", *(usual | dict(tables or {})).values())
    shown = struct.pack(">9iII", *matrix, size[0] << 16, size[1] << 16)
    header = full(b"tkhd", struct.pack(">IIIII16x", 0, 0, number, 0, count), shown, flags=3)
    media = box(
        b"mdia",
        full(b"mdhd", struct.pack(">IIIIHH", 0, 0, timescale, count, 0x55C4, 0)),
        full(b"hdlr", struct.pack(">4x4s12x", handler), b"hand\x00"),
        box(b"minf", full(b"vmhd", bytes(8), flags=1), box(b"dinf", dref), stbl),
    )
    return box(b"trak", header, edits, media)


def movie(*tracks: bytes, timescale: int = 1000, more: bytes = b"") -> bytes:
    head = struct.pack(">IIIIIH10x9i24xI", 0, 0, timescale, 1000, 0x10000, 0x100, *IDENTITY, 100)
    return box(b"moov", full(b"mvhd", head), *tracks, more)


def mp4(samples: Sequence[bytes], *, more: bytes = b"", movie_timescale: int = 1000, **track_fields: object) -> bytes:
    """Return a whole film: ftyp, mdat, moov; track_fields as `track` takes them."""
    trak = track(samples, len(FTYP) + 8, **track_fields)  # type: ignore[arg-type]
    return FTYP + box(b"mdat", *samples) + movie(trak, timescale=movie_timescale, more=more)


def edit_list(rows: Sequence[tuple[int, int]]) -> bytes:
    """Return `edts` of (duration in the movie's ticks, begin in the media's)."""
    return box(b"edts", table(b"elst", [(duration, begin, 0x10000) for duration, begin in rows]))


def alias(path: str) -> bytes:
    """Return a `dref` with a Macintosh alias that names another file."""
    name, words = path.rpartition("/")[2].encode()[:63], path.encode()
    record = struct.pack(">10xB27s12xB63s16xhh16x", 4, b"disk", len(name), name, -1, -1)
    absolute = struct.pack(">hH", 2, len(words)) + words + b"\x00" * (len(words) % 2) + struct.pack(">hH", -1, 0)
    return full(b"dref", struct.pack(">I", 1), full(b"alis", record, absolute))


def fragments(count: int, samples: Sequence[bytes], *, claimed: int | None = None) -> bytes:
    """Return a fragmented film with `count` fragments of all samples; claimed: what each says to have."""
    empty = {
        b"stts": table(b"stts", []),
        b"stsc": table(b"stsc", []),
        b"stsz": full(b"stsz", bytes(8)),
        b"stco": table(b"stco", []),
    }
    defaults = box(b"mvex", full(b"trex", struct.pack(">IIIII", 1, 1, 1, 0, 0)))
    out = [FTYP, movie(track([], 0, tables=empty), more=defaults)]
    data = box(b"mdat", *samples)
    sizes = struct.pack(f">{len(samples)}I", *map(len, samples))
    for number in range(count):
        told = len(samples) if claimed is None else claimed
        head = box(b"mfhd", struct.pack(">II", 0, number + 1))
        begin = box(b"tfdt", struct.pack(">II", 0, number * len(samples)))
        runs = full(b"trun", struct.pack(">Ii", told, 0), sizes, flags=0x201)
        moof = box(b"moof", head, box(b"traf", full(b"tfhd", struct.pack(">I", 1), flags=0x20000), begin, runs))
        moof = moof.replace(
            struct.pack(">Ii", told, 0) + sizes, struct.pack(">Ii", told, len(moof) + 8) + sizes
        )  # where the data begin, counted from the moof
        out.append(moof + data)
    return b"".join(out)


# ── Matroska (RFC 9559) ───────────────────────────────────────────────────────────────────────


def ebml(ident: int, *parts: bytes, size: int | None = None) -> bytes:
    """Return an element; size: what it claims to be, 2**56 - 1 for "unknown"."""
    body = b"".join(parts)
    name = ident.to_bytes((ident.bit_length() + 7) // 8)
    return name + (1 << 56 | (len(body) if size is None else size)).to_bytes(8) + body


def number(ident: int, value: int) -> bytes:
    return ebml(ident, value.to_bytes(8))


EBML_HEAD = ebml(0x1A45DFA3, ebml(0x4282, b"matroska"), number(0x4287, 4), number(0x4285, 2))


def mkv_track(codec: str = "V_MJPEG", *more: bytes, kind: int = 1, side: tuple[int, int] = (SIDE, SIDE)) -> bytes:
    size = ebml(0xE0, number(0xB0, side[0]), number(0xBA, side[1])) if kind == 1 else b""
    return ebml(0xAE, number(0xD7, 1), number(0x73C5, 1), number(0x83, kind), ebml(0x86, codec.encode()), size, *more)


def block(data: bytes, at: int, *, flags: int = 0x80) -> bytes:
    return ebml(0xA3, b"\x81", struct.pack(">hB", at, flags), data)


def mkv(
    blocks: Sequence[bytes],
    *,
    tracks: bytes | None = None,
    scale_ns: int = 1_000_000,
    before: bytes = b"",
    behind: bytes = b"",
    cluster_size: int | None = None,
    segment_size: int | None = None,
    cluster_at: int = 0,
) -> bytes:
    info = ebml(0x1549A966, number(0x2AD7B1, scale_ns), ebml(0x4D80, b"hand"), ebml(0x5741, b"hand"))
    cluster = ebml(0x1F43B675, number(0xE7, cluster_at), *blocks, size=cluster_size)
    tracks = mkv_track() if tracks is None else tracks
    return EBML_HEAD + ebml(0x18538067, info, before, ebml(0x1654AE6B, tracks), cluster, behind, size=segment_size)


# ── MPEG-TS (ISO/IEC 13818-1), Ogg (RFC 3533) ─────────────────────────────────────────────────


def ts_packets(payloads: Sequence[bytes]) -> bytes:
    """Return packets with the right sync bytes around anything."""
    return b"".join(b"\x47" + payload[:187].ljust(187, b"\xff") for payload in payloads)


def ogg_page(serial: int, data: bytes, *, flags: int = 2, sequence: int = 0) -> bytes:
    """Return a page with the right checksum."""
    lacing = bytes([255] * (len(data) // 255) + [len(data) % 255])
    head = struct.pack("<4sBBQIIIB", b"OggS", 0, flags, 0, serial, sequence, 0, len(lacing)) + lacing
    crc = 0
    for byte in head + data:
        crc ^= byte << 24
        for _ in range(8):
            crc = (crc << 1 ^ (0x04C11DB7 if crc & 0x80000000 else 0)) & 0xFFFFFFFF
    return head[:22] + struct.pack("<I", crc) + head[26:] + data
