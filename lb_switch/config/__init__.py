"""The TOML configuration: its schema, its loading, and the switch it describes."""
