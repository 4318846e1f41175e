"""What both ends of the sockets share: the messages, and how they travel."""
