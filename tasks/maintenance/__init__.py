"""Looking after runs that nobody looks after: wake those that lost their process, delete what is left behind."""
