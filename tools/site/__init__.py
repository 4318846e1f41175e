"""What `make docs` needs beside mkdocs: where the pages lie, what our decorators make, links to names."""
