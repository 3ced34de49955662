"""Which of its retain samples a client replays: one selector, one file; each is described in docs/select.md."""
