-- A sign of life. A comment takes no bound parameter.
ALTER TABLE migrating MODIFY COMMENT %(beat)s
