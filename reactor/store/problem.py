"""What can be wrong with the shared database, said with the remedy."""


class StoreProblem(RuntimeError):  # noqa: N818 - the house word for what a person must mend
    """`field`: the setting at fault; `problem`: what is wrong; `remedy`: what to do. Never holds a password."""

    def __init__(self, field: str, problem: str, remedy: str) -> None:
        super().__init__(f"{field}: {problem}; {remedy}")
        self.field = field
        self.problem = problem
        self.remedy = remedy
