"""`python -m reelmill.cli`: the same as `reelmill`."""

from reelmill.cli import main

main()
