"""Draws `docs/demo.png` from a finished demonstration: what goes in, what the specs say, what comes out.

    make demo && .venv/bin/python docs/make_picture.py

The result frames are the simulator's films, as they lie on disk; nothing is touched up.
"""

from __future__ import annotations

import sys
from pathlib import Path

import av
import av.container
from PIL import Image, ImageDraw, ImageFont

WIDTH, HEIGHT, MARGIN = 1600, 868, 44
PAPER, CARD, INK, SOFT, LINE, ACCENT = (
    "#f6f5f1", "#ffffff", "#1f2933", "#66717d", "#d9d8d2", "#2f6f4f",
)  # fmt: skip
_CAPTION = (
    "Real files of `make demo`. The results are the SIMULATOR's rendering: it only moves the photograph. "
    "The paid service animates it."
)
_CREDITS = "Photograph: NASA, public domain. Film: © Blender Foundation, CC BY 3.0."
RESULTS = ("walk.std.mp4", "walk.pro.mp4", "wave.1.mp4", "wave.2.mp4")


def main() -> None:
    """Draw the picture out of the demonstration's folder (`demo`, or the one that is named)."""
    root = Path(__file__).resolve().parent.parent
    demo = Path(sys.argv[1]) if len(sys.argv) > 1 else root / "demo"
    picture = draw(demo / "specs").quantize(256, Image.Quantize.MEDIANCUT)
    picture.save(Path(__file__).with_name("demo.png"), optimize=True)


def draw(specs: Path) -> Image.Image:
    """Return the picture."""
    canvas = Image.new("RGB", (WIDTH, HEIGHT), PAPER)
    pen = ImageDraw.Draw(canvas)
    _heading(pen, MARGIN, "What you have", "a photograph and a film")
    photograph = Image.open(specs / "assets" / "astronaut.png").convert("RGB")
    _framed(canvas, photograph, (MARGIN, 130, 300, 300), "assets/astronaut.png")
    film, facts = _frame(specs / "assets" / "bigbuckbunny.mp4", 0.5)
    _framed(canvas, film, (MARGIN, 496, 300, 169), "assets/bigbuckbunny.mp4", facts)

    _heading(pen, 412, "What you write", "small text files in git")
    _card(pen, (412, 130, 520, 300), "specs/walk.yaml", specs / "walk.yaml")
    _card(pen, (412, 472, 520, 300), "specs/wave.yaml", specs / "wave.yaml")

    _heading(pen, 1000, "What you get", "each paid for once, saved, verified")
    for number, name in enumerate(RESULTS):
        frame, facts = _frame(specs / name, 0.4 + 1.1 * number)
        place = (1000 + 290 * (number % 2), 130 + 342 * (number // 2), 266, 266)
        _framed(canvas, frame, place, f"specs/{name}", facts)

    for x in (366, 952):
        for y in (280, 622):
            pen.polygon([(x, y - 10), (x, y + 10), (x + 20, y)], fill=ACCENT)
    pen.text((MARGIN, HEIGHT - 62), _CAPTION, font=_sans(17), fill=INK)
    pen.text((MARGIN, HEIGHT - 34), _CREDITS, font=_sans(14), fill=SOFT)
    return canvas


def _heading(pen: ImageDraw.ImageDraw, x: int, title: str, below: str) -> None:
    pen.text((x, 34), title, font=_sans(32, "-Bold"), fill=INK)
    pen.text((x, 80), below, font=_sans(19), fill=SOFT)


def _framed(
    canvas: Image.Image,
    image: Image.Image,
    place: tuple[int, int, int, int],
    name: str,
    facts: str = "",
) -> None:
    x, y, width, height = place
    canvas.paste(image.resize((width, height), Image.Resampling.LANCZOS), (x, y))
    pen = ImageDraw.Draw(canvas)
    pen.rectangle((x - 1, y - 1, x + width, y + height), outline=LINE)
    pen.text((x, y + height + 8), name, font=_mono(17), fill=INK)
    pen.text((x, y + height + 32), facts, font=_sans(15), fill=SOFT)


def _card(
    pen: ImageDraw.ImageDraw, place: tuple[int, int, int, int], title: str, file: Path
) -> None:
    x, y, width, height = place
    pen.rounded_rectangle((x, y, x + width, y + height), 10, fill=CARD, outline=LINE)
    pen.text((x + 20, y + 16), title, font=_mono(17, "-Bold"), fill=ACCENT)
    top = y + 54
    for line in file.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            key, colon, value = line.partition(":")
            pen.text((x + 20, top), key + colon, font=_mono(16), fill=SOFT)
            indent = pen.textlength(key + colon, font=_mono(16))
            pen.text((x + 20 + indent, top), value, font=_mono(16), fill=INK)
            top += 32


def _frame(path: Path, seconds: float) -> tuple[Image.Image, str]:
    """Return the frame at that time, and the film's sides and length in words."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        facts = f"{stream.width} × {stream.height}, {_seconds(container):.1f} s"
        for frame in container.decode(stream):
            if frame.time >= seconds:
                return frame.to_image(), facts  # type: ignore[no-untyped-call]
    raise SystemExit(f"{path} is shorter than {seconds} s")


def _seconds(container: av.container.InputContainer) -> float:
    return (container.duration or 0) / 1e6


def _sans(size: int, style: str = "") -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return _font(f"DejaVuSans{style}.ttf", size)


def _mono(size: int, style: str = "") -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return _font(f"DejaVuSansMono{style}.ttf", size)


def _font(name: str, size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    try:
        return ImageFont.truetype(name, size)
    except OSError:
        return ImageFont.load_default(size)


if __name__ == "__main__":
    main()
