"""Which trial is next? Sweepers that are asked for trials and told their outcomes, and know nothing of training.

    space = Space.from_dict({"dimensions": {"method": ["dpo", "ipo"], "beta": {"range": [0.005, 0.5], "log": True}}})
    sweeper = make_sweeper(space, SamplerSettings("tpe", seed=1), ("maximize",), n_trials=24, storage="optuna.journal")
    sweeper.restore(known)               # what the run folders know: [(Trial, Outcome or None)], empty at first
    while trials := sweeper.ask(free):   # as many as there is room for; none: it is over, for nothing ever waits
        ...                              # carry them out; meanwhile, for each evaluation of a run under way:
        if pruner.report(run, step, value):  # Pruner("asha", {"min_resource": 10}, "maximize")
            ...                          # ask the run to stop; later pruner.end(run, "pruned")
        sweeper.tell(trial, Outcome("complete", (0.71,)))  # or "pruned" with its reports, or "fail"; in any order
    insights.best(told, ("maximize",), 3), insights.importances(space, told, ("maximize",)), space.never_tried(trials)

`types` says what is asked and told, `space` and `dimensions` what can be searched, `make` picks the sweeper, `samplers`
lists them, `pruning` and `replicates` end early what is out of the running, `errors` is all that can go wrong.
"""
