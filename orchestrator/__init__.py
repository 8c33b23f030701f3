"""Where and when does each run happen? Composes, plans, launches, collects and tabulates studies."""
