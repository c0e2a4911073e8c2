"""Bodies of Adobe Target's Admin API. Unknown fields are kept."""
