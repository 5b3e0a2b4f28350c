"""The kinds of jobs that the stand-in knows besides runs, each with its calls in a file of its own."""
