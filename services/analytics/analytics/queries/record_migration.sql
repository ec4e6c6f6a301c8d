-- A migration was applied.
INSERT INTO migrations (name) SELECT {name:String}
