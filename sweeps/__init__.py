"""Which trial is next? Sweepers that are asked for trials and told their outcomes, and know nothing of training."""
