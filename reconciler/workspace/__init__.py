"""The git-managed folder: specs in, outputs and receipts out. It knows no provider and no database."""
