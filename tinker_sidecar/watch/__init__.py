"""Looking at the program from outside, while it does not take its results."""
