"""The database: the seam to the platform, our own tables and migrations, connections with time limits."""
