"""What is away when an error is raised: so that all who miss the same thing are told as one outage. Only `validator` uses it."""

import sqlite3

from pymongo.errors import PyMongoError

from reactor.chains.errors import ChainError, Means, NotAgreed, RpcProblem
from reactor.chains.pocket import PocketRpcError
from reactor.keys.problem import KeyProblem
from reactor.state.problems import StateProblem


def subject_of(error: BaseException) -> str | None:
    """By the error's class; None where many things could be meant (a time-out, a fault of the program)."""
    match error:
        case PyMongoError():
            return "MongoDB"
        case NotAgreed():
            return "the agreement of the endpoints"
        case PocketRpcError():
            return _of_chain("Pocket", error)
        case ChainError():
            return _of_chain("Ethereum", error)
        case KeyProblem():
            return f"the key {error.source}"
        case StateProblem() | sqlite3.Error():
            return "the own state"
        case _:
            return None


def _of_chain(chain: str, error: RpcProblem) -> str:
    """A node that answers, but not with what was asked for, is another trouble than one that is away.

    A gateway or web server that answers in place of the node (HTTP 404, say) shows nothing of the chain: it is away.
    """
    away = error.means in {Means.FAULT, Means.WRONG} or not error.from_node
    return chain if away else f"a question to {chain}"
