"""What Adobe Target's Admin API takes and returns. Unknown fields are kept and sent back."""
