"""`python -m fedunlearn` is `fedunlearn`."""

from fedunlearn.cli.main import main

main()
