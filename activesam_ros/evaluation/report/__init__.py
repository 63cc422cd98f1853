"""The report page, its charts, tables and pictures."""
