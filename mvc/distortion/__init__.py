"""What counts as an error, for training and for the encoder's search; nothing here is needed to decode."""
