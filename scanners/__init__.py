"""Scanners: each reads one chain, writes what it saw to the validator's own ledger, then inserts documents. Never updates."""
