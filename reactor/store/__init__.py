"""All access to the shared MongoDB. Knows documents only."""
