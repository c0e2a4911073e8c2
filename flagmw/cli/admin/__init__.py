"""Parts that the management commands of all vendors share."""
