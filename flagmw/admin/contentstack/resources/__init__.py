"""Resources of the client: attributes, audiences, experiences, events, places."""
