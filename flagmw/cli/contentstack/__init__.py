"""`flagmw contentstack`: Contentstack Personalize's management from the command line."""
