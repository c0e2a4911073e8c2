"""`python -m flagmw`."""

from flagmw.cli import main

main()
