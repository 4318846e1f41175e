"""The way from a client to the engine that does its work, and the process or thread that hosts that."""
