"""What a registry holds, and the grammar of its names."""
