"""Locust users, one module a protocol; both send what `sender` gives them."""
