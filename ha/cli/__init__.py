"""The commands that an administrator types. Thin: they ask nmond over its control socket and print the answer."""
