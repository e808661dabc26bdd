"""What can go wrong in the service controller, each with one line for people."""


class ServiceError(Exception):
    """``str()`` is one line that says what is wrong and, where it can, what to do about it."""


class ResourceError(ServiceError):
    """A resource could not be started or stopped. A driver raises it; the action ends, unless the resource is optional.

    ``str()`` says why, without the name of the resource: whoever reports it adds that.
    """


class StillRunning(ResourceError):
    """A command did not even end by SIGKILL: it waits for a device. What it was about to do may still happen."""


class Terminated(ServiceError):
    """SIGTERM, SIGINT or SIGHUP came during an action."""
