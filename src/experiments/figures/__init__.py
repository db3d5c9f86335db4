"""What every picture and page is drawn with: colours, palette, canvas, SVG, the page."""
