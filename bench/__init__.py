"""What is measured, and what is shaken until something falls off. See README.md."""
