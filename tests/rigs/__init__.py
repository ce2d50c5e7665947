"""Test rigs: real servers, folders and whole installations as typed fixtures, one module each."""
