"""Groups of methods of the Monetate clients."""
