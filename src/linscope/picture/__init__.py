"""What a person gets to see before it is text, SVG or a page: rows and pictures, free of any output's details."""
