"""Colours as the eye sees them, and what a page draws in a browser."""

from __future__ import annotations

import base64
import re
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from playwright.sync_api import Page as Tab

SIMULATED = {
    "all cones": [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.3039]],
}
"""Machado, Oliveira and Fernandes (2009), severity 1, of linear RGB."""
TO_XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.072175], [0.0193339, 0.119192, 0.9503041]]
)


def linear(color: str) -> np.ndarray:
    """`#rrggbb` as linear RGB."""
    values = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def contrast(first: str, second: str) -> float:
    """As WCAG 2 defines it."""
    dark, light = sorted(float(TO_XYZ[1] @ linear(color)) for color in (first, second))
    return (light + 0.05) / (dark + 0.05)


def lab(rgb: np.ndarray) -> np.ndarray:
    """CIELAB of linear RGB."""
    ratio = TO_XYZ @ rgb / [0.95047, 1, 1.08883]
    x, y, z = np.where(ratio > 216 / 24389, np.cbrt(ratio), (24389 / 27 * ratio + 16) / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def hexed(color: str) -> str:
    """A computed colour as `#rrggbb`."""
    return "#" + "".join(f"{int(number):02x}" for number in re.findall(r"\d+", color)[:3])


def pixels(tab: Tab, selector: str = "#chart canvas") -> np.ndarray:
    """What is drawn on a canvas, (height, width, 4)."""
    tab.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    width, height, content = tab.evaluate(
        "s => { const from = document.querySelector(s), c = new OffscreenCanvas(from.width, from.height);"
        "const pen = c.getContext('2d', { willReadFrequently: true }); pen.drawImage(from, 0, 0);"
        "const d = pen.getImageData(0, 0, c.width, c.height).data; let text = '';"
        "for (let i = 0; i < d.length; i += 32768) text += String.fromCharCode(...d.subarray(i, i + 32768));"
        "return [c.width, c.height, btoa(text)] }",
        selector,
    )
    return np.frombuffer(base64.b64decode(content), np.uint8).reshape(height, width, 4).astype(int)


def line_colors(tab: Tab) -> list[str]:
    """The colours of the groups' samples in the legend, in the present theme."""
    found = tab.locator(".group line").evaluate_all("lines => lines.map(line => getComputedStyle(line).stroke)")
    return [hexed(color) for color in found]


def groups_drawn(tab: Tab, selector: str = "#chart canvas") -> tuple[list[bool], list[bool]]:
    """Whether the line, and whether the band, of each group can be seen."""
    seen = pixels(tab, selector).reshape(-1, 4)
    lines, bands = [], []
    for color in line_colors(tab):
        same = np.abs(seen[:, :3] - [int(color[i : i + 2], 16) for i in (1, 3, 5)]).max(1) <= 8
        lines.append(int((same & (seen[:, 3] > 150)).sum()) > 20)
        bands.append(int((same & (np.abs(seen[:, 3] - 51) <= 2)).sum()) > 100)  # an opacity of a fifth
    return lines, bands


def drawn(tab: Tab) -> list[int]:
    """How many lines and how many bands can be seen."""
    return [sum(each) for each in groups_drawn(tab)]


def strokes(tab: Tab, background: str) -> set[str]:
    """The colours of all lines of the figures as they are seen on the background, without the grid."""
    found = tab.evaluate(
        "() => [...document.querySelectorAll('.wide svg :is(path, line, use)')].filter(e => !e.closest('defs'))"
        ".map(e => [e, getComputedStyle(e)]).filter(([e, s]) => s.stroke !== 'none' && e.getClientRects().length)"
        ".map(([_, s]) => [s.stroke, parseFloat(s.strokeOpacity) * parseFloat(s.opacity)])"
    )
    below = np.array([int(background[i : i + 2], 16) for i in (1, 3, 5)])
    seen = set()
    for stroke, opacity in found:
        color = hexed(stroke)
        if opacity > 0.2 and color != background:  # the grid is at 0.15
            above = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)])
            seen.add("#" + "".join(f"{round(v):02x}" for v in opacity * above + (1 - opacity) * below))
    return seen
