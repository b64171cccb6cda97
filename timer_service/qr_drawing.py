"""Draws QR codes from their text: for pages, pictures and terminals. Knows no gateway."""

from __future__ import annotations

import io

import segno

from timer_service.messages import StatusReason
from timer_service.status_reasons import gateway_failed

_QUIET_ZONE = 4
_TERMINAL_QUIET_ZONE = 2
_SCALE = 8
_HALVES = {(True, True): "█", (True, False): "▀", (False, True): "▄", (False, False): " "}


def draw_png(text: str) -> bytes:
    """Draw a PNG, eight pixels a module, with the quiet zone scanners want.

    Raises:
        GatewayFailed: more than a QR code holds.
    """
    out = io.BytesIO()
    _make(text).save(out, kind="png", scale=_SCALE, border=_QUIET_ZONE)
    return out.getvalue()


def draw_svg(text: str) -> str:
    """Draw an SVG element for a page, dark on white whatever the page's colours.

    Raises:
        GatewayFailed: more than a QR code holds.
    """
    svg: str = _make(text).svg_inline(
        scale=_SCALE, border=_QUIET_ZONE, light="white", dark="black", omitsize=True
    )
    return svg


def draw_lines(text: str, *, is_dark_on_light: bool) -> list[str]:
    """Draw lines of half blocks, two modules a character.

    Dark modules are drawn for a terminal that is told to write dark on light, light ones for one
    that writes light on dark.

    Raises:
        GatewayFailed: more than a QR code holds.
    """
    rows = [
        [bool(module) is is_dark_on_light for module in row]
        for row in _make(text).matrix_iter(border=_TERMINAL_QUIET_ZONE)
    ]
    rows += [[not is_dark_on_light] * len(rows[0])] * (len(rows) % 2)
    pairs = zip(rows[::2], rows[1::2], strict=True)
    return ["".join(_HALVES[pair] for pair in zip(*both, strict=True)) for both in pairs]


def _make(text: str) -> segno.QRCode:
    try:
        return segno.make_qr(text, error="l")
    except ValueError:
        raise gateway_failed(StatusReason.NOT_UNDERSTOOD) from None
