"""``python -m relucheck``."""

from relucheck.cli import main

main()
