"""What the project is built and installed with."""
