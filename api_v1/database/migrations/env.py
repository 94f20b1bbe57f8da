"""Run by Alembic: migrate on the connection in its configuration."""

from alembic import context

from api_v1.database.migrations import VERSION_TABLE

context.configure(
    connection=context.config.attributes["connection"],
    version_table=VERSION_TABLE,
    transactional_ddl=False,
)
with context.begin_transaction():
    context.run_migrations()
