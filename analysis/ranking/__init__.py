"""Which is best, by how much, and is that real? Cells of runs, ranked, with frontier and curves."""
