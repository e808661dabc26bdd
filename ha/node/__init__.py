"""A node that runs (nmond): event loop, path workers, script runner, state store, control socket."""
