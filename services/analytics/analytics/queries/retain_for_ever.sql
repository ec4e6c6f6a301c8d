-- Rows of this table are kept for ever.
ALTER TABLE {table:Identifier} REMOVE TTL
