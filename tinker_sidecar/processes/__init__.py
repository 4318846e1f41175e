"""Processes of our own: how they start, watch their parent and come to their end."""
