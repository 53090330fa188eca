"""What must last: one SQL database and the tables in it. Knows no HTTP and no model."""
