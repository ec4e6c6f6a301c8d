"""The fixtures of the whole run."""

pytest_plugins = ["common.testing"]
