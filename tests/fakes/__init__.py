"""Vendors' batch services on loopback, as strict as their documentation, and the contract every one of them is put through."""
