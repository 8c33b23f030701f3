"""This product against what people would use instead, on the same work: see benchmarks/README.md."""
