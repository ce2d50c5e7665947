"""Checks behind `nightmail doctor`: is this machine fit, is a batch service, and what exactly is not."""
