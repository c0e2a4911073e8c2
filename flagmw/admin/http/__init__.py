"""HTTP as the management clients use it: sending, repeating, masking, reading."""
