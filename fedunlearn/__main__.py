"""`python -m fedunlearn` is `fedunlearn`."""

from fedunlearn.cli import main

main()
