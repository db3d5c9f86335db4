"""Folders of pictures: layouts, pixels against torchvision's, what is kept of them, and what is refused."""

import json
import logging
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import datasets, transforms
from torchvision.datasets.folder import IMG_EXTENSIONS

from experiments.data import packed
from experiments.data.pictures import EXTENSIONS, image_folder
from experiments.data.sources import Source
from tests.helpers import SHARED_DATA

CIFAR = SHARED_DATA / "cifar10-jpeg-12k.zip"
needs_cifar = pytest.mark.skipif(not CIFAR.exists(), reason="the CIFAR-10 pictures are not on this machine")
COLOURS = {"red": (250, 10, 10), "green": (10, 250, 10), "blue": (10, 10, 250)}


def noise(width: int = 12, height: int = 10, seed: int = 0, mode: str = "RGB") -> Image.Image:
    """A picture of random colours, a few pixels each."""
    drawn = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(drawn).convert(mode)


def save(picture: Image.Image, path: Path, **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path, **options)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two classes of 10 PNGs, all different."""
    root = tmp_path / "photos"
    for number in range(20):
        save(noise(seed=number), root / ("cat", "dog")[number % 2] / f"{number:02}.png")
    return root


@pytest.fixture
def load(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Callable[..., Source]:
    """Call `image_folder` with a cache of its own."""
    caplog.set_level(logging.INFO, logger="experiments")

    def loaded(path: Path, size: int = 8, **settings: object) -> Source:
        return image_folder(str(path), size, str(tmp_path / "cache"), **settings)  # type: ignore[arg-type]

    return loaded


def kept(tmp_path: Path) -> Path:
    """The one folder in the cache."""
    (found,) = (tmp_path / "cache").iterdir()
    return found


def never(*_arguments: object) -> None:
    raise AssertionError("a picture is decoded again")


def through_torchvision(path: Path, size: int) -> torch.Tensor:
    with Image.open(path) as picture:
        pixels = transforms.Compose([transforms.Resize(size), transforms.CenterCrop(size)])(picture.convert("RGB"))
    return torch.from_numpy(np.array(pixels)).permute(2, 0, 1)


def same(one: Source, other: Source) -> bool:
    names = ("x_train", "y_train", "x_test", "y_test")
    return all(torch.equal(getattr(one, name), getattr(other, name)) for name in names)


def test_extensions_are_torchvisions_and_further_ones_that_pil_reads() -> None:
    assert EXTENSIONS[: len(IMG_EXTENSIONS)] == IMG_EXTENSIONS
    assert set(EXTENSIONS) <= Image.registered_extensions().keys()


@needs_cifar
def test_real_photographs_equal_torchvisions(tmp_path: Path, load: Callable[..., Source]) -> None:
    with zipfile.ZipFile(CIFAR) as archive:
        names = archive.namelist()
        archive.extractall(tmp_path / "cifar", [n for n in names if n.startswith("train/")][::100])
        archive.extractall(tmp_path / "cifar", [n for n in names if n.startswith("test/")][::50])
    source = load(tmp_path / "cifar", 32)
    assert source.mapped
    for part, x, y in (("train", source.x_train, source.y_train), ("test", source.x_test, source.y_test)):
        reference = datasets.ImageFolder(str(tmp_path / "cifar" / part))
        assert source.classes == reference.classes
        assert y.tolist() == reference.targets
        assert len(x) == (100 if part == "train" else 40)
        assert all(
            np.array_equal(pixels.permute(1, 2, 0), np.asarray(picture))
            for pixels, (picture, _) in zip(x, reference, strict=True)
        )


@pytest.mark.parametrize("size", [1, 7, 8, 33, 64])
@pytest.mark.parametrize("shape", [(33, 50), (51, 34), (8, 8), (5, 90), (64, 65)])
def test_pixels_equal_torchvisions(tmp_path: Path, shape: tuple[int, int], size: int) -> None:
    path = save(noise(*shape), tmp_path / "a.png")
    pixels, mode, _ = packed.decoded(str(path), size)
    assert mode == "RGB"
    assert np.array_equal(pixels, through_torchvision(path, size).numpy())


def test_a_folder_is_always_divided_in_the_same_way(folder: Path, load: Callable[..., Source]) -> None:
    source = load(folder)
    assert source.classes == ["cat", "dog"]
    assert source.x_train.shape == (16, 3, 8, 8)
    assert source.y_test.tolist() == [0, 0, 1, 1]  # in the order of the files, which are read faster so
    assert source.y_train.tolist() == [0] * 8 + [1] * 8
    expected = {through_torchvision(path, 8).numpy().tobytes(): path.parent.name for path in folder.rglob("*.png")}
    x, y = torch.cat([source.x_train, source.x_test]), torch.cat([source.y_train, source.y_test])
    found = {pixels.numpy().tobytes(): source.classes[label] for pixels, label in zip(x, y.tolist(), strict=True)}
    assert found == expected  # each once, with its own class
    shutil.rmtree(folder.parent / "cache")
    torch.manual_seed(5)
    assert same(load(folder), source)
    assert len(load(folder, test_fraction=0.5).x_test) == 10


def test_nested_folders_belong_to_their_class_and_hidden_and_foreign_files_to_none(
    folder: Path, load: Callable[..., Source]
) -> None:
    save(noise(seed=50), folder / "cat" / "young" / "a" / "50.JPG", format="PNG")
    for name in ("cat/._00.png", "cat/notes.txt", ".thumbnails/1.png", "stray.png"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"no picture")
    (folder / "cat" / "again").symlink_to(folder)
    source = load(folder)
    assert source.classes == ["cat", "dog"]
    assert len(source.y_train) + len(source.y_test) == 21


def test_a_link_to_a_folder_above_adds_no_test_picture_to_training(tmp_path: Path, load: Callable[..., Source]) -> None:
    root = picture_folder(tmp_path / "photos", *(f"{part}/{name}" for part in ("train", "test") for name in PAIRS))
    (root / "train" / "a" / "again").symlink_to(root)
    assert len(load(root).x_train) == 4


@pytest.mark.parametrize(("threads", "size"), [(1, 8), (3, 8), (3, 300)])
def test_threads_change_nothing(
    folder: Path, load: Callable[..., Source], monkeypatch: pytest.MonkeyPatch, threads: int, size: int
) -> None:
    for number in range(60):
        save(noise(seed=100 + number), folder / "cat" / f"{number + 100}.png")
    monkeypatch.setattr(packed, "_threads", lambda _pictures: threads)
    source = load(folder, size)
    monkeypatch.setattr(packed, "_threads", lambda _pictures: 1)
    shutil.rmtree(folder.parent / "cache")
    assert same(load(folder, size), source)


def test_later_starts_decode_nothing(
    folder: Path, load: Callable[..., Source], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = load(folder)
    monkeypatch.setattr(packed, "decoded", never)
    assert same(load(folder), first)
    with pytest.raises(ValueError, match="a picture is decoded again"):
        load(folder, 9)


def touched(folder: Path) -> None:
    path = folder / "cat" / "00.png"
    os.utime(path, ns=(1, 1))


@pytest.mark.parametrize(
    ("change", "count"),
    [
        (lambda folder: save(noise(seed=99), folder / "dog" / "99.png"), 21),
        (lambda folder: (folder / "dog" / "01.png").unlink(), 19),
        (lambda folder: (folder / "dog" / "01.png").rename(folder / "cat" / "01.png"), 20),
        (touched, 20),
    ],
    ids=["added", "removed", "moved", "touched"],
)
def test_a_changed_folder_is_decoded_again_and_replaces_the_cache(
    folder: Path, tmp_path: Path, load: Callable[..., Source], change: Callable[[Path], object], count: int
) -> None:
    load(folder)
    before = kept(tmp_path)
    change(folder)
    source = load(folder)
    assert len(source.y_train) + len(source.y_test) == count
    assert kept(tmp_path) != before
    load(folder, 9)
    assert len(list((tmp_path / "cache").iterdir())) == 2  # other settings are kept beside


def changed_facts(**facts: object) -> Callable[[Path], None]:
    def change(place: Path) -> None:
        file = place / "facts.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), **facts}))

    return change


def cut(name: str) -> Callable[[Path], None]:
    def shorten(place: Path) -> None:
        content = (place / name).read_bytes()
        (place / name).write_bytes(content[: len(content) // 2])

    return shorten


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (changed_facts(version=0), "of another version"),
        (changed_facts(fingerprint="0" * 64), "damaged"),
        (cut("train.npy"), "damaged"),
        (cut("test_y.npy"), "damaged"),
        (cut("facts.json"), "damaged"),
        (lambda place: (place / "facts.json").unlink(), "damaged"),
        (lambda place: (place / "test.npy").unlink(), "damaged"),
        (lambda place: (place / "train.npy").write_bytes((place / "test.npy").read_bytes()), "damaged"),
    ],
    ids=["version", "fingerprint", "pixels", "labels", "facts", "no facts", "no test part", "wrong rows"],
)
def test_an_unusable_cache_is_created_again_with_a_note(
    folder: Path,
    tmp_path: Path,
    load: Callable[..., Source],
    caplog: pytest.LogCaptureFixture,
    damage: Callable[[Path], object],
    reason: str,
) -> None:
    pixels = load(folder).x_train.clone()
    assert not caplog.messages
    damage(kept(tmp_path))
    assert torch.equal(load(folder).x_train, pixels)
    message = f"The decoded pictures in {str(kept(tmp_path))!r} are {reason}, so the pictures are decoded again."
    assert caplog.messages == [message]
    caplog.clear()
    load(folder)
    assert not caplog.messages


@pytest.mark.parametrize("kind", [RuntimeError, KeyboardInterrupt])
def test_an_interruption_leaves_nothing(
    folder: Path,
    tmp_path: Path,
    load: Callable[..., Source],
    monkeypatch: pytest.MonkeyPatch,
    kind: type[BaseException],
) -> None:
    def stop(*_arguments: object) -> None:
        raise kind

    monkeypatch.setattr(packed, "_synced", stop)
    with pytest.raises(kind):
        load(folder)
    assert not list((tmp_path / "cache").iterdir())


def test_a_cache_that_cannot_be_written_is_named_with_the_remedy(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "full").write_text("a file where the folder should be")
    with pytest.raises(ValueError, match=r"^cache='.*full/kept': the packed pictures cannot be written to ") as error:
        image_folder(str(folder), 8, str(tmp_path / "full" / "kept"))
    assert "choose another folder with data.cache=<folder>" in str(error.value)


def test_leftovers_of_a_killed_process_are_removed_after_a_day(
    folder: Path, tmp_path: Path, load: Callable[..., Source]
) -> None:
    load(folder)
    old, recent, foreign = (
        tmp_path / "cache" / name
        for name in (f".photos-8-{'0' * 16}.{'0' * 32}", f".photos-8-{'0' * 16}.{'1' * 32}", "my own")
    )
    for left in (old, recent, foreign):
        left.mkdir()
        os.utime(left, (1, 1))
    os.utime(recent)
    touched(folder)
    load(folder)
    assert not old.exists()
    assert recent.exists()
    assert foreign.exists()


@pytest.mark.slow
def test_two_processes_may_pack_at_once(folder: Path, tmp_path: Path) -> None:
    code = (
        "import sys, time; from experiments.data.pictures import image_folder\n"
        "print(flush=True); sys.stdin.readline()\n"
        "for size in range(8, 24): print(image_folder(sys.argv[1], size, sys.argv[2]).x_train.sum().item())"
    )
    cache = tmp_path / "cache"
    for size in range(8, 24):  # what is damaged must be moved away, too
        image_folder(str(folder), size, str(cache))
    for place in cache.iterdir():
        (place / "facts.json").unlink()
    command = [sys.executable, "-c", code, str(folder), str(cache)]
    both = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    for process in both:
        assert process.stdout
        process.stdout.readline()
    for process in both:
        assert process.stdin
        process.stdin.write("\n")
        process.stdin.flush()
    sums = [process.communicate(timeout=60)[0].split() for process in both]
    assert [process.returncode for process in both] == [0, 0]
    expected = [str(int(image_folder(str(folder), size, str(cache)).x_train.sum())) for size in range(8, 24)]
    assert sums == [expected, expected]
    assert len(list(cache.iterdir())) == 16


def test_another_process_may_remove_the_damaged_cache_first(
    folder: Path, tmp_path: Path, load: Callable[..., Source], monkeypatch: pytest.MonkeyPatch
) -> None:
    load(folder)

    def removed_meanwhile(place: Path, _fingerprint: str) -> None:
        shutil.rmtree(place)
        raise packed.UnusableError("damaged")

    monkeypatch.setattr(packed, "read", lambda *_: None)  # as if there were none yet
    real, calls = packed._publish, []

    def publish(made: Path, place: Path, facts: packed.Facts) -> None:
        calls.append(place)
        monkeypatch.setattr(packed, "read", removed_meanwhile)
        real(made, place, facts)

    monkeypatch.setattr(packed, "_publish", publish)
    load(folder)
    assert calls == [kept(tmp_path)]


@pytest.mark.slow
def test_memory_does_not_grow_with_the_data(folder: Path, tmp_path: Path) -> None:
    code = """
import resource, sys
from pathlib import Path
from PIL import Image, ImageOps
import torch
from experiments.data.pictures import image_folder
held = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmData"))
limit = 1024 * int(held.split()[1]) + 48 * 2**20
resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
for _ in range(2):
    source = image_folder(sys.argv[1], 1200, sys.argv[2])
    print(source.x_train.nbytes + source.x_test.nbytes, source.x_train[3].sum().item() > 0)
try:
    source.x_train.clone()
except (RuntimeError, MemoryError):
    print("too large to copy")
"""
    command = [sys.executable, "-c", code, str(folder), str(tmp_path / "cache")]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=120, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    assert done.returncode == 0, done.stderr
    size = 20 * 3 * 1200 * 1200
    assert done.stdout.splitlines() == [f"{size} True"] * 2 + ["too large to copy"]


def wide(width: int = 12, height: int = 10) -> Image.Image:
    """A grey picture of 16 bits."""
    return Image.fromarray(np.random.default_rng(3).integers(0, 65536, (height, width), dtype=np.uint16))


MODES: dict[str, tuple[Image.Image, str, str | None, Callable[[Image.Image], Image.Image] | None]] = {
    "grey": (noise(mode="L"), "png", "L", lambda p: p.convert("RGB")),
    "two colours": (noise(mode="1"), "png", "1", lambda p: p.convert("RGB")),
    "grey with transparency": (noise(mode="LA"), "png", "LA", lambda p: p.convert("RGB")),
    "palette": (noise(mode="P"), "png", "P", lambda p: p.convert("RGB")),
    "transparency": (noise(mode="RGBA"), "png", "RGBA", lambda p: p.convert("RGB")),
    "print": (noise(mode="CMYK"), "jpg", "CMYK", None),
    "16 bit": (wide(), "png", "I;16", lambda p: Image.fromarray((np.asarray(p) // 256).astype(np.uint8))),
    "16 bit the other way": (
        Image.frombytes("I;16B", (12, 10), np.asarray(wide()).astype(">u2").tobytes()),
        "tif",
        "I;16B",
        lambda _: Image.fromarray((np.asarray(wide()) // 256).astype(np.uint8)),
    ),
    "floating point": (noise(mode="L").convert("F"), "tif", None, None),
}


@pytest.mark.parametrize("kind", [kind for kind, (_, _, mode, _) in MODES.items() if mode])
def test_every_colour_mode_becomes_bytes_in_one_or_three_channels(tmp_path: Path, kind: str) -> None:
    picture, extension, mode, plain = MODES[kind]
    path = save(picture, tmp_path / f"a.{extension}")
    pixels, found, _ = packed.decoded(str(path), 10)
    assert found == mode
    assert pixels.dtype == np.uint8
    with Image.open(path) as opened:
        expected = np.asarray((plain(opened) if plain else opened.convert("RGB")).convert("RGB"))[:, 1:11]
    assert np.array_equal(np.broadcast_to(pixels, (3, 10, 10)), expected.transpose(2, 0, 1))


def test_mixed_colour_modes_become_rgb_with_a_note_at_every_start(
    folder: Path, load: Callable[..., Source], caplog: pytest.LogCaptureFixture
) -> None:
    for kind in ("grey", "palette", "transparency", "16 bit"):
        save(MODES[kind][0], folder / "cat" / f"{kind}.png")
    assert load(folder).x_train.shape[1] == 3
    said = [
        f"The pictures in {str(folder)!r} are converted to RGB; their colour modes are "
        "20 RGB, 1 I;16, 1 L, 1 P, 1 RGBA.",
        f"The 16-bit grey pictures in {str(folder)!r} are scaled from 97 to 63,796 to bytes; "
        "'data.grey_range=[0,65535]' sets other values of black and white.",
    ]
    assert caplog.messages == said
    load(folder)
    assert caplog.messages == [*said, *said]


@pytest.mark.parametrize("also_wide", [False, True])
def test_grey_pictures_keep_one_channel(
    tmp_path: Path, load: Callable[..., Source], caplog: pytest.LogCaptureFixture, also_wide: bool
) -> None:
    for number in range(20):
        path = tmp_path / "photos" / "ab"[number % 2] / f"{number}.png"
        save(wide(9, 9) if also_wide and number == 0 else noise(9, 9, number, "L"), path)
    source = load(tmp_path / "photos", 9)
    assert source.x_train.shape == (16, 1, 9, 9)
    assert source.x_test.shape == (4, 1, 9, 9)
    expected = {np.asarray(noise(9, 9, number, "L")).tobytes() for number in range(also_wide, 20)}
    assert {x.numpy().tobytes() for x in torch.cat([source.x_train, source.x_test])} >= expected
    converted = [message.rpartition("converted to ")[2] for message in caplog.messages]
    assert converted[:1] == ["grey; their colour modes are 19 L, 1 I;16."] * also_wide
    assert ["scaled from 1,828 to 62,669 to bytes" in message for message in converted[1:]] == [True] * also_wide


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_exif_orientation_is_honoured(tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture = Image.new("RGB", (16, 16), COLOURS["red"])
    picture.paste(COLOURS["blue"], (0, 0, 8, 8))
    path = save(picture, tmp_path / "a.jpg", exif=exif, quality=95, subsampling=0)
    pixels, _, _ = packed.decoded(str(path), 16)
    corner = {1: (0, 0), 2: (0, 1), 3: (1, 1), 4: (1, 0), 5: (0, 0), 6: (0, 1), 7: (1, 1), 8: (1, 0)}[orientation]
    blue = pixels[2].reshape(2, 8, 2, 8).mean((1, 3)) > 128
    assert np.argwhere(blue & (pixels[0].reshape(2, 8, 2, 8).mean((1, 3)) < 128)).tolist() == [list(corner)]


@pytest.mark.parametrize("extension", ["webp", "tif", "png"])
def test_the_first_picture_of_an_animation_is_used(tmp_path: Path, extension: str) -> None:
    first, second = (Image.new("RGB", (8, 8), COLOURS[name]) for name in ("red", "blue"))
    options = {"lossless": True} if extension == "webp" else {}
    path = save(first, tmp_path / f"a.{extension}", save_all=True, append_images=[second], **options)
    pixels, _, _ = packed.decoded(str(path), 8)
    assert pixels[:, 0, 0].tolist() == list(COLOURS["red"])


def truncated(path: Path) -> None:
    save(noise(200, 200), path)
    path.write_bytes(path.read_bytes()[:2000])


def bomb(path: Path) -> None:
    """A file of a few bytes that declares 40,000 x 40,000 pixels."""
    path.write_bytes(b"P6 40000 40000 255\n")


BROKEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "zero bytes": (lambda path: path.touch(), "the file is empty"),
    "text": (lambda path: path.write_text("no picture"), "its format is unknown"),
    "truncated": (truncated, "truncated"),
    "link to nothing": (lambda path: path.symlink_to("nowhere"), "No such file"),
    "bomb": (bomb, "it has too many pixels"),
    "floating point": (lambda path: save(MODES["floating point"][0], path, format="TIFF"), "floating-point"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_picture_that_cannot_be_read_is_named_or_left_out(
    folder: Path, tmp_path: Path, load: Callable[..., Source], caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    sound = load(folder, test_fraction=0.3)
    shutil.rmtree(tmp_path / "cache")
    make, reason = BROKEN[kind]
    make(folder / "cat" / "zz.png")
    remedy = r"repair or remove it, or leave out all such pictures with data\.skip_unreadable=true"
    refusal = rf"^path='.*photos' contains a picture that cannot be read, 'cat/zz\.png' \(.*{reason}.*\); {remedy}$"
    with pytest.raises(ValueError, match=refusal):
        load(folder)
    assert not list((tmp_path / "cache").iterdir())
    assert not caplog.messages
    for _ in range(2):
        source = load(folder, skip_unreadable=True)
        assert len(source.y_train) + len(source.y_test) == len(sound.y_train) + len(sound.y_test)
    said = f"1 picture in {str(folder)!r} cannot be read and is left out: 'cat/zz.png'."
    assert caplog.messages == [said, said]
    with pytest.raises(ValueError, match=refusal):  # what was kept lacks it
        load(folder)


def test_a_picture_that_was_repaired_is_used_after_the_setting_changes(
    folder: Path, load: Callable[..., Source], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = folder / "cat" / "00.png"
    content, changed = path.read_bytes(), path.stat().st_mtime_ns
    path.write_bytes(bytes(len(content)))
    os.utime(path, ns=(changed, changed))
    lacking = load(folder, skip_unreadable=True)
    assert len(lacking.x_train) + len(lacking.x_test) == 19
    path.write_bytes(content)
    os.utime(path, ns=(changed, changed))
    load(folder)
    monkeypatch.setattr(packed, "decoded", never)
    assert len(load(folder).x_train) == 16


def test_only_the_first_of_many_unreadable_pictures_are_named(
    folder: Path, load: Callable[..., Source], caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(5):
        (folder / "dog" / f"x{number}.jpg").touch()
    load(folder, skip_unreadable=True)
    names = "'dog/x0.jpg', 'dog/x1.jpg', 'dog/x2.jpg' and 2 more"
    assert caplog.messages == [f"5 pictures in {str(folder)!r} cannot be read and are left out: {names}."]


def picture_folder(root: Path, *names: str) -> Path:
    """A folder with pictures of these names; those that end in ! are empty files."""
    root.mkdir()
    for number, name in enumerate(names):
        if name.endswith("/"):
            (root / name).mkdir(parents=True)
        elif name.endswith("!"):
            (root / name[:-1]).parent.mkdir(parents=True, exist_ok=True)
            (root / name[:-1]).touch()
        else:
            save(noise(seed=number), root / name)
    return root


PAIRS = ("a/1.png", "a/2.png", "b/1.png", "b/2.png")
REFUSED: dict[str, tuple[tuple[str, ...], dict[str, Any], str]] = {
    "nothing": ((), {}, "path=.* has no sub-folder with pictures; it needs one for each class"),
    "no folder": (("1.png", "2.png"), {}, "path=.* has no sub-folder with pictures"),
    "empty folders": (("a/", "b/"), {}, "path=.* has no sub-folder with pictures"),
    "one class": (("a/1.png", "a/2.png"), {}, "path=.* has only one class, 'a'; at least two are needed"),
    "an empty class": ((*PAIRS, "c/"), {}, "path=.* has no picture of the class 'c'; a class needs at least two"),
    "one example": ((*PAIRS, "c/1.png"), {}, "path=.* has only one picture of the class 'c'; a class needs"),
    "one example in train": (
        ("train/a/1.png", "train/a/2.png", "train/b/1.png", "test/a/1.png", "test/b/1.png"),
        {},
        "path=.* has only one picture of the class 'b' in 'train'; a class needs at least two",
    ),
    "another class in test": (
        (*(f"{part}/{name}" for part in ("train", "test") for name in PAIRS), "test/c/1.png"),
        {},
        "path=.* has pictures of the class 'c' in 'test' but not in 'train'; both must",
    ),
    "a class less in test": (
        (*(f"train/{name}" for name in PAIRS), "test/a/1.png"),
        {},
        "path=.* has pictures of the class 'b' in 'train' but not in 'test'; both must",
    ),
    "only train": (
        tuple(f"train/{name}" for name in PAIRS),
        {},
        "path=.* has classes in its folder 'train' but not in 'test'; .* give path='.*train'",
    ),
    "test without classes": (
        (*(f"train/{name}" for name in PAIRS), "test/1.png"),
        {},
        "path=.* has classes in its folder 'train' but not in 'test'; sort both",
    ),
    "too small a test part": (PAIRS, {"test_fraction": 0.1}, "test_fraction=0.1 leaves none of 4 pictures to test on"),
    "too large a test part": (
        PAIRS,
        {"test_fraction": 0.9},
        "test_fraction=0.9 leaves no picture of the class 'a' to train on; use a smaller fraction",
    ),
    "none to read": (
        ("a/1.png!", "a/2.png!", "b/1.png!", "b/2.png!"),
        {"skip_unreadable": True, "test_fraction": 0.5},
        r"path=.* has 4 pictures but none can be read; the first is 'a/1\.png' \(the file is empty\)",
    ),
    "one to read in a class": (
        (*PAIRS, "c/1.png!", "c/2.png"),
        {"skip_unreadable": True},
        "path=.* has only one picture of the class 'c', not counting 1 that cannot be read; a class needs",
    ),
    "none to read in test": (
        (*(f"train/{name}" for name in PAIRS), "test/a/1.png!", "test/b/1.png!"),
        {"skip_unreadable": True},
        "path=.* has no picture in 'test', not counting 2 that cannot be read",
    ),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_unsuitable_folders_are_refused(tmp_path: Path, load: Callable[..., Source], kind: str) -> None:
    names, settings, message = REFUSED[kind]
    with pytest.raises(ValueError, match=f"^{message}"):
        load(picture_folder(tmp_path / "photos", *names), **settings)
    assert not [*tmp_path.glob("cache/*")]


def test_a_missing_folder_and_a_file_are_refused(tmp_path: Path, load: Callable[..., Source]) -> None:
    with pytest.raises(ValueError, match=r"^path='.*absent' does not exist; give a folder with a sub-folder"):
        load(tmp_path / "absent")
    with pytest.raises(ValueError, match=r"^path='.*1\.png' is not a folder; give"):
        load(save(noise(), tmp_path / "1.png"))


def test_classes_may_be_called_train_and_test(tmp_path: Path, load: Callable[..., Source]) -> None:
    names = (f"{name}/{number}.png" for name in ("train", "test", "bus") for number in range(5))
    nested = ("train/fast/1.png", "test/young/1.png")
    assert load(picture_folder(tmp_path / "photos", *names, *nested)).classes == ["bus", "test", "train"]


def test_folders_next_to_train_and_test_are_named(
    tmp_path: Path, load: Callable[..., Source], caplog: pytest.LogCaptureFixture
) -> None:
    root = picture_folder(
        tmp_path / "photos", *(f"{part}/{name}" for part in ("train", "more", "test") for name in PAIRS)
    )
    assert load(root).classes == ["a", "b"]
    message = f"The following folders in {str(root)!r} are not used, only train and test are: 'more'."
    assert caplog.messages == [message]


def test_a_cache_among_the_pictures_is_refused(folder: Path) -> None:
    with pytest.raises(ValueError, match=r"^cache='.*photos/kept' is inside the folder of the pictures; give a folder"):
        image_folder(str(folder), 8, str(folder / "kept"))


def test_the_usual_cache_is_the_users(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    image_folder(str(folder), 8)
    assert len(list((tmp_path / "home" / ".cache" / "experiments").iterdir())) == 1
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    image_folder(str(folder), 8)
    assert len(list((tmp_path / "xdg" / "experiments").iterdir())) == 1


@pytest.mark.parametrize("terminal", [False, True])
def test_a_progress_bar_is_shown_only_on_a_terminal(
    folder: Path,
    load: Callable[..., Source],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    terminal: bool,
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal)
    load(folder)
    shown = capsys.readouterr()
    assert ("packing pictures" in shown.out) == terminal
    assert not shown.err
