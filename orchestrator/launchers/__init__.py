"""Ways to carry out runs: they submit, watch and cancel jobs, and decide nothing."""
