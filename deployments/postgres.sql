-- Prefect's own database is made by the image; the ledger has one beside it, as both keep their schema's version.
CREATE DATABASE nightmail;
