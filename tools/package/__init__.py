"""The Debian package: what lies where, man pages, completions. All of it is made of what the project has anyway."""
