"""Datasets: checks of schemas and records, uploads of records."""
