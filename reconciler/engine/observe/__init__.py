"""What is known of a generation beside its record: receipts, files, commits, purchases. Reads only."""
