"""A study: the grid of models and seeds on one data set, planned, executed and collected."""
