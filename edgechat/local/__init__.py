"""The servers of a development machine, embedded: for `make run`, tests and the benchmark, never in production."""
