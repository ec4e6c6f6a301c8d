-- Texts are kept for this many days: rows inserted from now on by their own date of expiry, those that are there no longer
-- than that either. A DEFAULT and a TTL take no bound parameters: the setting is an integer.
ALTER TABLE texts MODIFY COLUMN retention_days UInt16 DEFAULT %(days)s;

ALTER TABLE texts MODIFY TTL least(expires_on, toDate(hour) + toIntervalDay(%(days)s)) DELETE
