"""What the process gives up at its start, so that the keys in its memory stay there, and its files with their owner.

SECURITY: a signer's key lies in memory while the process runs. A core dump would write that memory to a disk, or hand it to
whatever `kernel.core_pattern` names; so dumps are switched off in both ways that the kernel knows. There is no setting for it:
nobody needs the core of a validator.
"""

import ctypes
import os
import resource
import sys

PR_SET_DUMPABLE = 4
"""<linux/prctl.h>; see prctl(2)."""


def forbid_core_dumps() -> None:
    """Let no core of this process be written, for good: the limit cannot be raised again.

    On Linux the process is marked not dumpable too. Other processes of the same user can then neither attach to it nor read its
    memory and environment below /proc.

    Raises:
        OSError: the kernel refused.
    """
    # Alone it is not enough: the kernel does not ask for the limit where core_pattern pipes the dump to a program (core(5)).
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0:
            number = ctypes.get_errno()
            raise OSError(number, f"core dumps could not be switched off: {os.strerror(number)}")


def keep_files_private() -> None:
    """Give group and others no right to anything that this process makes: state, journals' exports, keys.

    SQLite makes files of its own beside the state's, with the rights of the file that they belong to.
    """
    os.umask(0o077)
