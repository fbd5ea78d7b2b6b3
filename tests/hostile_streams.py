"""Films whose inside lies: sizes, counts, times, pictures. The second half of the table in `hostile_files`."""

from __future__ import annotations

import random
import struct
import zlib

from hostile_boxes import (
    FTYP,
    SIDE,
    block,
    box,
    ebml,
    edit_list,
    fragments,
    full,
    jpeg,
    jpeg_of_size,
    mkv,
    mkv_track,
    movie,
    mp4,
    number,
    ogg_page,
    pictures,
    sample_entry,
    table,
    track,
    ts_packets,
)
from hostile_kit import ACCEPTED, Kit, hostile

UNKNOWN = (1 << 56) - 1  #: an EBML size that says "until the end"


def blocks(count: int = 25) -> list[bytes]:
    return [block(picture, n * 40) for n, picture in enumerate(pictures(count))]


# ── cut and torn ──────────────────────────────────────────────────────────────────────────────


@hostile("not_a_video")
def cut_before_its_index(kit: Kit) -> bytes:
    """An MP4 of which the second half, with the index, never came."""
    film = kit.film()
    return film[: len(film) // 2]


@hostile(ACCEPTED)
def cut_behind_its_index(kit: Kit) -> bytes:
    """An MP4 that begins with its index and breaks off at two thirds: what is there is cut."""
    film = kit.film("mp4", "-c:v", "libx264", "-preset", "ultrafast", "-c:a", "aac", "-movflags", "+faststart")
    return film[: len(film) * 2 // 3]


@hostile(ACCEPTED)
def cut_matroska(kit: Kit) -> bytes:
    """A Matroska file that breaks off in the middle."""
    film = kit.film("mkv")
    return film[: len(film) // 2]


@hostile(ACCEPTED)
def cut_transport_stream(kit: Kit) -> bytes:
    """A transport stream whose beginning and end are missing."""
    film = kit.film("ts")
    return film[188 * 20 : len(film) * 2 // 3]


@hostile("not_a_video")
def data_without_index(kit: Kit) -> bytes:
    """An MP4 of media data alone."""
    return FTYP + box(b"mdat", *pictures(25))


@hostile("not_a_video")
def index_without_data(kit: Kit) -> bytes:
    """An MP4 of an index alone."""
    return FTYP + movie(track(pictures(25), 1 << 20))


@hostile("not_a_video")
def index_beyond_the_end(kit: Kit) -> bytes:
    """An index that says the pictures lie 4 GB further on."""
    return mp4(pictures(25), tables={b"stco": table(b"stco", [(0xFFFFFFF0,)])})


# ── boxes that lie ────────────────────────────────────────────────────────────────────────────


@hostile("not_a_video")
def index_of_four_gigabytes(kit: Kit) -> bytes:
    """A moov that claims 4 GB and is cut off."""
    return FTYP + struct.pack(">I4s", 0xFFFFFFF0, b"moov") + movie(track(pictures(25), 0))[8:60]


@hostile("not_a_video")
def size_of_nine_exabytes(kit: Kit) -> bytes:
    """A box with a 64-bit size of 2^63 - 1."""
    return FTYP + struct.pack(">I4sQ", 1, b"moov", (1 << 63) - 1) + movie()[8:]


@hostile("not_a_video")
def size_below_its_head(kit: Kit) -> bytes:
    """A box that claims to be smaller than its own head."""
    return FTYP + struct.pack(">I4s", 4, b"moov") + bytes(1000)


@hostile("not_a_video")
def boxes_of_size_zero(kit: Kit) -> bytes:
    """A mebibyte of boxes of size 0."""
    return FTYP + struct.pack(">I4s", 0, b"free") * (1 << 17)


@hostile(ACCEPTED)
def million_empty_boxes(kit: Kit) -> bytes:
    """A million empty boxes before the film."""
    free = struct.pack(">I4s", 8, b"free") * 1_000_000
    samples = pictures(25)
    return FTYP + free + box(b"mdat", *samples) + movie(track(samples, len(FTYP) + len(free) + 8))


@hostile("not_a_video")
def boxes_within_boxes(kit: Kit) -> bytes:
    """Boxes nested 20,000 deep."""
    head = b"".join(struct.pack(">I4s", 8 * (20_000 - n), b"moov") for n in range(20_000))
    return FTYP + head


@hostile("not_a_video")
def billion_frames(kit: Kit) -> bytes:
    """2 KB that declare 1,000,000,000 frames."""
    many = 1_000_000_000
    tables = {
        b"stts": table(b"stts", [(many, 1)]),
        b"stsc": table(b"stsc", [(1, many, 1)]),
        b"stsz": full(b"stsz", struct.pack(">II", 1, many)),
    }
    return mp4(pictures(1), tables=tables, timescale=100_000)


@hostile("not_a_video")
def forty_million_frames(kit: Kit) -> bytes:
    """2 KB whose index takes 960 MB once it is read."""
    many = 40_000_000
    tables = {
        b"stts": table(b"stts", [(many, 1)]),
        b"stsc": table(b"stsc", [(1, many, 1)]),
        b"stsz": full(b"stsz", struct.pack(">II", 1, many)),
    }
    return mp4(pictures(1), tables=tables, timescale=1000)


@hostile("not_a_video")
def table_of_four_billion_rows(kit: Kit) -> bytes:
    """A table of sizes that claims 2^32 - 1 rows and has 25."""
    sizes = struct.pack(">II25I", 0, 0xFFFFFFFF, *map(len, pictures(25)))
    return mp4(pictures(25), tables={b"stsz": full(b"stsz", sizes)})


@hostile(ACCEPTED)
def one_picture_ten_thousand_times(kit: Kit) -> bytes:
    """40 KB in which 10,000 frames are the same bytes."""
    many, picture = 10_000, jpeg()
    begin = len(FTYP) + 8
    tables = {
        b"stts": table(b"stts", [(many, 1)]),
        b"stsc": table(b"stsc", [(1, 1, 1)]),
        b"stsz": full(b"stsz", struct.pack(">II", len(picture), many)),
        b"stco": table(b"stco", [(begin,)] * many),
    }
    return mp4([picture], tables=tables, timescale=100)


@hostile(ACCEPTED)
def thousands_of_edits(kit: Kit) -> bytes:
    """An edit list of 3,000 rows, a frame each."""
    return mp4(pictures(25), edits=edit_list([(40, n % 25) for n in range(3_000)]))


@hostile(ACCEPTED)
def edits_that_repeat(kit: Kit) -> bytes:
    """An edit list that shows the same second 100 times."""
    return mp4(pictures(25), edits=edit_list([(1000, 0)] * 100))


@hostile("media_rejected", "streams")
def five_hundred_tracks(kit: Kit) -> bytes:
    """500 tracks."""
    samples = pictures(1)
    tracks = [track(samples, len(FTYP) + 8, number=n + 1) for n in range(500)]
    return FTYP + box(b"mdat", *samples) + movie(*tracks)


@hostile("media_rejected", "streams")
def hundred_streams_on_the_air(kit: Kit) -> bytes:
    """A transport stream of 100 streams."""
    return kit.ffmpeg("ts", "-f", "lavfi", "-i", "color=size=16x16:rate=5:duration=1", *("-map", "0") * 100,
                      "-c:v", "mpeg2video")  # fmt: skip


@hostile("not_a_video", "can't be read")
def thousand_logical_streams(kit: Kit) -> bytes:
    """An Ogg file that begins with 1,000 streams."""
    return b"".join(ogg_page(n, b"\x80theora" + bytes(35)) for n in range(1000))


@hostile(ACCEPTED)
def huge_metadata(kit: Kit) -> bytes:
    """A title of 32 MB."""
    title = bytes([65]) * (32 << 20)
    data = box(b"data", struct.pack(">II", 1, 0), title)
    items = full(b"meta", full(b"hdlr", struct.pack(">4x4s12x", b"mdir")), box(b"ilst", box(b"\xa9nam", data)))
    return mp4(pictures(25), more=box(b"udta", items))


@hostile("media_rejected", "time")
def many_metadata(kit: Kit) -> bytes:
    """300,000 tags, which take minutes to sort."""
    tags = b"".join(ebml(0x67C8, ebml(0x45A3, f"NAME{n}".encode()), ebml(0x4487, b"value")) for n in range(300_000))
    return mkv(blocks(), before=ebml(0x1254C367, ebml(0x7373, tags)))


@hostile(ACCEPTED)
def huge_attachment(kit: Kit) -> bytes:
    """A Matroska file with a font of 24 MB attached."""
    font = ebml(0x61A7, ebml(0x466E, b"../../font.ttf"), ebml(0x4660, b"font/ttf"), ebml(0x465C, bytes(24 << 20)),
                number(0x46AE, 1))  # fmt: skip
    return mkv(blocks(), before=ebml(0x1941A469, font))


@hostile(ACCEPTED)
def endless_fragments(kit: Kit) -> bytes:
    """3,000 fragments of one frame each."""
    return fragments(3_000, [jpeg()])


@hostile("not_a_video")
def fragments_of_four_billion(kit: Kit) -> bytes:
    """A fragment that claims 2^32 - 1 frames."""
    return fragments(1, [jpeg()], claimed=0xFFFFFFFF)


@hostile("not_a_video")
def element_of_exabytes(kit: Kit) -> bytes:
    """A Matroska head that claims 2^55 bytes."""
    return ebml(0x1A45DFA3, ebml(0x4282, b"matroska"), size=1 << 55) + bytes(1000)


@hostile(ACCEPTED)
def cluster_of_exabytes(kit: Kit) -> bytes:
    """A Matroska file whose cluster claims 2^55 bytes."""
    return mkv(blocks(), cluster_size=1 << 55, segment_size=UNKNOWN)


@hostile(ACCEPTED)
def elements_within_elements(kit: Kit) -> bytes:
    """Matroska tags nested 20,000 deep."""
    size = 11 * 20_000
    tags = b"".join(b"\x67\xc8" + (1 << 56 | size - 11 * n).to_bytes(8) + b"\x00" for n in range(20_000))
    return mkv(blocks(), before=ebml(0x1254C367, tags))


@hostile(ACCEPTED)
def index_that_points_to_itself(kit: Kit) -> bytes:
    """A Matroska file whose list of places points to that list again and again."""
    seek = b"".join(
        ebml(0x4DBB, ebml(0x53AB, ident), number(0x53AC, 0))
        for ident in (b"\x11\x4d\x9b\x74", b"\x1c\x53\xbb\x6b", b"\x12\x54\xc3\x67")
    )
    return mkv(blocks(), before=ebml(0x114D9B74, seek * 1000))


@hostile("not_a_video")
def packed_bomb(kit: Kit) -> bytes:
    """150 packets of 10 KB that unpack to 9 MB each."""
    packed = zlib.compress(bytes(9_000_000), 9)
    packing = ebml(0x6D80, ebml(0x6240, number(0x5031, 0), number(0x5032, 1), number(0x5033, 0),
                                ebml(0x5034, number(0x4254, 0))))  # fmt: skip
    return mkv([block(packed, n * 40) for n in range(150)], tracks=mkv_track("V_MJPEG", packing))


@hostile("not_a_video")
def lacing_that_lies(kit: Kit) -> bytes:
    """Blocks that claim 256 frames in 100 bytes."""
    return mkv([block(b"\xff" * 100, n, flags=0x82) for n in range(1000)])


@hostile(ACCEPTED)
def avi_with_a_wrong_index(kit: Kit) -> bytes:
    """An AVI whose index points beyond the file."""
    film = bytearray(kit.film("avi", "-c:v", "mpeg4", "-c:a", "mp2"))
    at = film.rindex(b"idx1") + 8
    for row in range(at, len(film) - 15, 16):
        struct.pack_into("<II", film, row + 8, 0x7FFFFFF0, 0x7FFFFFF0)
    return bytes(film)


@hostile(ACCEPTED)
def avi_of_two_billion_frames(kit: Kit) -> bytes:
    """An AVI that claims 2^31 - 1 frames."""
    film = bytearray(kit.film("avi", "-c:v", "mpeg4", "-c:a", "mp2"))
    struct.pack_into("<I", film, film.index(b"avih") + 8 + 16, 0x7FFFFFFF)
    struct.pack_into("<I", film, film.index(b"strh") + 8 + 32, 0x7FFFFFFF)
    return bytes(film)


@hostile("not_a_video")
def sync_bytes_around_noise(kit: Kit) -> bytes:
    """4 MB of noise in the packets of a transport stream."""
    dice = random.Random(2)
    return ts_packets([dice.randbytes(187) for _ in range(22_000)])


@hostile("not_a_video")
def program_stream_of_noise(kit: Kit) -> bytes:
    """An MPEG head and a mebibyte of noise."""
    return b"\x00\x00\x01\xba\x44" + random.Random(3).randbytes(1 << 20)


@hostile("not_a_video")
def flash_of_noise(kit: Kit) -> bytes:
    """An FLV head and a mebibyte of noise."""
    return b"FLV\x01\x05\x00\x00\x00\x09\x00\x00\x00\x00" + random.Random(4).randbytes(1 << 20)


@hostile("not_a_video")
def asf_of_noise(kit: Kit) -> bytes:
    """An ASF head of 2^62 bytes, then noise."""
    head = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c") + struct.pack("<QIBB", 1 << 62, 1 << 30, 1, 2)
    return head + random.Random(5).randbytes(1 << 20)


# ── times ─────────────────────────────────────────────────────────────────────────────────────


@hostile("media_rejected", "frames a second")
def billion_frames_a_second(kit: Kit) -> bytes:
    """1,000,000,000 frames a second."""
    return mp4(pictures(25), timescale=1_000_000_000)


@hostile("media_rejected", "long")
def gap_of_a_hundred_hours(kit: Kit) -> bytes:
    """100 hours between two frames."""
    return mp4(pictures(25), tables={b"stts": table(b"stts", [(12, 1), (1, 25 * 360_000), (12, 1)])})


@hostile("media_rejected", "long")
def hundred_hours(kit: Kit) -> bytes:
    """250 frames in 100 hours."""
    return mp4(pictures(250), timescale=1, tables={b"stts": table(b"stts", [(250, 1440)])})


@hostile(ACCEPTED)
def begins_after_a_hundred_hours(kit: Kit) -> bytes:
    """A film whose first frame is at 100 hours."""
    return mp4(pictures(25), edits=edit_list([(360_000_000, -1), (1000, 0)]))


@hostile("media_rejected")
def time_that_jumps_back(kit: Kit) -> bytes:
    """Two films of different times glued together."""
    one = kit.film("ts", seconds=3)
    return one + one


@hostile(ACCEPTED)
def no_time_at_all(kit: Kit) -> bytes:
    """A film with 0 ticks a second."""
    return mp4(pictures(25), timescale=0)


@hostile(ACCEPTED)
def frames_at_one_time(kit: Kit) -> bytes:
    """25 frames at the same moment."""
    return mp4(pictures(25), tables={b"stts": table(b"stts", [(25, 0)])})


@hostile("media_rejected")
def shifts_of_two_billion(kit: Kit) -> bytes:
    """Frames that are shown 2^31 ticks off their order."""
    rows = [(1, 0x7FFFFFF0 if n % 2 else 0x80000010) for n in range(25)]
    return mp4(pictures(25), tables={b"ctts": table(b"ctts", rows)})


@hostile("not_a_video", "can't be read")
def ticks_of_years(kit: Kit) -> bytes:
    """Matroska whose tick is 36 years."""
    return mkv(blocks(), scale_ns=1 << 60)


@hostile(ACCEPTED)
def a_frame_every_twenty_minutes(kit: Kit) -> bytes:
    """25 frames in 8 hours."""
    return mkv([block(picture, n * 1200) for n, picture in enumerate(pictures(25))], scale_ns=10**9)


@hostile(ACCEPTED)
def one_frame(kit: Kit) -> bytes:
    """A film of one frame."""
    return mp4(pictures(1))


# ── pictures ──────────────────────────────────────────────────────────────────────────────────


@hostile("media_rejected", "16000×16000")
def picture_of_16000(kit: Kit) -> bytes:
    """A picture of 16,000 × 16,000 pixels in 1 KB."""
    return mp4([jpeg_of_size(16_000, 16_000)], size=(16_000, 16_000))


@hostile("not_a_video", "decoded")
def hidden_picture_of_16000(kit: Kit) -> bytes:
    """The same under a head that says 64 × 64."""
    return mp4([jpeg_of_size(16_000, 16_000)] * 3)


@hostile("media_rejected", "memory")
def picture_of_half_a_gigabyte(kit: Kit) -> bytes:
    """Pictures of 8,192 × 8,192 pixels with 8 bytes each, in 2 MB each."""
    packer = zlib.compressobj(1)
    row = bytes(1 + 8192 * 8)
    data = b"".join(packer.compress(row * 64) for _ in range(128)) + packer.flush()
    head = struct.pack(">IIBBBBB", 8192, 8192, 16, 6, 0, 0, 0)
    chunks = ((b"IHDR", head), (b"IDAT", data), (b"IEND", b""))
    png = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I4s", len(body), kind) + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in chunks
    )
    return mp4([png] * 4, size=(8192, 8192), tables={b"stsd": sample_entry(8192, 8192, kind=b"png ")})


@hostile("media_rejected", "100000×1")
def picture_of_one_line(kit: Kit) -> bytes:
    """A picture of 100,000 × 1 pixels."""
    raw = ebml(0x2EB524, b"I420")
    size = ebml(0xE0, number(0xB0, 100_000), number(0xBA, 1), raw)
    return mkv([block(bytes(200_000), n * 40) for n in range(5)], tracks=mkv_track("V_UNCOMPRESSED", size, kind=1))


@hostile("media_rejected", "1×1")
def picture_of_one_pixel(kit: Kit) -> bytes:
    """A picture of 1 × 1 pixel."""
    return mp4([jpeg(0, 1, 1)] * 25, size=(1, 1))


@hostile("media_rejected", "65536×2304")
def pixels_like_hairs(kit: Kit) -> bytes:
    """Pixels 16 times as wide as high: 65,536 × 2,304 on the screen."""
    shape = box(b"pasp", struct.pack(">II", 16, 1))
    return mp4([jpeg(0, 4096, 2304)] * 3, size=(4096, 2304), tables={b"stsd": sample_entry(4096, 2304, shape)})


@hostile(ACCEPTED)
def pixels_of_no_shape(kit: Kit) -> bytes:
    """Pixels 4,294,967,295 times as wide as high: taken as square."""
    shape = box(b"pasp", struct.pack(">II", 0xFFFFFFFF, 1))
    return mp4(pictures(25), tables={b"stsd": sample_entry(SIDE, SIDE, shape)})


@hostile(ACCEPTED)
def turned_by_a_bit(kit: Kit) -> bytes:
    """A picture that is to be shown turned by 89.6 degrees."""
    matrix = (458, 65534, 0, -65534, 458, 0, 0, 0, 0x40000000)
    return mp4([jpeg(n, 64, 32) for n in range(25)], size=(64, 32), matrix=matrix)


@hostile(ACCEPTED)
def turned_askew(kit: Kit) -> bytes:
    """A picture that is to be shown turned by 30 degrees."""
    matrix = (56756, 32768, 0, -32768, 56756, 0, 0, 0, 0x40000000)
    return mp4([jpeg(n, 64, 32) for n in range(25)], size=(64, 32), matrix=matrix)


@hostile(ACCEPTED)
def mirrored_to_nothing(kit: Kit) -> bytes:
    """A picture whose matrix is all zeros."""
    return mp4(pictures(25), matrix=(0,) * 9)


@hostile(ACCEPTED)
def size_that_changes(kit: Kit) -> bytes:
    """A transport stream whose picture grows on the way."""
    h264 = ("-c:v", "libx264", "-preset", "ultrafast", "-an", "-muxdelay", "0")
    return kit.film("ts", *h264) + kit.film("ts", *h264, "-output_ts_offset", "1", size="320x180")


@hostile("media_rejected", "encrypted")
def encrypted(kit: Kit) -> bytes:
    """A film under Common Encryption without its key."""
    key = "0123456789abcdef0123456789abcdef"
    return kit.film("mp4", "-c:v", "libx264", "-preset", "ultrafast", "-c:a", "aac", "-encryption_scheme",
                    "cenc-aes-ctr", "-encryption_key", key, "-encryption_kid", key)  # fmt: skip


@hostile("not_a_video")
def pictures_of_noise(kit: Kit) -> bytes:
    """A right index over pictures that are noise."""
    dice = random.Random(6)
    return mp4([dice.randbytes(2000) for _ in range(25)])


@hostile("media_rejected", "decoder")
def unknown_codec(kit: Kit) -> bytes:
    """Pictures in a coding that nobody knows."""
    return mp4(pictures(25), tables={b"stsd": sample_entry(SIDE, SIDE, kind=b"zzzz")})


@hostile(ACCEPTED)
def still_picture_of_avif(kit: Kit) -> bytes:
    """An AVIF picture, a cousin of MP4."""
    return kit.ffmpeg("avif", "-f", "lavfi", "-i", "testsrc2=size=64x64:duration=0.04", "-frames:v", "1",
                      "-c:v", "libaom-av1", "-cpu-used", "8")  # fmt: skip
