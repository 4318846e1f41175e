"""The sampling engine: plain asyncio, knowing nothing of ZeroMQ or of who hosts it."""
