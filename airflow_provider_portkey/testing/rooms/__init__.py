"""The kinds of jobs that the mock server knows besides runs, each with its calls in a file of its own."""
