"""`flagmw adobe`: Adobe Target's management from the command line."""
