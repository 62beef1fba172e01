import io
import json
import os
import pickle
import struct
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from nogan.common.errors import UserError
from nogan.data import images
from nogan.data.images import BadImage, decode, is_gray
from nogan.data.sources import (
    FolderSource,
    HubSource,
    PreparedSource,
    dividing,
    fingerprint,
    hub_imagenet,
    ilsvrc_folder,
    load_batch,
    open_held_out,
    open_source,
    shuffled,
    split,
    subset,
)
from nogan.data.sources.base import short_digest

ORANGE = (230, 120, 40)


def picture(width: int, height: int, key: int = 0) -> Image.Image:
    """Soft colored blobs, as a photograph would have."""
    grid = np.random.default_rng(key).integers(0, 256, (5, 5, 3), dtype=np.uint8)
    return Image.fromarray(grid).resize((width, height), Image.Resampling.BICUBIC)


def encoded(image: Image.Image, kind: str = "JPEG", **options) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def jpeg(width: int, height: int, key: int = 0) -> bytes:
    return encoded(picture(width, height, key), quality=95)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Six photographs of several sizes, two of them unreadable (b/3.jpg and c.png)."""
    for name, size in {"a/1.jpg": (90, 60), "a/2.JPEG": (60, 130), "b/4.png": (50, 50), "d.jpg": (400, 300)}.items():
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded(picture(*size, key=len(name)), "PNG" if name.endswith("png") else "JPEG"))
    (tmp_path / "photos/b/3.jpg").write_bytes(jpeg(200, 200)[:900])
    (tmp_path / "photos/c.png").write_bytes(b"")
    return tmp_path / "photos"


# ------------------------------------------------------------------------------------------------ dividing


def test_a_split_is_disjoint_whole_and_the_same_in_every_run():
    parts = split(range(1000), 7, val_share=0.1, reals_share=0.25)
    assert [len(part) for part in parts] == [650, 250, 100]
    assert sorted(np.concatenate(parts).tolist()) == list(range(1000))
    assert all(np.array_equal(*pair) for pair in zip(parts, split(range(1000), 7, 0.1, 0.25), strict=True))
    assert not np.array_equal(parts.val, split(range(1000), 8, 0.1, 0.25).val)
    assert parts.val[:5].tolist() == [720, 348, 84, 588, 251]  # as it was when runs were first split


class Named(list):
    """A source that only has names."""

    def name(self, index: int) -> str:
        return self[index]


@pytest.mark.parametrize("gone", [0, 7, 199])
def test_one_photograph_more_or_less_moves_at_most_one_other_into_each_part(gone):
    names = [f"album/{number:03d}.jpg" for number in range(200)]
    fewer = names[:gone] + names[gone + 1 :]

    def parts(source: Named) -> list[set[str]]:
        return [{source[index] for index in part} for part in split(source, 0, 0.1, 0.2)]

    before, after = parts(Named(names)), parts(Named(fewer))
    assert [len(part) for part in before] == [140, 40, 20]  # as split_sizes() says
    for was, now in zip(before, after, strict=True):
        assert len(now - was) <= 1
    assert after[2] - before[2] <= before[1]  # what is newly held out has not been trained on


def test_photographs_of_one_name_are_spread_over_all_parts():
    parts = split(Named(["image.jpg"] * 1000), 0, 0.1, 0.2)
    assert sorted(np.concatenate(parts).tolist()) == list(range(1000))
    assert parts.val.min() < 100 and parts.val.max() > 900


@pytest.mark.parametrize("nested", [False, True])
def test_a_folder_is_in_the_order_of_its_paths(tmp_path, nested):
    files = ["a b/1.png", "a-b/2.png", "a/x.png", "a/é.png", "b/0.png", "é/1.png"]
    files += ["top.png", "a/sub/y.png", "a/sub-b/y.png", "a/z.png"] if nested else []
    for file in files:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).touch()
    source = FolderSource(tmp_path)
    assert [source.name(index) for index in range(len(source))] == sorted(files)


def test_names_are_the_same_to_digests_and_orders_however_many_are_in_memory(tmp_path, monkeypatch):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        for number in range(11):
            (tmp_path / folder / f"{number}.png").write_bytes(b"x" * number)
    source = FolderSource(tmp_path)
    names = "\0".join(source.name(index) for index in range(len(source))).encode()
    assert source.fingerprint()["names"] == short_digest(names)
    monkeypatch.setattr(source, "name", lambda index: f"{index % 5}")  # several of one name
    whole = shuffled(source, np.arange(22), "key")
    monkeypatch.setattr(dividing, "AT_ONCE", 4)
    assert shuffled(source, np.arange(22), "key").tolist() == whole.tolist()
    assert not len(shuffled(source, np.arange(0), "key"))


def test_a_fingerprint_tells_names_sizes_and_number(folder):
    def now() -> dict:
        return fingerprint(FolderSource(folder))

    first = now()
    assert first["photographs"] == 6 and first == now()
    (folder / "c.png").write_bytes(b"x")
    assert now() == {**first, "sizes": now()["sizes"]} != first
    (folder / "c.png").rename(folder / "cc.png")
    assert now()["names"] != first["names"]


def test_what_is_held_out_does_not_depend_on_how_many_are_the_critics():
    assert np.array_equal(split(range(500), 0, 0.1, 0.0).val, split(range(500), 0, 0.1, 0.3).val)


@pytest.mark.parametrize(
    ("length", "val", "reals", "key"),
    [
        (4, 0.1, 0.3, "data.val_share"),
        (10, 0.1, 0.01, "data.reals_share"),
        (10, 0.5, 0.5, "data.reals_share"),
        (0, 0, 0, "none"),
    ],
)
def test_a_split_that_leaves_a_part_empty_names_the_key(length, val, reals, key):
    with pytest.raises(UserError, match=key):
        split(range(length), 0, val, reals)


def test_a_share_is_a_fixed_subset_and_smaller_ones_are_inside_larger_ones():
    pool = np.arange(5000, 6000)
    part = subset(pool, 0.085, "fakes", 0)
    assert len(part) == 85 and len(set(part)) == 85 and set(part) <= set(pool)
    assert np.array_equal(part, subset(pool, 0.085, "fakes", 0))
    assert np.array_equal(part, subset(pool, 0.5, "fakes", 0)[:85])
    assert not np.array_equal(part, subset(pool, 0.085, "fakes", 1))
    assert sorted(subset(pool, 1.0, "all")) == list(pool)


def test_a_share_of_nothing_is_an_error():
    with pytest.raises(UserError, match=r"share of 0\.0001 of 100"):
        subset(np.arange(100), 0.0001, "gan")


# ------------------------------------------------------------------------------------------------ decoding


@pytest.mark.parametrize("turbo", [True, False], ids=["simplejpeg", "pillow"])
@pytest.mark.parametrize("size", [16, 64, 128, 192])
@pytest.mark.parametrize("shape", [(500, 375), (375, 500), (256, 341), (300, 100), (1024, 90), (257, 513), (40, 30)])
def test_the_shorter_side_is_from_size_to_twice_size(shape, size, turbo, monkeypatch):
    if not turbo:
        monkeypatch.setattr(images, "_simplejpeg", lambda: None)
    data = jpeg(*shape)
    height, width, _ = decode(data, size).shape
    assert min(height, width) <= 2 * size
    assert min(height, width) >= min(size, *shape)
    assert max(height, width) <= 2 * min(height, width)
    whole = decode(data).shape
    assert height / width == pytest.approx(whole[0] / whole[1], rel=0.06)


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_reducing_averages(kind):
    image = picture(640, 480, key=5)
    reduced = decode(encoded(image, kind), 60)
    expected = np.asarray(image.resize(reduced.shape[1::-1], Image.Resampling.BOX)).astype(int)
    assert np.abs(reduced - expected).mean() < 2.5
    stripes = np.zeros((480, 640, 3), np.uint8)
    stripes[:, ::2] = 255
    assert np.abs(decode(encoded(Image.fromarray(stripes), kind), 60).astype(int) - 127.5).max() < 20


def test_without_the_fast_decoder_pillow_gives_the_same(monkeypatch):
    data = jpeg(500, 375)
    fast = {size: decode(data, size).astype(int) for size in (None, 64, 192)}
    monkeypatch.setattr(images, "_simplejpeg", lambda: None)
    for size, pixels in fast.items():
        assert np.abs(pixels - decode(data, size)).max() <= 2


def oddities() -> dict[str, bytes]:
    """Plain orange in every kind of file that is not simply RGB."""
    plain = Image.new("RGB", (80, 60), ORANGE)
    palette = plain.quantize(4)
    transparent = plain.convert("RGBA")
    transparent.putalpha(255)
    other = Image.new("RGB", (80, 60), "blue")
    return {
        "CMYK JPEG": encoded(plain.convert("CMYK"), "JPEG", quality=95),
        "CMYK TIFF": encoded(plain.convert("CMYK"), "TIFF"),
        "palette PNG": encoded(palette, "PNG"),
        "palette GIF": encoded(palette, "GIF"),
        "opaque alpha PNG": encoded(transparent, "PNG"),
        "animated GIF": encoded(plain.quantize(4), "GIF", save_all=True, append_images=[other.quantize(4)]),
        "animated WebP": encoded(plain, "WEBP", save_all=True, append_images=[other], lossless=True),
        "progressive JPEG": encoded(plain, "JPEG", progressive=True, quality=95),
        "16-bit PNG": sixteen_bit_png(),
        "BMP": encoded(plain, "BMP"),
        "PNG named .jpg": encoded(plain, "PNG"),
    }


def sixteen_bit_png() -> bytes:
    """Pillow cannot write 16-bit RGB, so by hand: a PNG of 80x60 orange."""
    row = b"\0" + struct.pack(">3H", *(value * 257 for value in ORANGE)) * 80
    return png_of(80, 60, 16, row * 60)


def png_of(width: int, height: int, depth: int, rows: bytes) -> bytes:
    """A PNG with these ``rows`` of RGB, whatever its header says."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, depth, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


@pytest.mark.parametrize(("kind", "data"), oddities().items())
def test_every_kind_of_file_becomes_rgb(kind, data):
    pixels = decode(data, 64)
    assert pixels.shape == (60, 80, 3) and pixels.dtype == np.uint8
    assert np.abs(pixels.reshape(-1, 3).astype(int) - ORANGE).max() <= 4, kind


def test_transparency_lies_on_white():
    image = Image.new("RGBA", (40, 40), (255, 0, 0, 0))
    image.paste((0, 0, 255, 255), (0, 0, 20, 40))
    pixels = decode(encoded(image, "PNG"))
    assert pixels[20, 5].tolist() == [0, 0, 255] and pixels[20, 35].tolist() == [255, 255, 255]


@pytest.mark.parametrize("mode", ["I;16", "I", "F"])
def test_deep_gray_is_scaled_and_not_clipped(mode):
    ramp = np.tile(np.linspace(0, 65535, 256), (128, 1))
    image = Image.fromarray(ramp.astype({"I;16": np.uint16, "I": np.int32, "F": np.float32}[mode]))
    pixels = decode(encoded(image, "TIFF"))
    assert np.abs(pixels[0, :, 0].astype(int) - np.arange(256)).max() <= 1


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_a_photograph_is_turned_upright(kind):
    image = Image.new("RGB", (80, 60), "blue")
    image.paste((255, 0, 0), (0, 0, 80, 20))  # red above
    exif = Image.Exif()
    exif[0x0112] = 6  # "turn by 90° clockwise to show"
    pixels = decode(encoded(image, kind, exif=exif), 64)
    assert pixels.shape == (80, 60, 3)
    assert pixels[40, 55, 0] > 200 and pixels[40, 5, 2] > 200  # red at the right
    exif[0x0112] = 1
    assert decode(encoded(image, kind, exif=exif), 64).shape == (60, 80, 3)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "zero bytes"),
        (b"<html>not found</html>" * 50, "not an image"),
        (jpeg(300, 200)[:3000], "truncated"),
        (encoded(picture(300, 200), "PNG")[:3000], "truncated"),
        (b"\xff\xd8\xff\xe0" + bytes(500), "not an image"),
    ],
    ids=["empty", "html", "jpeg", "png", "magic only"],
)
@pytest.mark.parametrize("size", [None, 64])
def test_a_bad_file_says_why(data, reason, size):
    with pytest.raises(BadImage, match=reason):
        decode(data, size)


POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 64\n%%EndComments\n%%EOF\n"


def test_a_postscript_file_never_starts_a_program(tmp_path, monkeypatch):
    from PIL import EpsImagePlugin

    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *_, **__: pytest.fail("started"))
    with pytest.raises(BadImage, match="not an image"):
        decode(POSTSCRIPT, 64)


def test_a_decompression_bomb_is_refused_before_it_is_decoded(monkeypatch):
    from PIL import ImageFile

    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda *_: pytest.fail("decoded"))
    blank = jpeg(16, 16)
    start = blank.index(b"\xff\xc0") + 5  # height and width in its frame header
    for data in (png_of(8000, 8000, 8, bytes(24001)), blank[:start] + b"\xff\xf0\xff\xf0" + blank[start + 4 :]):
        with pytest.raises(BadImage, match="too large"):
            decode(data, 64)


def test_gray_is_told_from_color():
    gray = picture(120, 80).convert("L")
    assert is_gray(decode(encoded(gray)))
    assert is_gray(decode(encoded(gray.convert("RGB"), quality=60)))
    assert not is_gray(decode(jpeg(120, 80)))
    dull = np.asarray(gray.convert("RGB")).copy()
    dull[:20, :20] = (140, 120, 110)
    assert not is_gray(dull)


# ------------------------------------------------------------------------------------------------ batches


def test_a_batch_holds_each_photograph_at_its_own_size(folder):
    source = FolderSource(folder)
    good = [0, 1, 3, 5]
    batch = load_batch(source, good, 32)
    assert batch.images.dtype == torch.uint8 and batch.bad == []
    assert batch.images.shape == (4, 3, *batch.sizes.amax(0).tolist())
    for image, size, index in zip(batch.images, batch.sizes.tolist(), good, strict=True):
        expected = torch.from_numpy(source.load(index, 32).copy()).permute(2, 0, 1)
        assert size == list(expected.shape[1:])
        assert torch.equal(image[:, : size[0], : size[1]], expected)
        assert image[:, size[0] :].sum() == 0 and image[:, :, size[1] :].sum() == 0


def test_a_bad_photograph_is_replaced_by_the_same_one_each_time_and_named(folder):
    source = FolderSource(folder)
    assert [source.name(i) for i in (2, 4)] == ["b/3.jpg", "c.png"]
    batch = load_batch(source, [0, 2, 4], 32, pool=np.array([4, 5]))
    assert {entry.split(":")[0] for entry in batch.bad} == {"b/3.jpg", "c.png"}
    assert "b/3.jpg: truncated" in batch.bad and "c.png: zero bytes" in batch.bad
    again = load_batch(source, [0, 2, 4], 32, pool=np.array([4, 5]))
    assert torch.equal(batch.images, again.images) and batch.bad == again.bad
    only = torch.from_numpy(source.load(5, 32).copy()).permute(2, 0, 1)
    for row in (1, 2):  # index 5 is all that the pool can give
        assert torch.equal(batch.images[row, :, : only.shape[1], : only.shape[2]], only)


def test_without_a_pool_a_replacement_comes_from_the_batch(folder):
    source = FolderSource(folder)
    batch = load_batch(source, [0, 2], 32)
    assert torch.equal(batch.images[0], batch.images[1]) and len(batch.bad) >= 1


def test_nothing_readable_at_all_is_an_error(folder):
    with pytest.raises(UserError, match=r"in a row.*data\.path"):
        load_batch(FolderSource(folder), [2, 4], 32)


def test_gray_photographs_are_skipped_and_only_gray_ones_are_refused(folder):
    (folder / "c.png").write_bytes(encoded(picture(80, 60).convert("L"), "PNG"))
    source = FolderSource(folder)
    assert load_batch(source, [0, 4], 32, pool=np.array([0, 1])).bad == ["c.png: gray photograph"]
    with pytest.raises(UserError, match=r"in a row are gray.*data\.path.*c\.png") as refused:
        load_batch(source, [4], 32)
    assert len(str(refused.value).splitlines()) == 1


@pytest.mark.parametrize(("val", "said"), [("", "the same folder as"), ("a", "inside"), ("..", "around")])
def test_what_is_held_out_must_not_be_trained_on(folder, configure, val, said):
    data = configure("data=folder", f"data.path={folder}", f"data.val_path={folder / val}").data
    with pytest.raises(UserError, match=rf"data\.val_path=.* is {said} data\.path="):
        open_held_out(data)


class Steps(Dataset):
    """Each item is a whole batch, of one source after the other."""

    def __init__(self, *sources):
        self.sources = sources

    def __len__(self) -> int:
        return 4

    def __getitem__(self, step: int):
        source = self.sources[step % len(self.sources)]
        return load_batch(source, range(len(source)), 32)


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_workers_of_any_kind_deliver_batches_and_the_bad_names(folder, tmp_path, method):
    steps = Steps(FolderSource(folder), PreparedSource(tiny_copy(tmp_path / "copy", 20)))
    delivered = list(DataLoader(steps, batch_size=None, num_workers=1, multiprocessing_context=method))
    assert len(delivered) == 4
    for step, batch in enumerate(delivered):
        expected = steps[step]
        assert torch.equal(batch.images, expected.images) and torch.equal(batch.sizes, expected.sizes)
        assert list(batch.bad) == expected.bad and bool(expected.bad) == (step % 2 == 0)


# ------------------------------------------------------------------------------------------------ folders


def test_a_folder_lists_photographs_at_any_depth_in_one_order(folder):
    (folder / "notes.txt").write_text("no photograph")
    (folder / ".hidden.jpg").write_bytes(jpeg(8, 8))
    (folder / ".cache").mkdir()
    (folder / ".cache/thumb.jpg").write_bytes(jpeg(8, 8))
    source = FolderSource(str(folder))
    names = [source.name(index) for index in range(len(source))]
    assert names == ["a/1.jpg", "a/2.JPEG", "b/3.jpg", "b/4.png", "c.png", "d.jpg"]
    with pytest.raises(IndexError):
        source.name(6)


def test_links_are_followed_once(folder, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "5.jpg").write_bytes(jpeg(8, 8))
    (folder / "e").symlink_to(elsewhere)
    (folder / "f").symlink_to(elsewhere)
    (folder / "a/up").symlink_to(folder)
    source = FolderSource(folder)
    assert [source.name(i) for i in range(len(source))][-2:] == ["d.jpg", "e/5.jpg"] and len(source) == 7


def test_a_link_in_a_circle_is_one_bad_photograph_and_special_files_are_none(folder):
    (folder / "b/round.jpg").symlink_to("round.jpg")
    (folder / "b/round").symlink_to("round")
    (folder / "b/gone.jpg").symlink_to("nowhere")
    os.mkfifo(folder / "b/pipe.jpg")
    (folder / "b/zero.jpg").symlink_to("/dev/zero")
    source = FolderSource(folder)
    names = [source.name(index) for index in range(len(source))]
    assert names == ["a/1.jpg", "a/2.JPEG", "b/3.jpg", "b/4.png", "b/gone.jpg", "b/round.jpg", "c.png", "d.jpg"]
    for name, reason in {"b/round.jpg": "circle", "b/gone.jpg": "No such file"}.items():
        with pytest.raises(BadImage, match=reason):
            source.load(names.index(name), 32)
    with pytest.raises(BadImage, match="circle"):
        source.read(names.index("b/round.jpg"))  # so that `nogan prepare` leaves it out, too


def test_names_that_are_not_utf8_are_read_divided_and_named(folder):
    Path(os.fsdecode(os.fsencode(folder) + b"/\xff.jpg")).write_bytes(b"")
    source = FolderSource(folder)
    (odd,) = (index for index in range(len(source)) if not source.name(index).isprintable())
    bad = load_batch(source, [odd], 32, pool=np.array([0])).bad
    assert bad == [r"\xff.jpg: zero bytes"] and fingerprint(source)
    assert len(split(source, 0, 0.2, 0.2).train) == 5


def test_a_photograph_deleted_meanwhile_is_a_bad_one(folder):
    source = FolderSource(folder)
    (folder / "d.jpg").unlink()
    with pytest.raises(BadImage, match="No such file"):
        source.load(5, 32)
    with pytest.raises(FileNotFoundError):
        source.read(5)


def test_a_file_that_may_not_be_read_is_told_from_a_closed_folder(folder, monkeypatch):
    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    source = FolderSource(folder)
    monkeypatch.setattr(Path, "read_bytes", refuse)  # not by its mode: root may read any
    with pytest.raises(BadImage, match="Permission denied"):
        source.read(5)
    monkeypatch.setattr(Path, "stat", refuse)
    with pytest.raises(PermissionError):
        source.read(5)


@pytest.mark.parametrize("where", ["nowhere", "photos/d.jpg", "empty"])
def test_a_folder_without_photographs_is_an_error_that_names_the_key(folder, where):
    (folder.parent / "empty").mkdir()
    with pytest.raises(UserError, match=r"data\.path="):
        open_source("folder", folder.parent / where)


# ------------------------------------------------------------------------------------------------ ImageNet


@pytest.mark.parametrize("level", ["", "ILSVRC", "ILSVRC/Data", "ILSVRC/Data/CLS-LOC", "ILSVRC/Data/CLS-LOC/train"])
def test_the_ilsvrc_folders_are_found_from_any_level(tmp_path, level):
    for part, name in {
        "train/n01440764": "n01440764_1.JPEG",
        "train/n01443537": "n01443537_2.JPEG",
        "val": "v.JPEG",
    }.items():
        folder = tmp_path / "ILSVRC/Data/CLS-LOC" / part
        folder.mkdir(parents=True)
        (folder / name).write_bytes(jpeg(40, 30))
    source = open_source("imagenet", tmp_path / level)
    assert [source.name(i) for i in range(len(source))] == ["n01440764/n01440764_1.JPEG", "n01443537/n01443537_2.JPEG"]


def test_an_ordinary_folder_is_not_imagenet(folder):
    assert ilsvrc_folder(folder) is None


@pytest.mark.parametrize("path", [None, "nowhere", "."])
def test_without_imagenet_three_lines_say_what_to_do(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError) as error:
        open_source("imagenet", path)
    looked, point, built_in = str(error.value).splitlines()
    assert "ILSVRC/Data/CLS-LOC/train" in looked and (path is None or f"data.path={path}" in looked)
    assert "data.path=DIR" in point and "hf auth login" in point
    assert "nogan train experiment=quickstart" in built_in and "data=scenes" in built_in


def test_a_half_prepared_copy_says_how_to_finish_it(tmp_path):
    (tmp_path / "prepare.json").write_text("{}")
    with pytest.raises(UserError, match="finish it: `nogan prepare SRC "):
        open_source("imagenet", tmp_path)


def test_the_built_in_data_opens_without_a_path():
    source = open_source("scenes", images=5, seed=3)
    assert len(source) == 5 and source.load(0, 32).shape == (32, 32, 3)


def test_the_hub_gives_its_photographs_undecoded(folder, monkeypatch):
    import datasets

    files = [jpeg(300, 200), encoded(picture(60, 60), "PNG"), b"broken"]
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(3)})
    local = datasets.Dataset.from_dict(
        {"image": [{"bytes": data, "path": None} for data in files], "label": [0, 1, 2]}, features=features
    )
    asked = []
    monkeypatch.setattr(datasets, "load_dataset", lambda name, split: asked.append((name, split)) or local)
    source = open_source("imagenet", "hub")
    assert isinstance(source, HubSource) and asked == [("ILSVRC/imagenet-1k", "train")]
    assert len(source) == 3 and source.read(1) == files[1] and source.load(0, 64).shape == (100, 150, 3)
    batch = load_batch(pickle.loads(pickle.dumps(source)), [0, 1, 2], 64)
    assert batch.bad[0] == "row 2: not an image"
    before = fingerprint(source)
    assert fingerprint(open_source("imagenet", "hub")) == before and before["photographs"] == 3
    local.info.download_checksums = {"a.tar": {"num_bytes": 1, "checksum": None}}
    assert fingerprint(open_source("imagenet", "hub")) != before


@pytest.mark.parametrize(
    "error", [RuntimeError("Dataset 'x' is a gated dataset on the Hub.\nmore"), ConnectionError("")]
)
def test_a_hub_that_refuses_says_how_to_get_access(error, monkeypatch):
    import datasets

    def refuse(*_, **__):
        raise error

    monkeypatch.setattr(datasets, "load_dataset", refuse)
    with pytest.raises(UserError) as caught:
        hub_imagenet()
    first, access, instead = str(caught.value).splitlines()
    assert ("gated" if str(error) else "ConnectionError") in first and "more" not in first
    assert "https://huggingface.co/datasets/ILSVRC/imagenet-1k" in access and "hf auth login" in access
    assert "data.path=DIR" in instead and "data=scenes" in instead


# ------------------------------------------------------------------------------------------------ the prepared copy


def tiny_copy(dest: Path, rows: int, shard: int = 20_000) -> Path:
    """A prepared copy of ``rows`` tiny photographs, named by their number, whose red says it too."""
    import pyarrow as pa

    files = [encoded(Image.new("RGB", (8, 8), (red, 200, 60)), quality=95) for red in range(0, 256, 16)]
    image = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    schema = pa.schema([("image", image), ("name", pa.string())])
    dest.mkdir()
    names = []
    for start in range(0, rows, shard):
        names.append(f"data-{len(names):05d}.arrow")
        numbers = range(start, min(start + shard, rows))
        column = pa.StructArray.from_arrays(
            [pa.array([files[n % 16] for n in numbers]), pa.nulls(len(numbers), pa.string())], fields=list(image)
        )
        batch = pa.record_batch([column, pa.array([f"{n}.jpg" for n in numbers])], schema)
        with pa.OSFile(str(dest / names[-1]), "wb") as file, pa.ipc.new_stream(file, schema) as stream:
            for first in range(0, len(numbers), 1000):
                stream.write_batch(batch.slice(first, 1000))
    (dest / "state.json").write_text(json.dumps({"_data_files": [{"filename": name} for name in names]}))
    return dest


def test_every_row_is_where_its_index_says(tmp_path):
    source = open_source("imagenet", tiny_copy(tmp_path / "copy", 5_500, shard=2_100))
    assert isinstance(source, PreparedSource) and len(source) == 5_500
    for index in (0, 999, 1000, 2_099, 2_100, 4_199, 4_200, 5_499):
        assert source.name(index) == f"{index}.jpg"
        assert abs(int(source.load(np.int64(index), 64)[4, 4, 0]) - index % 16 * 16) <= 3
    for index in (-1, 5_500):
        with pytest.raises(IndexError):
            source.read(index)


def test_a_large_copy_opens_at_once_and_travels_by_its_path(tmp_path):
    def seconds(path: Path) -> float:
        began = time.process_time()
        PreparedSource(path)
        return time.process_time() - began

    path = tiny_copy(tmp_path / "copy", 200_000)
    assert min(seconds(path) for _ in range(5)) < 0.5  # a hundred times what it takes
    source = PreparedSource(path)
    assert len(source) == 200_000
    parcel = pickle.dumps(source)
    assert len(parcel) < 1_000 and pickle.loads(parcel).name(199_999) == "199999.jpg"


def test_a_copy_with_a_missing_or_broken_shard_says_so(tmp_path):
    path = tiny_copy(tmp_path / "copy", 10, shard=5)
    (path / "data-00001.arrow").write_bytes(b"not arrow")
    with pytest.raises(UserError, match="not a prepared copy that can be read"):
        PreparedSource(path)
    (path / "data-00001.arrow").unlink()
    with pytest.raises(UserError, match=r"data-00001\.arrow"):
        PreparedSource(path)


def test_any_saved_dataset_with_images_opens(tmp_path):
    import datasets

    features = datasets.Features({"image": datasets.Image(), "label": datasets.Value("int64")})
    rows = {"image": [{"bytes": jpeg(100, 80), "path": "x.jpg"}, None], "label": [1, 2]}
    saved = datasets.DatasetDict({"train": datasets.Dataset.from_dict(rows, features=features)})
    saved.save_to_disk(tmp_path / "saved")
    source = open_source("folder", tmp_path / "saved")
    assert len(source) == 2 and source.load(0, 64).shape == (80, 100, 3) and source.name(0) == "x.jpg"
    with pytest.raises(BadImage):
        source.load(1, 64)
