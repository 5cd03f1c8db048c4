"""The configuration: its schema, its checks, and the objects that it names."""
