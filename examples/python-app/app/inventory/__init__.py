"""What is in stock, and what it is worth."""
