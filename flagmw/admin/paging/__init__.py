"""Lists over pages, while others change them."""
