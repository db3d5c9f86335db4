"""What many runs show together: the page that a comparison writes."""
