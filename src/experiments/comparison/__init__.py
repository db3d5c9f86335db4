"""What run folders show: groups over seeds, honest statistics, figures and a page."""
