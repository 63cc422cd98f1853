"""The subcommands of `activesam`, one file each."""
