"""The report: its page with charts, tables and pictures, and its CSV files."""
