"""The version, said once; a house test keeps pyproject.toml in step."""

VERSION = "0.1.0"
