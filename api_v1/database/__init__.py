"""The database: the seam to the platform, our own tables and migrations, connections that end in time."""
