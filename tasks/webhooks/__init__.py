"""The receiver of providers' webhooks: a batch has ended, so the run that waits for it looks now.

An optional helper: a webhook is a reason to look and is believed in nothing else, and runs that get none poll as ever.
"""
