"""What machines start from: the images in a folder of the operator's."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass

SIGNS = ("marker", "agent", "message", "none")
FORMATS = {".qcow2": "qcow2", ".raw": "raw", ".img": "raw"}


class ImageError(Exception):
    """There is no such image, or its description is wrong."""


@dataclass
class Image:
    """``NAME.json`` beside ``NAME.qcow2``, ``.raw`` or ``.img`` says more about it; all in it may be left out."""

    disk: str = ""
    format: str = ""
    kernel: str = ""
    """A kernel to start directly; with an ``initrd`` the image needs no disk."""
    initrd: str = ""
    cmdline: str = ""
    memory_mib: int = 0
    sign: str = "marker"
    """That it is up: ``marker`` (our boot script's line on the console, for images with cloud-init), ``agent`` (the
    guest agent answers), ``message`` (that text on the console), ``none``."""
    message: str = ""


def find_image(folder: str, name: str) -> Image:
    """The image of that name. Raises ``ImageError``."""
    folder = os.path.realpath(folder)
    if not name:
        raise ImageError("a machine needs an image; give one")
    stem = os.path.realpath(os.path.join(folder, name))
    if not stem.startswith(folder + os.sep):
        raise ImageError(f"there is no image {name} in {folder}")
    image = Image()
    for ending, kind in FORMATS.items():
        if os.path.isfile(stem + ending):
            image.disk, image.format = stem + ending, kind
            break
    if os.path.isfile(stem + ".json"):
        _describe(image, stem + ".json")
    if not image.disk and not image.kernel:
        raise ImageError(f"there is no image {name} in {folder}; give NAME.qcow2 or NAME.raw there, or NAME.json")
    return image


def _describe(image: Image, path: str) -> None:
    try:
        with open(path) as file:
            found = json.load(file)
    except (OSError, ValueError) as error:
        raise ImageError(f"{path} cannot be read: {error}") from None
    if not isinstance(found, dict):
        raise ImageError(f"{path} must be an object")
    for key, value in found.items():
        if key not in Image.__dataclass_fields__ or key in ("disk", "format"):
            raise ImageError(f"{path} has {key}, which means nothing here")
        if type(value) is not type(getattr(image, key)):
            raise ImageError(f"{path} has a {key} that is no {type(getattr(image, key)).__name__}")
        if key in ("kernel", "initrd"):
            value = os.path.realpath(os.path.join(os.path.dirname(path), value))
            if not os.path.isfile(value):
                raise ImageError(f"{path} names {value}, which is not there")
        setattr(image, key, value)
    if image.sign not in SIGNS or (image.sign == "message" and not image.message):
        raise ImageError(f"{path} must have a sign of {', '.join(SIGNS)}, and a message for that one")
