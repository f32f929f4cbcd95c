"""The screenshots of the README are there, small, and those that the script takes."""

from __future__ import annotations

import struct

from examples.screenshots.make import SHOTS
from tests.support import HERE

FOLDER = HERE / "examples" / "screenshots"


def test_each_screenshot_is_there_in_its_size_and_small() -> None:
    assert {path.stem for path in FOLDER.glob("*.png")} == {shot.name for shot in SHOTS}
    for shot in SHOTS:
        data = (FOLDER / f"{shot.name}.png").read_bytes()
        assert struct.unpack(">II", data[16:24]) == (shot.width, shot.height)  # IHDR
        assert len(data) <= 80 * 1024
