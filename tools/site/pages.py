"""A hook of mkdocs: the site's pages are the documents of the repository, where they lie.

So the relative links between them are the same on the site and on a repository host, and are checked once.
"""

from __future__ import annotations

from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[2]
PATTERNS = ("*.md", "benchmarks/*.md", "examples/*.md", "docs/**/*.*", "tools/site/*.css")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """The theme's own files, and ours in place of those that mkdocs has found in one folder."""
    ours = [
        File(path.relative_to(ROOT).as_posix(), str(ROOT), config.site_dir, config.use_directory_urls)
        for pattern in PATTERNS
        for path in sorted(ROOT.glob(pattern))
    ]
    return Files([*(file for file in files if file.src_dir != config.docs_dir), *ours])
