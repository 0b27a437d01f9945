"""What is away when an error is raised: so that all who miss the same thing are told as one outage. Only `validator` uses it."""

import sqlite3

from pymongo.errors import BulkWriteError, PyMongoError, WriteError

from reactor.chains.errors import ChainError, Means, NotAgreed, RpcProblem
from reactor.chains.pocket import PocketRpcError
from reactor.health import OWN_STATE, QUESTION, STREAM
from reactor.keys.problem import KeyProblem
from reactor.state.problems import StateProblem
from reactor.store.retrying import is_passing


def subject_of(error: BaseException) -> str | None:
    """By the error's class; None where many things could be meant (a time-out, a fault of the program) or one write alone."""
    match error:
        case BulkWriteError() | WriteError() if not is_passing(error):
            return None  # the database answers: what is refused (by the schema, say) is what was to be written
        case PyMongoError():
            return STREAM
        case NotAgreed():
            return f"the agreement of the {error.chain} endpoints" if error.chain else "the agreement of the endpoints"
        case PocketRpcError():
            return _of_chain("Pocket", error)
        case ChainError():
            return _of_chain("Ethereum", error)
        case KeyProblem():
            return f"the key {error.source}"
        case StateProblem() | sqlite3.Error():
            return OWN_STATE
        case _:
            return None


def _of_chain(chain: str, error: RpcProblem) -> str:
    """A node that answers, but not with what was asked for, is another trouble than one that is away.

    A gateway or web server that answers in place of the node (HTTP 404, say) shows nothing of the chain: it is away.
    """
    away = error.means in {Means.FAULT, Means.WRONG} or not error.from_node
    return chain if away else f"{QUESTION}{chain}"
