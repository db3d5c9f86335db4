"""Matplotlib figures as SVG in the page's colours, without other files."""

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
"""The smallest factor by which a figure shrinks to fit; on a narrower screen it scrolls."""
SHAPES = {
    "svg", "g", "defs", "clipPath", "use", "symbol", "marker", "title", "desc", "path", "rect", "circle", "ellipse",
    "line", "polyline", "polygon", "text", "tspan", "image", "linearGradient", "radialGradient", "stop", "pattern",
}  # fmt: skip
"""The elements that stay in a figure on a page: none of them runs a script or shows another document."""
UNSAFE_STYLE = re.compile(r"url\((?!['\"]?#)|position|javascript|expression|@|\\|&", re.IGNORECASE)
PICTURE = re.compile(r"#|data:image/(png|jpeg);base64,")
"""What a figure may refer to: its own elements, and pictures that it contains."""
DIGITS = re.compile(r"-?\d+\.\d{3,}")
FONT = re.compile(r"font-family: [^;]*(; )?")
REFERENCE = re.compile(r"url\(#([^)]+)\)")


def saved(figure: Drawing, form: Literal["png", "svg"]) -> bytes:
    """Return a figure as a file for print; in SVG, text stays text and equal figures have equal bytes.

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
            engine.execute(figure)  # as slow as the drawing itself, so only once for all files
            figure.set_layout_engine("none")
        # `savefig` would draw the figure twice, once to lay it out again.
        if form == "png":
            # This level gives files that are a tenth larger, in half the time.
            FigureCanvasAgg(figure).print_png(content, pil_kwargs={"compress_level": 3})
        else:
            with hidden([figure.patch, *(axes.patch for axes in figure.axes)]):
                FigureCanvasSVG(figure).print_svg(content, metadata={"Date": None})
    return content.getvalue()


@contextmanager
def hidden(patches: Sequence[Patch]) -> Iterator[None]:
    """Hide backgrounds inside the `with` block."""
    visible = [patch for patch in patches if patch.get_visible()]
    for patch in visible:
        patch.set_visible(False)
    try:
        yield
    finally:
        for patch in visible:
            patch.set_visible(True)


def svg_of(figure: Drawing) -> str:
    """Return a figure in the form of `inlined`.

    Args:
        figure: drawn inside `palette.drawing()`.
    """
    return inlined(saved(figure, "svg"))


def inlined(content: bytes) -> str:
    """Return an SVG of `saved` for the page, with the page's ink and with unique ids.

    The file may be somebody else's by now: scripts, and references to other files, are left out.

    Raises:
        ValueError: it is not an SVG of Matplotlib.
        ElementTree.ParseError: it is not XML.
    """
    if b"<!ENTITY" in content:
        raise ValueError("an SVG of Matplotlib defines no entities")
    root = themed(harmless(ElementTree.fromstring(content)))
    shorten(root)
    renamed(root, f"i{hashlib.sha256(content).hexdigest()[:8]}-")
    return ElementTree.tostring(root, encoding="unicode")


def harmless(root: ElementTree.Element) -> ElementTree.Element:
    """Leave only shapes and texts in an SVG: no scripts, no event handlers, no references to other files.

    Raises:
        ValueError: it is not an SVG.
    """
    if bare(str(root.tag)) != "svg":
        raise ValueError("the file is not an SVG")
    for element in root.iter():
        for child in list(element):
            if bare(str(child.tag)) not in SHAPES:
                element.remove(child)
        for name, value in list(element.attrib.items()):
            if (
                bare(name).lower().startswith("on")
                or (bare(name).lower() in ("href", "src") and not PICTURE.match(value))
                or (bare(name).lower() not in ("href", "src", "d") and UNSAFE_STYLE.search(value))
            ):
                del element.attrib[name]
    return root


def themed(root: ElementTree.Element) -> ElementTree.Element:
    """Prepare Matplotlib's SVG for an HTML page.

    Namespaces are removed, which HTML does not know, and so is the style sheet, which would apply to the whole page.
    Ink and paper get the page's colours; the size is set in pixels, with a smallest width.
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
    """Return an attribute's value with ink, paper and the groups' colours replaced by the page's colours."""
    for color in palette.COLORS:
        value = value.replace(color, f"var({palette.variable(color)})")
    return value.replace(palette.INK, "currentColor").replace(palette.PAPER, "var(--paper)")


def shorten(root: ElementTree.Element) -> None:
    """Leave out what nobody sees: digits after hundredths of a point, unused ids and fonts, space between elements."""
    texts = [value for element in root.iter() for value in element.attrib.values()]
    used = {name for text in texts for name in REFERENCE.findall(text)} | {
        text[1:] for text in texts if text[:1] == "#"
    }
    for element in root.iter():
        for name in ("d", "x", "y", "points"):
            if name in element.attrib:
                digits = DIGITS.sub(lambda number: f"{float(number[0]):.2f}", element.attrib[name])
                element.attrib[name] = " ".join(digits.split())
        if "style" in element.attrib:  # the page has a font of its own
            element.attrib["style"] = FONT.sub("", element.attrib["style"])
        if element.attrib.get("id", "") not in used:
            element.attrib.pop("id", None)
        if bare(element.tag) not in ("text", "tspan"):
            element.text = element.text if (element.text or "").strip() else None
        element.tail = element.tail if (element.tail or "").strip() else None


def prefixed(svg: str, prefix: str) -> str:
    """Return an SVG whose ids, and references to them, begin with a prefix, so that they are unique on the page."""
    root = ElementTree.fromstring(svg)
    renamed(root, prefix)
    return ElementTree.tostring(root, encoding="unicode")


def renamed(root: ElementTree.Element, prefix: str) -> None:
    """Put a prefix before all ids, and before references to them."""
    for element in root.iter():
        for name, value in element.attrib.items():
            if name == "id":
                element.attrib[name] = prefix + value
            elif name == "href" and value.startswith("#"):
                element.attrib[name] = f"#{prefix}{value[1:]}"
            elif "url(#" in value:
                element.attrib[name] = REFERENCE.sub(rf"url(#{prefix}\1)", value)
