"""Unlearning methods: one file each, found by their file's `METHODS` table or by entry points."""
