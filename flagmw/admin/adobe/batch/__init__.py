"""Many calls in one request, with dependencies between them."""
