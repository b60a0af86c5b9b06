"""The git-managed folder: specs in, outputs and receipts out. The only importer of the YAML library and watchdog.

It reads what people wrote and writes what they will commit. It knows no provider and no database.
"""
