"""What Alembic runs: the migrations, on the connection and with the options that a `Schema` gave it."""

from alembic import context

context.configure(**context.config.attributes["options"])
with context.begin_transaction():
    context.run_migrations()
