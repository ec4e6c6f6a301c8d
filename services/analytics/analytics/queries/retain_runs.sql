-- Rows of this table are kept for this many days after the end of their month.
ALTER TABLE {table:Identifier} MODIFY TTL toStartOfMonth(hour) + toIntervalMonth(1) + toIntervalDay(%(days)s) DELETE
