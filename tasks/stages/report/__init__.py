"""What is said about a finished run: the receipt, the plan, the HTML page."""
