"""`import tinker_client.auto`, as a program's first line, is `tinker_client.install()`.

Workers that multiprocessing starts import their program again, this line included.
"""

from tinker_client.official import install

__all__: list[str] = []

install()
