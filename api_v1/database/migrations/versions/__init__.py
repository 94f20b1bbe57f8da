"""The migrations, from the first to the newest; Alembic runs them."""
