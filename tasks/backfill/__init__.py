"""Many dates of one job: which dates to run, what that would cost, and running them one after another."""
