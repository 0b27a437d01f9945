"""A whole bridge in one process: validators as tasks, an adversary with write access, and the chains as judges."""
