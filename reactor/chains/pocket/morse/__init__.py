"""The first generation of Pocket Network: a Tendermint chain with its own `/v1` HTTP interface (node RC-0.9.2)."""
