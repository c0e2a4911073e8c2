"""Management of Monetate: metadata, datasets, Session Stream."""
