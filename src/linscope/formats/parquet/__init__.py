"""A recording as Parquet: a folder of tables, each with what is known of the machine in its schema's metadata."""
