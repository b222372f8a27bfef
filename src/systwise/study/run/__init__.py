"""The run of a study: units of work, where they are done, pseudo-experiments, unblinding."""
