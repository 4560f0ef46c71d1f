"""``python -m descant`` is ``descant``."""

from descant.cli import main

main()
