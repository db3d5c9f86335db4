"""A Matplotlib figure as SVG that follows the page's colours and needs no other file."""

from __future__ import annotations

import hashlib
import io
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal
from xml.etree import ElementTree

from . import palette

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing
    from matplotlib.patches import Patch

POINTS = 96 / 72
"""CSS pixels in one of Matplotlib's points."""
LEAST = 0.75
"""How far a figure shrinks to fit; a narrower screen scrolls."""
REFERENCE = re.compile(r"url\(#([^)]+)\)")


def saved(figure: Drawing, form: Literal["png", "svg"]) -> bytes:
    """Return a figure as a file for print; as SVG its text is text, and its bytes are always the same.

    Args:
        figure: drawn inside `palette.drawing()`.
        form: of the file.
    """
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    content = io.BytesIO()
    figure.dpi = mpl.rcParams["savefig.dpi"]
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "experiments"}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        if (engine := figure.get_layout_engine()) is not None:
            engine.execute(figure)  # takes as long as the drawing: once for all files
            figure.set_layout_engine("none")
        # `savefig` would go through the figure twice, once to lay it out again.
        if form == "png":
            FigureCanvasAgg(figure).print_png(
                content, pil_kwargs={"compress_level": 3}
            )  # a tenth larger, in half the time
        else:
            with unseen([figure.patch, *(axes.patch for axes in figure.axes)]):
                FigureCanvasSVG(figure).print_svg(content, metadata={"Date": None})
    return content.getvalue()


@contextmanager
def unseen(patches: Sequence[Patch]) -> Iterator[None]:
    """Leave backgrounds out of a drawing."""
    seen = [patch for patch in patches if patch.get_visible()]
    for patch in seen:
        patch.set_visible(False)
    try:
        yield
    finally:
        for patch in seen:
            patch.set_visible(True)


def svg_of(figure: Drawing) -> str:
    """Return a figure for the page: see `inlined`.

    Args:
        figure: drawn inside `palette.drawing()`.
    """
    return inlined(saved(figure, "svg"))


def inlined(content: bytes) -> str:
    """Return an SVG of `saved` for the page: its ink is the page's, its ids are its own."""
    root = themed(ElementTree.fromstring(content))
    renamed(root, f"i{hashlib.sha256(content).hexdigest()[:8]}-")
    return ElementTree.tostring(root, encoding="unicode")


def themed(root: ElementTree.Element) -> ElementTree.Element:
    """Make Matplotlib's SVG a part of an HTML page.

    Its names lose their namespaces, which HTML does not know. Its style sheet goes, which would hold for the whole
    page. Ink and paper become the page's; its size is given in pixels, and how far it shrinks.
    """
    for element in root.iter():
        element.tag = bare(element.tag)
        element.attrib = {bare(name): recolored(value) for name, value in element.attrib.items()}
        for child in [child for child in element if bare(child.tag) in ("metadata", "style")]:
            element.remove(child)
    width = float(root.attrib.pop("width").removesuffix("pt")) * POINTS
    root.attrib.pop("height")
    root.attrib["style"] = (
        f"width:{width:.0f}px;min-width:{LEAST * width:.0f}px;stroke-linejoin:round;stroke-linecap:butt"
    )
    return root


def bare(name: str) -> str:
    """Return a name without its namespace."""
    return name.rpartition("}")[2]


def recolored(value: str) -> str:
    """Return an attribute with the page's colours for ink and paper."""
    return value.replace(palette.INK, "currentColor").replace(palette.PAPER, "var(--paper)")


def prefixed(svg: str, prefix: str) -> str:
    """Return an SVG whose ids, and what refers to them, begin with a prefix: no other figure on the page has them."""
    root = ElementTree.fromstring(svg)
    renamed(root, prefix)
    return ElementTree.tostring(root, encoding="unicode")


def renamed(root: ElementTree.Element, prefix: str) -> None:
    """Put a prefix before all ids, and before what refers to them."""
    for element in root.iter():
        for name, value in element.attrib.items():
            if name == "id":
                element.attrib[name] = prefix + value
            elif name == "href" and value.startswith("#"):
                element.attrib[name] = f"#{prefix}{value[1:]}"
            elif "url(#" in value:
                element.attrib[name] = REFERENCE.sub(rf"url(#{prefix}\1)", value)
