"""What the encoder may spend time on to make a file smaller; no decoder knows about it."""
