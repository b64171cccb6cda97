"""QR codes are drawn from one text alike for pictures, pages and terminals."""

from __future__ import annotations

import struct
import zlib

import pytest
import segno

from timer_service.errors import GatewayFailed
from timer_service.qr_drawing import draw_lines, draw_png, draw_svg

TEXT = f"2@FAKE,{'A' * 120},{'B' * 44},{'C' * 44}"
MODULES = [[bool(module) for module in row] for row in segno.make_qr(TEXT, error="l").matrix]
SIZE = len(MODULES)


def modules_of_lines(lines: list[str], *, ink_is_dark: bool) -> list[list[bool]]:
    """Read lines of half blocks back into modules, without their quiet zone."""
    rows = []
    for line in lines:
        rows.append([character in "█▀" for character in line])
        rows.append([character in "█▄" for character in line])
    dark = [[ink is ink_is_dark for ink in row] for row in rows]
    margin = dark[:2] + dark[SIZE + 2 :] + [row[:2] + row[SIZE + 2 :] for row in dark]
    assert not any(any(row) for row in margin)
    return [row[2 : SIZE + 2] for row in dark[2 : SIZE + 2]]


def modules_of_png(png: bytes) -> tuple[int, list[list[bool]]]:
    """Read a greyscale or palette PNG of one bit a pixel; return its width and the modules."""
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    chunks, at = {}, 8
    while at < len(png):
        (length,) = struct.unpack(">I", png[at : at + 4])
        chunks[png[at + 4 : at + 8]] = png[at + 8 : at + 8 + length]
        at += length + 12
    width, height, depth = struct.unpack(">IIB", chunks[b"IHDR"][:9])
    assert (width, depth) == (height, 1)
    raw, stride = zlib.decompress(chunks[b"IDAT"]), (width + 7) // 8 + 1
    rows: list[bytes] = []
    for nth in range(height):
        how, row = raw[nth * stride], raw[nth * stride + 1 : (nth + 1) * stride]
        assert how in {0, 2}  # as it is, or what differs from the row above
        above = rows[-1] if how else bytes(len(row))
        rows.append(bytes((one + other) % 256 for one, other in zip(row, above, strict=True)))
    first = (4 * 8) + 4  # the middle of the first module behind the quiet zone
    return width, [
        [not (rows[y][x // 8] >> (7 - x % 8)) & 1 for x in range(first, first + 8 * SIZE, 8)]
        for y in range(first, first + 8 * SIZE, 8)
    ]


@pytest.mark.parametrize("is_dark_on_light", [True, False])
def test_a_terminal_shows_the_codes_modules_in_either_colours(*, is_dark_on_light: bool) -> None:
    lines = draw_lines(TEXT, is_dark_on_light=is_dark_on_light)
    assert modules_of_lines(lines, ink_is_dark=is_dark_on_light) == MODULES
    assert len({len(line) for line in lines}) == 1
    assert len(lines[0]) <= 80


def test_a_picture_shows_the_codes_modules_with_a_quiet_zone_of_four() -> None:
    width, modules = modules_of_png(draw_png(TEXT))
    assert width == (SIZE + 8) * 8
    assert modules == MODULES


def test_a_page_shows_it_dark_on_white() -> None:
    svg = draw_svg(TEXT)
    assert svg.startswith("<svg ")
    assert f'viewBox="0 0 {(SIZE + 8) * 8} {(SIZE + 8) * 8}"' in svg
    assert "white" in svg or "#fff" in svg
    assert "<script" not in draw_svg("</svg><script>alert(1)</script>")


def test_a_text_that_fits_no_code_is_the_gateways_fault() -> None:
    for draw in (draw_png, draw_svg, lambda text: draw_lines(text, is_dark_on_light=True)):
        with pytest.raises(GatewayFailed):
            draw("x" * 3_000)
