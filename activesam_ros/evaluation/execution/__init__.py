"""How the work of an evaluation is divided, done and taken up again."""
