"""Benchmarks anyone can rerun: `./run bench NAME`. What they show is in docs/benchmarks.md."""
