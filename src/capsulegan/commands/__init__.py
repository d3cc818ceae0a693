"""What each command takes, and which function does it. Wiring only."""
