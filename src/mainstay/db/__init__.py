"""The database: engine, schema, migrations, and one file of queries for each table family."""
