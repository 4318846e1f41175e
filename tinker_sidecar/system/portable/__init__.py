"""The twins of what only Linux has, for any Unix. They promise the same, if for a little more work."""
