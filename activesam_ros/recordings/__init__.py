"""What cameras recorded: files, messages, frames."""
