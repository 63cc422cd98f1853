"""An evaluation as a task: its worker, and its journal."""
