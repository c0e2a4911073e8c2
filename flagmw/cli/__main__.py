"""`python -m flagmw.cli`."""

from flagmw.cli import main

main()
