"""The subcommands of ``ezha``, a module each, with ``run(argv) -> exit code``. Imported only when called."""
