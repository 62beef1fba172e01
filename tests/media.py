"""Pictures, films and profiles that tests colorize."""

import io
import struct
from fractions import Fraction

import av
import cv2
import numpy as np
from PIL import Image

TIME_BASE = Fraction(1, 12800)


def photograph(height=60, width=90, seed=0):
    small = np.random.default_rng(seed).uniform(0, 255, (6, 9)).astype(np.float32)
    return cv2.resize(small, (width, height)).round().astype(np.uint8)


def teal_and_orange(gray):
    """A network with a known answer: dark is teal, light is orange."""
    return np.stack([gray, np.full_like(gray, 0.5), 1 - gray], axis=-1)


def flickering():
    """``teal_and_orange`` with a hue that jumps from frame to frame."""
    generator = np.random.default_rng(0)

    def run(gray):
        shift = generator.uniform(-0.2, 0.2, (len(gray), 1, 1)).astype(np.float32)
        return np.stack([gray + shift, np.full_like(gray, 0.5), 1 - gray - shift], axis=-1).clip(0, 1)

    return run


def moving_scene(frames, width, height):
    """A textured wall that slides by, gray."""
    wall = cv2.resize(np.random.default_rng(1).uniform(40, 220, (20, 60)).astype(np.float32), (480, 160))
    for index in range(frames):
        yield wall[20 : 20 + height, 10 + 2 * index : 10 + 2 * index + width].round().astype(np.uint8)


def make_film(
    path, frames=24, size=(96, 64), *, codec="libx264", pixel_format="yuv420p", irregular=False, start=0, sound=None,
    subtitles=False, chapters=False, rotation=0, full_range=False, matrix=None, aspect=None, interlaced=False,
):  # fmt: skip
    """Write a small film; returns the times of its frames."""
    generator, times, ticks = np.random.default_rng(2), [], start
    with av.open(path, "w") as film:
        video = film.add_stream(codec, rate=25, options={"crf": "4"} if codec == "libx264" else {})
        video.width, video.height, video.pix_fmt = *size, pixel_format
        video.codec_context.time_base = video.time_base = TIME_BASE
        if rotation:
            video.set_display_rotation(rotation)
        if aspect:
            video.codec_context.sample_aspect_ratio = aspect
        if full_range:
            video.codec_context.color_range = 2
        if matrix:
            video.codec_context.colorspace = matrix
        audio = film.add_stream(sound, rate=48000) if sound else None
        if audio:
            audio.layout = "mono"
            if sound.startswith("wma"):  # which has no usual one
                audio.codec_context.bit_rate = 64_000
        if subtitles:
            subtitle = film.add_mux_stream("subrip")
        if chapters:
            parts = [(0, 400, "The wall"), (400, 960, "Still the wall")]
            film.set_chapters(
                [
                    {"id": n, "start": a, "end": b, "time_base": Fraction(1, 1000), "metadata": {"title": title}}
                    for n, (a, b, title) in enumerate(parts)
                ]
            )
        film.metadata["title"] = "Wall"
        for gray in moving_scene(frames, *size):
            picture = av.VideoFrame.from_ndarray(gray, "gray").reformat(
                format=pixel_format, src_color_range="JPEG", dst_color_range="JPEG" if full_range else "MPEG"
            )
            picture.pts, picture.time_base = ticks, TIME_BASE
            times.append(ticks * TIME_BASE)
            ticks += int(generator.integers(300, 900)) if irregular else 512
            film.mux(video.encode(picture))
        film.mux(video.encode())
        if audio:
            wave = (np.sin(np.arange(int(48000 * ticks * TIME_BASE)) * 0.06) * 12000).astype(np.int16)
            audio_format = audio.codec_context.format.name
            samples = (wave / 32768).astype(np.float32) if audio_format == "fltp" else wave
            samples = ((wave >> 8) + 128).astype(np.uint8) if audio_format.startswith("u8") else samples
            for begin in range(0, len(samples), 1024):
                block = av.AudioFrame.from_ndarray(samples[None, begin : begin + 1024].copy(), audio_format, "mono")
                block.sample_rate, block.pts, block.time_base = 48000, begin, Fraction(1, 48000)
                film.mux(audio.encode(block))
            film.mux(audio.encode())
        if subtitles:
            line = av.Packet(b"Here is a wall.")
            line.stream, line.pts, line.dts, line.duration = subtitle, 100, 100, 500
            line.time_base = Fraction(1, 1000)
            film.mux(line)
    return times


def scene(height=40, width=60):
    """A picture with no symmetry, smooth enough for JPEG."""
    y, x = np.mgrid[:height, :width].astype(np.float64)
    return np.dstack([4 * x, 6 * y, 255 - 2 * x - 2 * y]).clip(0, 255).astype(np.uint8)


def gray16(height=40, width=60):
    y, x = np.mgrid[:height, :width]
    return (1000 * x + 37 * y).astype(np.uint16)


def jpeg():
    stream = io.BytesIO()
    Image.fromarray(scene(200, 300)).save(stream, "JPEG")
    return stream.getvalue()


ADOBE_RGB = (((0.60974, 0.31111, 0.01947), (0.20528, 0.62567, 0.06087), (0.14919, 0.06322, 0.74457)), 563 / 256)
PROPHOTO = (((0.79767, 0.28804, 0.0), (0.13519, 0.71188, 0.0), (0.03134, 0.00009, 0.82491)), 1.8)
"""Red, green and blue as XYZ under D50, and the exponent of the curve; the values that these spaces define."""


def gray_profile(gamma):
    """A minimal ICC profile of gray with a power curve."""
    return _profile(b"GRAY", [(b"kTRC", _curve(gamma))])


def rgb_profile(primaries, gamma):
    """A minimal ICC profile of RGB with one power curve, such as ``rgb_profile(*ADOBE_RGB)``."""
    colorants = [(name, _xyz(*color)) for name, color in zip((b"rXYZ", b"gXYZ", b"bXYZ"), primaries, strict=True)]
    return _profile(b"RGB ", [*colorants, *((name, _curve(gamma)) for name in (b"rTRC", b"gTRC", b"bTRC"))])


def _curve(gamma):
    return b"curv" + bytes(4) + struct.pack(">IH", 1, round(gamma * 256)) + bytes(2)


def _xyz(*values):
    return b"XYZ " + bytes(4) + struct.pack(">3i", *(round(value * 65536) for value in values))


def _profile(space, tags):
    white = b"XYZ " + bytes(4) + struct.pack(">3i", 63190, 65536, 54061)
    tags = [(b"wtpt", white), *tags]
    offset, table, body = 128 + 4 + 12 * len(tags), struct.pack(">I", len(tags)), b""
    for name, data in tags:
        table += name + struct.pack(">II", offset + len(body), len(data))
        body += data
    header = bytearray(128)
    header[0:4] = struct.pack(">I", offset + len(body))
    header[8:12], header[12:16], header[16:20], header[20:24] = b"\x02\x40\x00\x00", b"mntr", space, b"XYZ "
    header[36:40] = b"acsp"
    header[68:80] = struct.pack(">3i", 63190, 65536, 54061)
    return bytes(header) + table + body


def cmyk_profile():
    """A minimal ICC profile of CMYK: a table of two points an axis, from no ink (white) to all inks (black)."""
    points = np.array(np.meshgrid(*[[0, 1]] * 4, indexing="ij")).reshape(4, -1).T
    lightness = np.clip(1 - points @ [0.3, 0.5, 0.1, 1.0], 0, 1)
    lab = np.stack([lightness * 0xFF00, np.full(16, 0x8000), np.full(16, 0x8000)], axis=1).astype(">u2").tobytes()
    identity = struct.pack(">9i", 65536, 0, 0, 0, 65536, 0, 0, 0, 65536)
    curve = struct.pack(">2H", 0, 65535)
    table = b"mft2" + bytes(4) + bytes([4, 3, 2, 0]) + identity + struct.pack(">2H", 2, 2) + curve * 4 + lab + curve * 3
    white = b"XYZ " + bytes(4) + struct.pack(">3i", 63190, 65536, 54061)
    offset = 128 + 4 + 12 * 2
    entries = [(b"A2B0", offset, len(table)), (b"wtpt", offset + len(table), len(white))]
    body = struct.pack(">I", 2) + b"".join(name + struct.pack(">II", at, size) for name, at, size in entries)
    header = bytearray(128)
    header[0:4] = struct.pack(">I", 128 + len(body) + len(table) + len(white))
    header[8:12], header[12:16], header[16:20], header[20:24] = b"\x02\x40\x00\x00", b"prtr", b"CMYK", b"Lab "
    header[36:40] = b"acsp"
    header[68:80] = struct.pack(">3i", 63190, 65536, 54061)
    return bytes(header) + body + table + white
