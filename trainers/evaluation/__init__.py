"""What is measured of a policy: on held-out pairs, and on what it answers to held-out prompts.

scorer.py: log-probabilities, for all who need them; examine.py: the story of an evaluation; folder.py: what it leaves.
"""
