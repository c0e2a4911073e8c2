"""`python -m flagmw.cli`."""

from flagmw.cli.main import main

main()
