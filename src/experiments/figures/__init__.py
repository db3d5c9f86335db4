"""Tools for every picture and page: colours, palette, canvas, SVG, the page."""
