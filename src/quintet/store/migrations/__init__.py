"""Alembic's migrations, run by `store.database` when a database is older than the program."""
