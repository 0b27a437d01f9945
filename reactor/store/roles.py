"""Roles and users of the shared database: what a validator, a frontend and an operator may do, and nothing beyond it.

They limit what a stolen password can do. No safety rests on them (TRUST.md, rule 13): who administers the cluster may do all.
MongoDB's roles cannot limit fields, so a validator's password can still change any request; it cannot make one go away.
"""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import OperationFailure, PyMongoError

from reactor.documents.statuses import REQUESTS, Collection
from reactor.sentences import meaning
from reactor.store.connection import Document, Store
from reactor.store.problem import StoreProblem

_ALREADY: Final = 51002
"""The server's code for a role that exists already."""
_USER_ALREADY: Final = 51003
_PASSWORD_BYTES: Final = 24
_X509: Final = "$external"
"""Where users live who log in with a certificate."""


class Access(StrEnum):
    """Who somebody is to the database."""

    VALIDATOR = "validator"
    FRONTEND = "frontend"
    OPERATOR = "operator"


@dataclass(frozen=True, slots=True)
class UserSpec:
    """A user to be made. `name`: for a certificate its subject, as RFC 2253 writes it (`CN=one,OU=validators,O=bridge`)."""

    access: Access
    name: str

    @classmethod
    def parse(cls, text: str) -> "UserSpec":
        """From `validator:alice` or `validator:CN=alice,O=bridge`. Raises `StoreProblem`."""
        access, _, name = text.partition(":")
        if access not in set(Access) or not name.strip():
            raise StoreProblem("--user", f"{text!r} is not ROLE:NAME", f"ROLE is one of {', '.join(Access)}")
        return cls(Access(access), name.strip())

    @property
    def certificate(self) -> bool:
        """Whether it logs in with an x.509 certificate instead of a password."""
        return "=" in self.name


@dataclass(slots=True)
class RolesReport:
    """What `create_roles` did. `passwords`: of the users it made, by name, shown once and stored nowhere."""

    made: list[str] = field(default_factory=list)
    updated: list[str] = field(default_factory=list)
    present: list[str] = field(default_factory=list)
    passwords: dict[str, str] = field(default_factory=dict, repr=False)


def role_name(database: str, access: Access) -> str:
    """The role's name in the database `admin`: with the bridge's database in it, for a cluster may serve several bridges."""
    return f"{database}-{access.value}"


def privileges(database: str, names: Mapping[Collection, str], access: Access) -> list[Document]:
    """What a role may do, as MongoDB's `createRole` takes it.

    validator: read the whole database and follow it (a stream over a database needs both on all of it), insert and update in
    our collections, see indexes and schemas. No delete, no drop, no index or schema changes, nothing in other databases.
    frontend: read the three request collections, and follow each. operator: read and follow the database, and make collections,
    indexes and schemas (`init-db`); it writes no document but audit entries.

    SECURITY: to the audit collection both may insert, and neither may change anything: no update, no index (one could let
    entries expire), no schema. The verbs run with the validator's login, beside it.
    """
    audit = names[Collection.AUDIT]
    others = [name for name in names.values() if name != audit]
    match access:
        case Access.VALIDATOR:
            grants = [_on(database, "", "find", "changeStream", "listCollections")]
            grants += [_on(database, name, "insert", "update", "listIndexes") for name in others]
            return [*grants, _on(database, audit, "insert", "listIndexes"), _OPLOG_TIMES]
        case Access.FRONTEND:
            return [_on(database, names[role], "find", "changeStream") for role in REQUESTS]
        case Access.OPERATOR:
            grants = [_on(database, "", "find", "changeStream", "listCollections")]
            grants += [_on(database, name, "createCollection", "createIndex", "collMod", "listIndexes") for name in others]
            return [*grants, _on(database, audit, "insert", "createCollection", "listIndexes"), _OPLOG_TIMES]


async def create_roles(store: Store, users: Sequence[UserSpec] = ()) -> RolesReport:
    """Create the three roles and `users`; bring roles that differ to what they should be. May be run again.

    A user that is there keeps its password and gets the role if it lacks it. Raises `StoreProblem`, the remedy in it, where the
    own user may not do this (it takes `userAdminAnyDatabase` or `root`).
    """
    report = RolesReport()
    database, admin = store.database.name, store.client.admin
    try:
        for access in Access:
            await _role(admin, role_name(database, access), privileges(database, store.names, access), report)
        for user in users:
            await _user(store, user, report)
    except PyMongoError as error:
        raise StoreProblem(
            "mongo.uri",
            f"roles and users could not be made: {meaning(error)}",
            "run it as a user with the role userAdminAnyDatabase (for a hosted cluster: make them by its own means); "
            "it may be run again",
        ) from error
    return report


_OPLOG_TIMES: Final[Document] = {"resource": {"cluster": True}, "actions": ["serverStatus"]}
"""How far the oplog reaches back, without reading it: it holds what everybody wrote in the whole cluster."""


def _on(database: str, collection: str, *actions: str) -> Document:
    return {"resource": {"db": database, "collection": collection}, "actions": list(actions)}


async def _role(admin: AsyncDatabase[Document], name: str, wanted: Sequence[Document], report: RolesReport) -> None:
    found = await admin.command({"rolesInfo": {"role": name, "db": "admin"}, "showPrivileges": True})
    if not found["roles"]:
        try:
            await admin.command({"createRole": name, "privileges": list(wanted), "roles": []})
        except OperationFailure as error:
            if error.code != _ALREADY:
                raise
        report.made.append(f"role {name}")
    elif _plain(found["roles"][0]["privileges"]) != _plain(wanted) or found["roles"][0]["roles"]:
        # SECURITY: what somebody widened meanwhile is narrowed again.
        await admin.command({"updateRole": name, "privileges": list(wanted), "roles": []})
        report.updated.append(f"role {name}")
    else:
        report.present.append(f"role {name}")


def _plain(grants: Sequence[Mapping[str, Any]]) -> dict[str, set[str]]:
    """Privileges without their order, to be compared."""
    merged: dict[str, set[str]] = {}
    for grant in grants:
        where = repr(sorted(dict(grant["resource"]).items()))
        merged.setdefault(where, set()).update(grant["actions"])
    return merged


async def _user(store: Store, user: UserSpec, report: RolesReport) -> None:
    home = store.client[_X509 if user.certificate else "admin"]
    role = {"role": role_name(store.database.name, user.access), "db": "admin"}
    password = None if user.certificate else secrets.token_urlsafe(_PASSWORD_BYTES)
    login: Document = {} if password is None else {"pwd": password}
    try:
        await home.command({"createUser": user.name, **login, "roles": [role]})
    except OperationFailure as error:
        if error.code != _USER_ALREADY:
            raise
        await home.command({"grantRolesToUser": user.name, "roles": [role]})
        report.present.append(f"user {user.name} ({user.access.value})")
        return
    report.made.append(f"user {user.name} ({user.access.value})")
    if password is not None:
        report.passwords[user.name] = password
