"""What evaluations found, and how it is compared."""
