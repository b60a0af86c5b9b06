"""The receipts beside specs: reading and writing them."""
