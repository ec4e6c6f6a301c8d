-- Who creates it is the one that migrates. It holds nothing: its comment is the migrator's sign of life.
CREATE TABLE migrating (nothing UInt8) ENGINE = Memory
