"""What the subcommands of ``ezha sim`` share: reading what they are given, and telling what came of it."""
