"""The TOML configuration: its schema, its loading, and the switch it describes.

`schema` holds the models (defaults, ranges, the editor's JSON Schema), `contradictions` what no
single key can be blamed for, `load` turns a file into a `Config` or into all its errors at once,
`build` turns a `Config` into a `Switch`.  For a switch that runs: `edit` makes one `Config` from
another, `difference` says what differs, `arrangement` makes the switch follow.
"""
