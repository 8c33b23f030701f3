"""What was learnt? Finished runs are read from folders or W&B, ranked, compared and shown. Nothing imports it."""
