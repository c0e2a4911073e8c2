"""Fuzzing of everything that reads what a visitor, a vendor or a careless caller wrote: `python -m fuzz.run`."""
