"""An image made fit for the API: a JPEG of allowed sides and bytes. It runs in a process of its own (see `preparing`)."""

from __future__ import annotations

import io
from io import BufferedReader
from typing import TYPE_CHECKING, Final

from reconciler.core.sources import IMAGE_BYTES, IMAGE_SIDES, fit
from reconciler.workspace.flaws import Flaw
from reconciler.workspace.images import check_pixels, flawed, open_image, shown_as

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageFile import ImageFile

LARGEST: Final = 4096  # px: a longer side is of no use to a video of 1080 lines
_QUALITY: Final = 92
_SMALLER: Final = 0.8  # of the sides, until it is light enough
_TRIES: Final = 12
_REDUCIBLE: Final = frozenset({"L", "LA", "RGB", "RGBA", "CMYK"})  # whose pixels can be averaged


def reencode(source: BufferedReader) -> bytes:
    """Return an image as a JPEG that the API takes: turned as it is shown, on white, scaled only where it must be.

    Raises `Flaw` when it cannot be decoded, or does not get small enough.
    """
    check_pixels(source)
    with open_image(source) as opened, flawed("cannot be converted to a JPEG; export it again"):
        sides = fit(*opened.size, (IMAGE_SIDES[0], LARGEST))
        opened.draft(None, sides)  # a JPEG is not even decoded larger than it is needed
        opened.load()  # in a PNG, the camera's note may follow the pixels
        rotation, mirrored = shown_as(opened)
        image = _on_white(_upright(_nearer(opened, sides), rotation, mirrored=mirrored))
    if rotation % 180:
        sides = sides[::-1]
    for _ in range(_TRIES):
        data = _jpeg(image, sides)
        if len(data) <= IMAGE_BYTES:
            return data
        sides = fit(int(sides[0] * _SMALLER), int(sides[1] * _SMALLER), IMAGE_SIDES)
    raise Flaw("cannot be compressed to what the API takes")


def _nearer(opened: ImageFile, sides: tuple[int, int]) -> Image:
    """Return an image, of a moving one the first frame, not much larger than `sides`: the rest takes so much less memory."""
    factor = min(opened.width // sides[0], opened.height // sides[1])
    if factor > 1 and opened.mode in _REDUCIBLE and "transparency" not in opened.info:
        return opened.reduce(factor)
    return opened


def _upright(image: Image, rotation: int, *, mirrored: bool) -> Image:
    """Return an image as its camera says that it is shown."""
    from PIL.Image import Transpose

    image = image.transpose(Transpose.FLIP_LEFT_RIGHT) if mirrored else image
    return image.rotate(rotation, expand=True) if rotation else image


def _on_white(image: Image) -> Image:
    """Return an image without transparency."""
    from PIL import Image

    if image.mode.startswith("I"):  # 16 bits of grey; `convert` alone would make white of them
        image = image.convert("I").point(lambda grey: grey * (1 / 256)).convert("L")
    if "A" not in image.getbands() and "transparency" not in image.info:
        return image.convert("RGB")
    picture = image.convert("RGBA")
    white = Image.new("RGB", picture.size, "white")
    white.paste(picture, mask=picture.getchannel("A"))
    return white


def _jpeg(image: Image, sides: tuple[int, int]) -> bytes:
    from PIL.Image import Resampling

    scaled = image if image.size == sides else image.resize(sides, Resampling.LANCZOS)
    out = io.BytesIO()
    scaled.save(out, "JPEG", quality=_QUALITY, optimize=True)
    return out.getvalue()
