"""Embedded servers for a development machine: for `make run`, tests and the benchmark, never for production."""
