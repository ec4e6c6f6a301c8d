"""No image of this process's memory on disk, and none for a debugger: it holds provider keys."""

import ctypes
import logging
import resource
import sys

log = logging.getLogger(__name__)

PR_SET_DUMPABLE = 4
"""prctl(2). Not dumpable, a process can neither be traced nor have its memory read by others of its own user."""


def forbid_core_dumps() -> None:
    """Forbid them for as long as the process lives; where the system has no such switch, the limit alone holds."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux" and ctypes.CDLL(None, use_errno=True).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0:
        log.warning("the kernel refuses to make this process undumpable", extra={"errno": ctypes.get_errno()})
