"""For whoever wants to know where the time goes. Nothing here is needed to sample, or may get in its way."""
