-- Rows inserted from now on are kept for this many days. A DEFAULT takes no bound parameter: the setting is an integer.
ALTER TABLE texts MODIFY COLUMN retention_days UInt16 DEFAULT %(days)s
