"""The vault's tables, step by step: one module for each migration, applied in the order of their numbers."""
