"""Where jobs, frames and unsent messages survive: SQLite by default, PostgreSQL by URL."""
