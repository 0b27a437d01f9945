"""The bridge itself, as pure decisions: `decide(document, facts) -> Decision`. No await, no clock, no client, no log."""
