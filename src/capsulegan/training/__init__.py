"""Training: configuration, one step, the loop, and the run folder that it leaves."""
