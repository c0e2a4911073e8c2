"""Bulk uploads: rows of a source, their ids, the journal of a run."""
