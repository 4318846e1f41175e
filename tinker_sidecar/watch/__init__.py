"""What lets people look on. Nothing here is imported before it is asked for, and nothing stops sampling."""
