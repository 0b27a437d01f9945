"""The one error of this package."""


class KeyProblem(Exception):  # noqa: N818 - the word the operator reads
    """A key that cannot be opened, made or used.

    SECURITY: neither the message nor the cause ever holds key material, a passphrase or the text in which a key
    was looked for; callers raise it `from None` wherever a library's own error could quote its input.

    Attributes:
        source: where the key was looked for (a URI without secrets, or only its scheme).
        problem: what is wrong.
        remedy: what the operator can do.
        transient: true when the same call may succeed later (a throttled or unreachable key service).
    """

    def __init__(self, source: str, problem: str, remedy: str, *, transient: bool = False) -> None:
        self.source = source
        self.problem = problem
        self.remedy = remedy
        self.transient = transient
        super().__init__(f"key {source}: {problem}. {remedy}")
